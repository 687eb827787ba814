"""Write what an adapter found: a cohort table and the configuration that reads it, proven by reading them back."""

import io
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from extract.adapters.contract import Imported, Request
from extract.adapters.registry import find_adapter
from triher.cohort import Cohort, labels, read_cohort
from triher.config import read_config
from triher.errors import Note, SkipPatient, Skipped, StopRun
from triher.files import make_writable, replacing, sha256_of_file, write_text
from triher.labels import scheme_classes
from triher.settings import Config
from triher.tables import write_table

_MARK = "# Written by `triher cohort import`. SHA-256 of what was written with it, to see what was changed since:"
_RECORD = re.compile(r"# (?P<sha256>[0-9a-f]{64}) (?P<name>[^/\r\n]+)")
_FORMULA = ("=", "+", "-", "@", "'=", "'+", "'-", "'@")
# Spellings that begin like a formula, which a table for spreadsheets cannot hold, and what they mean to
# `triher.labels`.
_IN_WORDS = {
    "ihc": {"-": "negative", "+": "1+", "+1": "1+", "++": "2+", "+2": "2+", "+++": "3+", "+3": "3+"},
    "ish": {"-": "negative", "+": "positive"},
}


@dataclass(frozen=True)
class Summary:
    """What was imported, in numbers; ``n_in`` is always ``n_out`` and all of ``skipped``."""

    n_in: int
    """Patients of the collection's table and of its images."""
    n_out: int
    """Rows of the cohort table."""
    skipped: dict[str, int]
    """Code -> patients who are left out, most first."""
    unlabeled: int
    """Patients in the cohort table without a class."""
    by_split: dict[str, dict[str, int]] = field(default_factory=dict)
    """Split -> class -> patients; the split is empty where the table has none."""
    by_site: dict[str, dict[str, int]] = field(default_factory=dict)
    """Site -> class -> patients."""
    n_notes: int = 0
    files: tuple[Path, ...] = ()
    """What was written: the table, who was left out and remarks where there are any, and the configuration."""

    @property
    def n_skipped(self) -> int:
        """Patients who are left out."""
        return sum(self.skipped.values())

    def lines(self) -> list[str]:
        """The numbers for people to read, a line each."""
        reasons = f" ({', '.join(f'{code} {n}' for code, n in self.skipped.items())})" if self.skipped else ""
        counts = [f"{self.n_in} patients: {self.n_out} in the cohort, {self.n_skipped} left out{reasons}"]
        for kind, groups in (("split", self.by_split), ("site", self.by_site)):
            for name, classes in groups.items():
                listed = ", ".join(f"{label} {n}" for label, n in classes.items())
                counts.append(f"{kind} {name or '(none)'}: {listed}")
        if self.unlabeled:
            counts.append(f"without a class: {self.unlabeled}; see triher cohort labels {self.files[-1]}")
        if self.n_notes:
            counts.append(f"remarks: {self.n_notes}")
        return [*counts, *(f"written: {path}" for path in self.files)]


def import_cohort(name: str, request: Request, out: Path, *, overwrite: bool = False) -> Summary:
    """Import a collection.

    Written are ``out``, a configuration beside it (``.yaml``), and, where there are any, ``<stem>.skipped.csv`` and
    ``<stem>.notes.csv``. Nothing takes its name before table and configuration have been read back.

    Args:
        name: a key of `extract.adapters.registry.ADAPTERS`.
        request: what to import.
        out: the cohort table, ``.csv``.
        overwrite: also over files that an import did not write, or that were changed since.

    Raises:
        StopRun: ``unknown_name``; ``output_folder`` when files are in the way or ``out`` is no ``.csv``;
            ``cohort_empty``; whatever stops the adapter, and whatever `triher.cohort.read_cohort` says of the table.
    """
    adapter = find_adapter(name)
    targets = _targets(out)
    _refuse_strangers(targets, overwrite=overwrite)
    make_writable(out.parent)
    imported = _writable(adapter.read(request))
    if not imported.rows:
        raise StopRun("cohort_empty", _nobody(imported))
    stage = out.parent / f".{out.stem}.{os.getpid()}.part"
    try:
        stage.mkdir()
        written = _write(imported, out, stage, name)
        config, cohort = _read_back(stage / targets[-1].name, imported, out)
        _put_in_place(stage, targets, written)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return _summary(imported, cohort, config, tuple(out.parent / file for file in written))


def _targets(out: Path) -> tuple[Path, ...]:
    """Every file that an import may write, the configuration last: it shows that the others are complete."""
    if out.suffix != ".csv":
        raise StopRun("output_folder", f"{out} must end with .csv", remedy="name the table like cohort.csv")
    return (out, out.with_suffix(".skipped.csv"), out.with_suffix(".notes.csv"), out.with_suffix(".yaml"))


def _refuse_strangers(targets: Sequence[Path], *, overwrite: bool) -> None:
    """Stop when a file is in the way that no import wrote, or that somebody has changed since."""
    there = [path for path in targets if path.exists()]
    if not there or overwrite:
        return
    records = _records(targets[-1])
    for path in there:
        known = path == targets[-1] or path.name in records
        if not known or not records:
            message = f"{path} is there, and it was not written by this command"
        elif records[path.name] != _digest(path):
            message = f"{path} was changed since it was imported"
        else:
            continue
        raise StopRun("output_folder", message, remedy="name another file with --out, or add --overwrite")


def _records(config: Path) -> dict[str, str]:
    """File name -> SHA-256, from the head of a configuration that an import wrote."""
    try:
        lines = config.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    if not lines or lines[0] != _MARK:
        return {}
    found = (_RECORD.fullmatch(line) for line in lines[1 : 1 + len(_targets(Path("any.csv")))])
    return {match["name"]: match["sha256"] for match in found if match}


def _digest(path: Path) -> str:
    """SHA-256 of a file; of a configuration, without its head."""
    if path.suffix != ".yaml":
        return sha256_of_file(path)
    return _digest_of_body(path.read_text(encoding="utf-8"))


def _digest_of_body(text: str) -> str:
    """SHA-256 of the lines that are no comments."""
    from hashlib import sha256

    body = [line for line in text.splitlines() if not line.startswith("#")]
    return sha256("\n".join(body).encode()).hexdigest()


def _writable(imported: Imported) -> Imported:
    """Rows that a table for spreadsheets can hold and `triher.cohort.read_cohort` reads back as they were.

    `triher.tables.write_table` puts a quote before text that begins like a formula, and users' tables are read as
    they are, so such a cell would come back changed. HER2 entries are spelled out (``+`` is ``1+``), paths get
    ``./``, and numbers are no formulas. An id would not find its images any more: that patient is left out. Other
    text keeps the quote, with a note.
    """
    rows, skipped, quoted = [], list(imported.skipped), Counter[str]()
    paths = _path_columns(imported.settings)
    for row in imported.rows:
        if _is_formula(row["patient_id"]):
            message = f"the id '{row['patient_id']}' begins like a formula, which a spreadsheet would run"
            reason = SkipPatient("patient_id", message).row(row["patient_id"], row.get("cohort", ""), "import")
            skipped.append(replace(reason, remedy="give the patient another id, in the table and in file names"))
            continue
        safe = {name: _IN_WORDS.get(name, {}).get(cell, cell) for name, cell in row.items()}
        safe |= {name: f"./{safe[name]}" for name in paths if _is_formula(safe.get(name, ""))}
        quoted.update(name for name, cell in safe.items() if _is_formula(cell))
        rows.append(safe)
    text = "cells that begin like a formula have a quote before them now"
    notes = [Note("", "cell_quoted", f"column '{name}': {n} {text}") for name, n in quoted.items()]
    return replace(imported, rows=tuple(rows), skipped=tuple(skipped), notes=(*imported.notes, *notes))


def _is_formula(cell: str) -> bool:
    """Whether a spreadsheet would take a cell for a formula; numbers are none."""
    return cell.startswith(_FORMULA) and isinstance(_number(cell), str)


def _number(cell: str) -> str | int | float:
    """The number whose text a cell with a sign is, to be written without a quote; else the cell."""
    if not cell.startswith("-"):
        return cell
    for kind in (int, float):
        try:
            value = kind(cell)
        except ValueError:
            continue
        if str(value) == cell and math.isfinite(value):
            return value
    return cell


def _path_columns(settings: Mapping[str, Any]) -> list[str]:
    """Columns that are whole paths: ``{exam}`` of the exam, ``{mask}`` of the mask, and those of phases' files."""
    files = [settings.get("exam", ""), settings.get("mask", "")]
    files += [] if settings.get("exam") else list(settings.get("phases", {}).values())
    return [text[1:-1] for text in files if re.fullmatch(r"\{[^{}]+\}", text)]


def _nobody(imported: Imported) -> str:
    """Why no patient is left."""
    counts = Counter(row.code for row in imported.skipped)
    listed = ", ".join(f"{code} {n}" for code, n in counts.most_common())
    example = f"; the first: {imported.skipped[0].patient_id}: {imported.skipped[0].reason}" if counts else ""
    return f"none of {counts.total()} patients can come in ({listed or 'the collection is empty'}){example}"


def _write(imported: Imported, out: Path, stage: Path, name: str) -> list[str]:
    """Write all files into a folder beside their place; return their names, the configuration last."""
    header = list(dict.fromkeys(column for row in imported.rows for column in row))
    cells = [[_number(row.get(column, "")) for column in header] for row in imported.rows]
    write_table(stage / out.name, header, cells)
    written = [out.name]
    for suffix, kind, found in ((".skipped.csv", Skipped, imported.skipped), (".notes.csv", Note, imported.notes)):
        if found:
            _write_records(stage / out.with_suffix(suffix).name, kind, found)
            written.append(out.with_suffix(suffix).name)
    config = out.with_suffix(".yaml").name
    body = f"# triher cohort import {name}\n{_yaml(imported, out)}"
    records = [(sha256_of_file(stage / file), file) for file in written] + [(_digest_of_body(body), config)]
    head = "".join(f"# {digest} {file}\n" for digest, file in records)
    write_text(stage / config, f"{_MARK}\n{head}{body}")
    return [*written, config]


def _write_records(path: Path, kind: type[Skipped] | type[Note], found: Iterable[Skipped | Note]) -> None:
    """Write a table with a column a field."""
    write_table(path, [column.name for column in fields(kind)], [astuple(one) for one in found])


def _yaml(imported: Imported, out: Path) -> str:
    """The configuration: the cohort section and the scheme; all else stays as it is by default."""
    from ruamel.yaml import YAML

    cohort = {"table": out.name, "root": _relative(imported.root, out.parent), **imported.settings}
    yaml = YAML(typ="safe", pure=True)
    # As `triher.config.write_config`: phases in the order of time, and nothing that does not always read back.
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode, yaml.width, yaml.default_flow_style = False, 1_000_000, False
    stream = io.StringIO()
    yaml.dump({"cohort": cohort, "scheme": imported.scheme}, stream)
    return stream.getvalue()


def _relative(root: Path, folder: Path) -> str:
    """The folder of the images: relative to the configuration where it lies below, else absolute."""
    place, base = root.resolve(), folder.resolve()
    return place.relative_to(base).as_posix() if place.is_relative_to(base) else str(place)


def _read_back(config_file: Path, imported: Imported, out: Path) -> tuple[Config, Cohort]:
    """Read configuration and table as every command will, and compare."""
    try:
        config = read_config(config_file)
        at_home = config.cohort.model_copy(update={"root": imported.root.resolve()})
        cohort = read_cohort(at_home)
    except StopRun as error:
        message = error.message.replace(str(config_file.parent.resolve()), str(out.parent.resolve()))
        raise StopRun(error.code, f"{message} (nothing was written)", remedy=error.remedy) from error
    expected = [row["patient_id"] for row in imported.rows]
    if cohort.ids() != expected:
        odd = next((a for a, b in zip(expected, cohort.ids(), strict=False) if a != b), expected[-1])
        message = f"of {len(expected)} rows {len(cohort.ids())} patients read back; the first that differs: '{odd}'"
        raise StopRun("patient_duplicate", message, remedy="give every patient one row")
    return config, cohort


def _put_in_place(stage: Path, targets: Sequence[Path], written: Sequence[str]) -> None:
    """Give the files their names, the configuration last, and take away those of an earlier import."""
    targets[-1].unlink(missing_ok=True)
    for path in targets:
        if path.name in written:
            with replacing(path) as part:
                (stage / path.name).replace(part)
        else:
            path.unlink(missing_ok=True)


def _summary(imported: Imported, cohort: Cohort, config: Config, files: tuple[Path, ...]) -> Summary:
    """Count."""
    n_skipped = Counter(row.code for row in imported.skipped)
    splits: dict[str, Counter[str]] = {}
    sites: dict[str, Counter[str]] = {}
    known = labels(cohort, config.scheme)[0] if "ihc" in cohort.columns else {}
    classes = scheme_classes(config.scheme)
    for patient in cohort.patients:
        if patient.patient_id in known:
            label = classes[known[patient.patient_id]]
            splits.setdefault(patient.split, Counter())[label] += 1
            sites.setdefault(patient.site, Counter())[label] += 1
    return Summary(
        n_in=len(imported.rows) + len(imported.skipped),
        n_out=len(cohort.patients),
        skipped=dict(n_skipped.most_common()),
        unlabeled=len(cohort.patients) - len(known),
        by_split={name: {c: counts[c] for c in classes} for name, counts in sorted(splits.items())},
        by_site={name: {c: counts[c] for c in classes} for name, counts in sorted(sites.items())},
        n_notes=len(imported.notes),
        files=files,
    )
