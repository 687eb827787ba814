"""Random cohorts with random faults mixed in: what hypothesis draws, and how it is written."""

import csv
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from faulty_images import (
    DICOM,
    FAULTS,
    NAMES,
    NOTE,
    ON_MASKS,
    PACKED,
    PHASES,
    PLAIN,
    SKIP,
    WORKS,
    Exam,
    Fault,
    removed,
)
from hypothesis import strategies as st

from extract.phantom.dicom import write_dicom

NASTY = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</title></table>", "&lt;b&gt;", "' onload='x",
    "=cmd|' /C calc'!A0", "+1", "-rf", "@SUM(A1)", "'=1+1", "''=1", "'", "../../../etc/passwd", "/etc/shadow",
    "..\\win", "a/b", unicodedata.normalize("NFC", "Zo\u00eb"), unicodedata.normalize("NFD", "Zo\u00eb"), "a b  c",
    "line\nbreak", "carriage\rreturn", "\u202eRTL\u202c", "\u05d0\u05d1", "x" * 400, 'a,b;c\td"e"', "001", "NA",
    "1e5", "{patient_id}", "{0}", "%s%n", "[red]x[/red]", "[/]", "[bold", "NULL", "\U0001f600", "zero\u200bwidth",
    "\x1b[31mred", "\uff30\uff11", "no\u00a0break", "next\u2028line", "\ufeffmark", "CON", ".", "$(id)", "`id`",
    "a\\", "#", "*", "?",
)  # fmt: skip
"""Pieces of ids and names that a program trips over: markup, formulas, paths, forms of Unicode, templates."""


def names(token: str) -> st.SearchStrategy[str]:
    """Text as a hospital, or an enemy, would write it, which holds a token of its own."""
    letters = st.characters(exclude_categories=("Cs", "Cc"))
    piece = st.one_of(st.just(""), st.sampled_from(NASTY), st.text(letters, max_size=12))
    return st.tuples(piece, piece).map(lambda two: f"{two[0]}{token}{two[1]}".strip())


IHC = {"zero": ("0", ""), "low": ("1+", ""), "positive": ("3+", "amplified")}


@dataclass(frozen=True)
class Person:
    """One row of the table and how her exam is written."""

    patient_id: str
    cohort: str
    site: str
    her2: str
    stem: str
    """Of her files' names."""
    suffix: str
    """Of the phases' files; empty for DICOM."""
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    seed: int
    fault: str = ""
    """Key of `FAULTS`, `PACKED`, `PLAIN` or `DICOM`; none if empty."""

    def what(self) -> Fault:
        """What is wrong with her exam."""
        return ({"": Fault(lambda _: None, WORKS)} | FAULTS | PACKED | PLAIN | DICOM)[self.fault]


@dataclass(frozen=True)
class Drawn:
    """A cohort that hypothesis drew."""

    people: tuple[Person, ...]
    separator: str = ","
    byte_order_mark: bool = False
    options: dict[str, object] = field(default_factory=dict)

    def skipped(self) -> dict[str, tuple[str, ...]]:
        """Who must be left out, and the codes that may be given."""
        return {p.patient_id: p.what().codes for p in self.people if p.what().outcome == SKIP}

    def done(self) -> list[str]:
        """Who must be in the store, in order."""
        return [p.patient_id for p in self.people if p.what().outcome != SKIP]

    def noted(self) -> set[tuple[str, str]]:
        """Patient and code of the remarks that there must be."""
        return {(p.patient_id, code) for p in self.people if p.what().outcome == NOTE for code in p.what().codes}


STEMS = (
    "exam",
    "a b  c",
    "-rf",
    "<b>'&\"",
    "Zo\u00eb",
    "Zoe\u0308",
    "$(x) ;",
    "x" * 150,
    "line\nbreak",
    "=1+1",
    "[red]",
    "a,b",
)


@st.composite
def people(draw: st.DrawFn, k: int, cohorts: Sequence[str], sites: Sequence[str], suffixes: Sequence[str]) -> Person:
    """One patient, whose id nobody else has."""
    suffix = draw(st.sampled_from(suffixes))
    own = {".nii.gz": [*FAULTS, *PACKED], ".nii": [*FAULTS, *PLAIN], "": [*DICOM, *ON_MASKS]}[suffix]
    side = st.integers(12, 18)
    spacing = st.floats(0.6, 1.6).map(lambda mm: round(mm, 3))
    return Person(
        draw(names(f"q{k}z")),
        draw(st.sampled_from(cohorts)),
        draw(st.sampled_from(sites)),
        draw(st.sampled_from(sorted(IHC))),
        f"{k}{draw(st.sampled_from(STEMS))}",
        suffix,
        (draw(side), draw(side), draw(st.integers(6, 9))),
        (draw(spacing), draw(spacing), draw(st.floats(1.8, 3.2).map(lambda mm: round(mm, 3)))),
        draw(st.integers(0, 99)) * 100 + k,
        draw(st.sampled_from(own)) if draw(st.booleans()) else "",
    )


@st.composite
def cohorts_with_faults(draw: st.DrawFn, most: int = 12, suffixes: Sequence[str] = (".nii.gz", ".nii")) -> Drawn:
    """A cohort of 3 patients or more, of whom at least one can be used and has a neighbor who may not."""
    cohorts = [draw(names(f"c{k}z")) for k in range(draw(st.integers(1, 2)))]
    sites = [draw(names(f"s{k}z")) for k in range(draw(st.integers(1, 3)))]
    n = draw(st.integers(3, most))
    found = [draw(people(k, cohorts, sites, suffixes)) for k in range(n)]
    if not any(person.what().outcome != SKIP for person in found):
        found[0] = Person(**{**vars(found[0]), "fault": ""})
    options = {"shard_patients": draw(st.integers(1, 5)), "batch_size": draw(st.integers(1, 6))}
    return Drawn(tuple(found), draw(st.sampled_from(",;\t")), draw(st.booleans()), options)


def write_table(path: Path, rows: Sequence[Sequence[str]], separator: str = ",", *, mark: bool = False) -> None:
    """A table as other programs write it, every cell as it is."""
    with path.open("w", encoding="utf-8-sig" if mark else "utf-8", newline="") as handle:
        csv.writer(handle, delimiter=separator).writerows(rows)


HEADER = ["patient_id", "cohort", "site", "ihc", "ish", "header_id"]


def write_images(folder: Path, drawn: Drawn) -> dict[str, Exam]:
    """Write everybody's exam without a fault; who has which files."""
    folder.mkdir(parents=True, exist_ok=True)
    return {person.patient_id: _write_exam(folder, person) for person in drawn.people}


def _write_exam(folder: Path, person: Person) -> Exam:
    """An ellipsoid in noise that takes up contrast agent."""
    rng = np.random.default_rng(person.seed)
    grid = np.indices(person.shape)
    middle, radii = np.array(person.shape) / 2, np.array(person.shape) / 4
    lesion = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, middle, radii, strict=True)) < 1
    affine = np.diag([*person.spacing_mm, 1.0])
    affine[:3, 3] = rng.integers(-30, 30, 3)
    exam = Exam({name: folder / f"{person.stem}_{name}{person.suffix or '.nii.gz'}" for name in NAMES})
    for gain, name in zip((1.0, 2.5, 2.0), PHASES, strict=True):
        noise = rng.normal(300, 20, person.shape)
        exam.save(name, (noise + lesion * 200 * gain + gain).astype(np.int16), affine)
    exam.save("mask", lesion.astype(np.uint8), affine)
    return exam if person.suffix else _as_dicom(exam, person)


def _as_dicom(exam: Exam, person: Person) -> Exam:
    """The phases as one series of DICOM, in a folder."""
    loaded = [exam.load(name) for name in PHASES]
    folder = exam.paths["pre"].parent / person.stem
    given = {"vendor": "ge", "patient_id": f"H{person.seed}", "seed": person.seed}
    slices = write_dicom(folder, [array for array, _ in loaded], loaded[0][1], (-30.0, 90.0, 390.5), **given)
    removed(*PHASES)(exam)
    return Exam({"exam": folder, "mask": exam.paths["mask"]}, tuple(slices))


def rows_of(drawn: Drawn, exams: dict[str, Exam]) -> list[list[str]]:
    """Header and rows of the cohort table."""
    files = [*next(iter(exams.values())).paths]
    rows = [
        [p.patient_id, p.cohort, p.site, *IHC[p.her2], f"H{p.seed}", *map(str, exams[p.patient_id].paths.values())]
        for p in drawn.people
    ]
    return [[*HEADER, *files], *rows]


def cohort_options(drawn: Drawn) -> dict[str, object]:
    """What the configuration says of such a table."""
    if drawn.people[0].suffix:
        return {}
    rules = {"pre": "pre", "early": "first post", "late": "last"}
    return {"exam": "{exam}", "dicom_id": "{header_id}", "phases": rules}


def spoil(drawn: Drawn, exams: dict[str, Exam]) -> None:
    """Put the faults into the files."""
    for person in drawn.people:
        person.what().spoil(exams[person.patient_id])


Rows = list[list[str]]


def _with_cell(row: int, column: int, value: str) -> Callable[[Rows], Rows]:
    """Another value in a cell."""

    def change(rows: Rows) -> Rows:
        at = column % len(rows[row])
        return [[*r[:at], value, *r[at + 1 :]] if i == row else r for i, r in enumerate(rows)]

    return change


def _respelled(patient_id: str, letter: str, other: str) -> str:
    """The same id to a reader, with more space around it."""
    return f" {patient_id.replace(letter, other)}\u00a0"


TABLE_FAULTS: dict[str, tuple[Callable[[Rows], Rows], str]] = {
    "one id twice": (lambda rows: [*rows, [rows[1][0], *rows[2][1:]]], "patient_duplicate"),
    "one id in two cases": (
        lambda rows: [*rows, [_respelled(rows[1][0], "q", "Q"), *rows[2][1:]]],
        "patient_duplicate",
    ),
    "one id in two widths": (
        lambda rows: [*rows, [_respelled(rows[1][0], "q", "\uff51"), *rows[2][1:]]],
        "patient_duplicate",
    ),
    "no id": (_with_cell(1, 0, "  "), "patient_id"),
    "a column twice": (_with_cell(0, 3, "site"), "table_header"),
    "a cell too many": (lambda rows: [*rows[:-1], [*rows[-1], "x"]], "csv_row"),
    "a cell too few": (lambda rows: [*rows[:-1], rows[-1][:-1]], "csv_row"),
    "no column": (_with_cell(0, -1, "maske"), "column_missing"),
    "no column of ids": (_with_cell(0, 0, "name"), "column_missing"),
    "a header alone": (lambda rows: rows[:1], "table_empty"),
    "nothing": (lambda rows: [], "table_empty"),
    "another column": (lambda rows: [rows[0], *([*r[:3], "left", *r[4:]] for r in rows[1:])], "her2_codes"),
    "one person under two ids": (
        lambda rows: [*rows, ["TCGA-AO-A03M", *rows[1][1:]], ["TCGA-AO-A03M-01A", *rows[2][1:]]],
        "patient_leak",
    ),
}
"""Faults of the table that stop the run before anything is written: the rows as they are then, and the code."""
