"""Hashes of the data of a study, by which later data are told equal, or where they differ."""

import os
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from triher.cohort import Cohort, Patient, labels, read_cohort
from triher.errors import SkipPatient, StopRun
from triher.files import sha256_of_file, sha256_of_json
from triher.labels import scheme_classes
from triher.progress import Reporter
from triher.registration_record import DataHashes, ImageFiles
from triher.settings import Config
from triher.study import BASE

_DIGITS = 16
_OTHER_SOURCE = (
    "features come from images and not from a table",
    "features come from a table that was not registered",
)
_LISTED = 5  # patients in one remark
_MISSING = ImageFiles(n_files=0, n_bytes=0, sha256="", stamp="")
UNREADABLE = DataHashes(table="", features="", columns=(), patients={}, images={})
"""Of a cell whose data cannot be read."""


def hash_cells(
    configs: Mapping[str, Config], reporter: Reporter, known: Mapping[str, DataHashes], *, needed: Collection[str]
) -> dict[str, DataHashes]:
    """Hash what the base reads, and what each cell reads that reads other data; what is read twice is hashed once.

    Args:
        configs: name of a cell -> its configuration.
        reporter: where progress goes.
        known: of earlier.
        needed: cells whose data must be readable; those of others may be `UNREADABLE`.

    Raises:
        StopRun: as `hash_data`, of a needed cell.
    """
    sources = {name: _sources(config) for name, config in configs.items()}
    hashed: dict[str, DataHashes] = {}
    for name in (BASE, *needed, *sources):
        if sources[name] in hashed:
            continue
        try:
            hashed[sources[name]] = hash_data(configs[name], reporter, data_of(known, name) if known else None)
        except StopRun:
            if name in needed:
                raise
            hashed[sources[name]] = UNREADABLE
    return {name: hashed[own] for name, own in sources.items() if name == BASE or own != sources[BASE]}


def data_of(data: Mapping[str, DataHashes], name: str) -> DataHashes:
    """The data of a cell, which are the base's where nothing is said of it."""
    return data.get(name, data[BASE])


def _sources(config: Config) -> str:
    """What decides which data are read, and as what."""
    return sha256_of_json([config.cohort.model_dump(mode="json"), config.scheme, str(config.classify.features)])


def hash_data(config: Config, reporter: Reporter, known: DataHashes | None = None) -> DataHashes:
    """Hash what a configuration reads: the table, each patient's cells, and every image file, which takes a while.

    Args:
        config: of a cell.
        reporter: where progress goes.
        known: earlier hashes; files whose places, sizes and times are as they were then are not read again.

    Raises:
        StopRun: ``file_unreadable`` without its table of features; as `triher.cohort.read_cohort` and
            `triher.cohort.labels`.
    """
    cohort = read_cohort(config.cohort, survival=False, images=config.has_images)
    rows = _rows(cohort, config)
    features = config.classify.features
    return DataHashes(
        table=sha256_of_file(config.cohort.table),
        features="" if features is None else _hash_table(features),
        columns=tuple(next(iter(rows.values()), {})),
        patients={
            patient_id: tuple(sha256_of_json([patient_id, name, value])[:_DIGITS] for name, value in row.items())
            for patient_id, row in rows.items()
        },
        images=_images(cohort, config, reporter, known) if config.has_images else {},
    )


def _hash_table(path: Path) -> str:
    """Hash a table of features."""
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise StopRun("file_unreadable", f"cannot read the features {path}: {error.strerror}") from error


def _rows(cohort: Cohort, config: Config) -> dict[str, dict[str, Any]]:
    """Patient -> column -> what a study reads of it, as JSON values."""
    classes = scheme_classes(config.scheme)
    known, _ = labels(cohort, config.scheme)
    rows = {}
    for patient in cohort.patients:
        position = known.get(patient.patient_id)
        rows[patient.patient_id] = {
            "label": "" if position is None else classes[position],
            "ihc": patient.ihc,
            "cohort": patient.cohort,
            "site": patient.site,
            "split": patient.split,
            "vendor": patient.vendor,
            **{name: repr(value) for name, value in patient.covariates.items()},
            **patient.groups,
            "files": patient.places(config.cohort.images_root),
            "reading": asdict(patient.reading),
        }
    return rows


def _images(cohort: Cohort, config: Config, reporter: Reporter, known: DataHashes | None) -> dict[str, ImageFiles]:
    """Hash each patient's files, several patients at a time."""
    before = {} if known is None else known.images
    root = config.cohort.images_root

    def one(patient: Patient) -> ImageFiles:
        return _hash_files(patient, root, before.get(patient.patient_id))

    with ThreadPoolExecutor(config.extract.readers) as pool:
        found = pool.map(one, cohort.patients)
        tracked = reporter.track(found, "hashing the images", total=len(cohort.patients))
        return dict(zip(cohort.ids(), tracked, strict=True))


def _hash_files(patient: Patient, root: Path, before: ImageFiles | None) -> ImageFiles:
    """Hash the files of a patient, unless they look as they did."""
    from extract.volumes import source_files

    try:
        files = [(name, file) for name, path in patient.files().items() for file in source_files(path)]
        places = [(name, os.path.relpath(file, root)) for name, file in files]
        stats = [file.stat() for _, file in files]
        marks = [(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats]
        stamp = sha256_of_json([places, marks])
        if before is not None and before.stamp == stamp:
            return before
        content = [(place, sha256_of_file(file)) for place, (_, file) in zip(places, files, strict=True)]
    except (OSError, SkipPatient):
        return _MISSING
    n_bytes = sum(stat.st_size for stat in stats)
    return ImageFiles(n_files=len(files), n_bytes=n_bytes, sha256=sha256_of_json(content), stamp=stamp)


def compare_data(registered: DataHashes, found: DataHashes) -> list[str]:
    """What is other than registered in whatever a study reads: which patients, how many, in which columns.

    A table whose bytes alone differ (another order of rows, a column that nobody reads) is no difference.
    """
    if registered == found:
        return []
    if UNREADABLE in (registered, found):
        return ["they cannot be read" if found == UNREADABLE else "they could not be read when they were registered"]
    before, now = registered.patients, found.patients
    changed = []
    if registered.columns != found.columns:
        changed.append(f"other columns are read: {', '.join(registered.columns)} -> {', '.join(found.columns)}")
    changed += _patients("no longer in the table", [name for name in before if name not in now])
    changed += _patients("new in the table", [name for name in now if name not in before])
    common = [name for name in before if name in now]
    for column in [name for name in registered.columns if name in found.columns]:
        i, j = registered.columns.index(column), found.columns.index(column)
        changed += _patients(f"changed in '{column}'", [n for n in common if before[n][i] != now[n][j]])
    changed += _patients("changed in their images", _other_images(registered.images, found.images))
    if registered.features != found.features:
        both = registered.features and found.features
        changed.append("the table of features is another file" if both else _OTHER_SOURCE[bool(found.features)])
    return changed


def _other_images(before: Mapping[str, ImageFiles], now: Mapping[str, ImageFiles]) -> list[str]:
    """Patients whose files hold something else."""
    return [name for name, files in before.items() if name in now and now[name].sha256 != files.sha256]


def _patients(what: str, names: list[str]) -> list[str]:
    """A line about some patients, or none."""
    if not names:
        return []
    more = ", ..." if len(names) > _LISTED else ""
    return [f"{len(names)} patient{'s' * (len(names) > 1)} {what}: {', '.join(names[:_LISTED])}{more}"]
