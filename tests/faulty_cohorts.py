"""Random cohorts with random faults mixed in: what hypothesis draws, how it is written, and what must come of it."""

import csv
import gzip
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from hypothesis import strategies as st
from pydicom.uid import generate_uid

from extract.phantom_dicom import write_dicom

PHASES = ("pre", "early", "late")
NAMES = (*PHASES, "mask")
SKIP, NOTE, WORKS = "skip", "note", "works"

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


@dataclass(frozen=True)
class Exam:
    """The files of one patient, by phase and ``mask``."""

    paths: dict[str, Path]
    """``exam`` is the folder of the phases where they are DICOM."""
    slices: tuple[Path, ...] = ()
    """The files of that folder, phase after phase and slice after slice."""

    def save(self, name: str, array: np.ndarray, affine: np.ndarray, **header: object) -> None:
        """Write a volume with sform and qform."""
        image = nib.Nifti1Image(array, affine)
        image.set_sform(affine, code=1)
        image.set_qform(affine, code=1)
        for key, value in header.items():
            image.header[key] = value
        nib.save(image, self.paths[name])

    def load(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Voxels and affine."""
        image = nib.load(self.paths[name], mmap=False)
        return np.asarray(image.dataobj), image.affine

    def bytes_of(self, name: str) -> bytes:
        """What is in the file, uncompressed."""
        data = self.paths[name].read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


@dataclass(frozen=True)
class Fault:
    """How an exam is spoiled, and what must come of it."""

    spoil: Callable[[Exam], None]
    outcome: str
    codes: tuple[str, ...] = ()
    """One of them must be given: a flipped bit may end a stream, too."""


def raw(name: str, change: Callable[[bytes], bytes]) -> Callable[[Exam], None]:
    """Change the bytes of a file."""
    return lambda exam: exam.paths[name].write_bytes(change(exam.paths[name].read_bytes())) and None


def voxels(name: str, change: Callable[..., tuple[np.ndarray, np.ndarray]]) -> Callable[[Exam], None]:
    """Change voxels or affine of a volume."""
    return lambda exam: exam.save(name, *change(*exam.load(name)))


def header(name: str, **fields: object) -> Callable[[Exam], None]:
    """Change the header of a file, whatever nibabel thinks of it."""

    def spoil(exam: Exam) -> None:
        data = bytearray(exam.bytes_of(name))
        found = nib.Nifti1Header(bytes(data[:348]), check=False)
        for key, value in fields.items():
            found[key] = value
        data[:348] = found.binaryblock
        is_packed = exam.paths[name].name.endswith(".gz")
        exam.paths[name].write_bytes(gzip.compress(bytes(data), 1) if is_packed else bytes(data))

    return spoil


def flip(data: bytes) -> bytes:
    """Flip a bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :]


def with_value(value: float) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """One voxel of another value."""

    def change(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        other = array.astype(np.float32)
        other[3, 4, 2] = value
        return other, affine

    return change


def moved(share: float) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """The volume moved along its first axis by a share of its extent."""

    def change(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        other = affine.copy()
        other[:3, 3] += share * array.shape[0] * other[:3, 0]
        return array, other

    return change


def spaced(axis: int, spacing_mm: float) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Another spacing along an axis."""

    def change(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        other = affine.copy()
        other[:3, axis] *= spacing_mm / np.linalg.norm(other[:3, axis])
        return array, other

    return change


def sheared(exam: Exam) -> None:
    """Axes that are not at right angles."""
    array, affine = exam.load("early")
    affine[0, 1] = 0.4
    image = nib.Nifti1Image(array, affine)
    image.set_sform(affine, code=1)
    nib.save(image, exam.paths["early"])


def not_oriented(exam: Exam) -> None:
    """Headers that do not say where the voxels lie."""
    for name in NAMES:
        header(name, sform_code=0, qform_code=0)(exam)


def removed(*which: str) -> Callable[[Exam], None]:
    """Files that are not there."""
    return lambda exam: [exam.paths[name].unlink() for name in which] and None


def linked(target: str) -> Callable[[Exam], None]:
    """A phase that is a link."""

    def spoil(exam: Exam) -> None:
        exam.paths["early"].unlink()
        exam.paths["early"].symlink_to(exam.paths[target].name)

    return spoil


def a_folder(exam: Exam) -> None:
    """A folder in the place of a phase."""
    exam.paths["late"].unlink()
    exam.paths["late"].mkdir()


def copied(exam: Exam) -> None:
    """One volume for two phases."""
    exam.save("late", *exam.load("pre"))


def swapped(exam: Exam) -> None:
    """Two phases in the wrong order."""
    pre, early = exam.load("pre"), exam.load("early")
    exam.save("pre", *early)
    exam.save("early", *pre)


def two_voxels(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A lesion that is too small."""
    other = np.zeros_like(array)
    other[4, 4, 2:4] = 1
    return other, affine


def almost_all(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A lesion that fills the volume."""
    other = np.ones_like(array)
    other[:2] = 0
    return other, affine


def two_parts(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A second lesion in a corner."""
    other = array.copy()
    other[0:2, 0:2, 0:2] = 1
    return other, affine


def larger_grid(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """More slices on both sides."""
    other = affine.copy()
    other[:3, 3] -= other[:3, 2]
    return np.pad(array, ((0, 0), (0, 0), (1, 2))), other


def turned(exam: Exam) -> None:
    """All files with other axes in another order, which is the same exam."""
    for name in NAMES:
        image = nib.load(exam.paths[name], mmap=False).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
        exam.save(name, np.asarray(image.dataobj), image.affine)


def big_endian(exam: Exam) -> None:
    """A file from a machine with the other order of bytes."""
    array, affine = exam.load("early")
    image = nib.Nifti1Image(array.astype(">i2"), affine, nib.Nifti1Header(endianness=">"))
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nib.save(image, exam.paths["early"])


FAULTS = {
    "cut at 20 %": Fault(raw("early", lambda data: data[: len(data) // 5]), SKIP, ("image_truncated",)),
    "cut at 60 %": Fault(raw("late", lambda data: data[: len(data) * 3 // 5]), SKIP, ("image_truncated",)),
    "cut at 99 %": Fault(raw("pre", lambda data: data[: len(data) * 99 // 100]), SKIP, ("image_truncated",)),
    "mask cut": Fault(raw("mask", lambda data: data[: len(data) * 3 // 4]), SKIP, ("image_truncated",)),
    "a web page": Fault(
        raw("pre", lambda _: b"<html><body>404 <script>alert(2)</script>"), SKIP, ("image_unreadable",)
    ),
    "no byte": Fault(raw("early", lambda _: b""), SKIP, ("image_unreadable",)),
    "NaN": Fault(voxels("early", with_value(np.nan)), SKIP, ("image_nonfinite",)),
    "infinity": Fault(voxels("late", with_value(-np.inf)), SKIP, ("image_nonfinite",)),
    "NaN in the mask": Fault(voxels("mask", with_value(np.nan)), SKIP, ("image_nonfinite",)),
    "constant": Fault(voxels("late", lambda a, t: (np.full_like(a, 7), t)), SKIP, ("image_constant",)),
    "2-D": Fault(voxels("early", lambda a, t: (a[:, :, 0], t)), SKIP, ("image_not_3d",)),
    "4-D": Fault(voxels("early", lambda a, t: (np.stack([a] * 5, -1), t)), SKIP, ("image_4d",)),
    "no early phase": Fault(removed("early"), SKIP, ("phase_missing",)),
    "no images": Fault(removed(*PHASES), SKIP, ("no_images",)),
    "no file": Fault(removed(*NAMES), SKIP, ("no_images",)),
    "shape": Fault(voxels("late", lambda a, t: (a[:-3], t)), SKIP, ("phase_shape",)),
    "elsewhere": Fault(voxels("late", moved(0.4)), SKIP, ("phase_geometry",)),
    "one phase twice": Fault(copied, SKIP, ("phase_duplicate",)),
    "a link to another phase": Fault(linked("pre"), SKIP, ("phase_duplicate",)),
    "a loop of links": Fault(linked("early"), SKIP, ("file_unreadable",)),
    "a link to nothing": Fault(
        lambda exam: (exam.paths["early"].unlink(), exam.paths["early"].symlink_to("nowhere"), None)[-1],
        SKIP,
        ("phase_missing",),
    ),
    "a folder": Fault(a_folder, SKIP, ("no_dicom",)),
    "spacing of 11 mm": Fault(voxels("early", spaced(2, 11.0)), SKIP, ("spacing_implausible",)),
    "spacing of 0.05 mm": Fault(voxels("pre", spaced(0, 0.05)), SKIP, ("spacing_implausible",)),
    "no spacing": Fault(header("early", srow_x=[0, 0, 0, 0]), SKIP, ("spacing_implausible",)),
    "negative spacing": Fault(
        header("early", sform_code=0, pixdim=[1, -1.2, 1.2, 2.5, 1, 1, 1, 1]), SKIP, ("spacing_implausible",)
    ),
    "no orientation": Fault(not_oriented, SKIP, ("orientation_unknown",)),
    "sheared": Fault(sheared, SKIP, ("affine_sheared",)),
    "NaN in the affine": Fault(header("early", srow_y=[0, np.nan, 0, 0]), SKIP, ("affine_invalid",)),
    "8 thousand million voxels": Fault(
        header("early", dim=[3, 2000, 2000, 2000, 1, 1, 1, 1]), SKIP, ("image_too_large",)
    ),
    "a million million voxels": Fault(header("pre", dim=[3, *[10_000] * 3, 1, 1, 1, 1]), SKIP, ("image_too_large",)),
    "more voxels than bytes": Fault(header("late", dim=[3, 64, 64, 64, 1, 1, 1, 1]), SKIP, ("image_truncated",)),
    "no mask": Fault(removed("mask"), SKIP, ("mask_missing",)),
    "an empty mask": Fault(voxels("mask", lambda a, t: (a * 0, t)), SKIP, ("mask_empty",)),
    "a mask of two voxels": Fault(voxels("mask", two_voxels), SKIP, ("mask_empty",)),
    "a mask in another room": Fault(voxels("mask", moved(40.0)), SKIP, ("mask_geometry",)),
    "a mask outside": Fault(voxels("mask", moved(0.8)), SKIP, ("mask_outside",)),
    "a further axis": Fault(voxels("early", lambda a, t: (a[..., None], t)), NOTE, ("image_squeezed",)),
    "a little moved": Fault(voxels("late", moved(0.01)), NOTE, ("phase_resampled",)),
    "wrong order": Fault(swapped, NOTE, ("phase_order_suspect",)),
    "scaled": Fault(header("early", scl_slope=0.5), NOTE, ("image_scaled",)),
    "a mask with more slices": Fault(voxels("mask", larger_grid), NOTE, ("mask_resampled",)),
    "a mask of 255": Fault(voxels("mask", lambda a, t: ((a * 255).astype(np.float32), t)), NOTE, ("mask_binarized",)),
    "a mask of almost all": Fault(voxels("mask", almost_all), NOTE, ("mask_implausible",)),
    "two lesions": Fault(voxels("mask", two_parts), NOTE, ("lesions_several",)),
    "a slope of 0": Fault(header("early", scl_slope=0.0), WORKS),
    "other axes": Fault(turned, WORKS),
    "the other order of bytes": Fault(big_endian, WORKS),
    "floats": Fault(voxels("pre", lambda a, t: (a.astype(np.float64), t)), WORKS),
}
"""By name; those below are for compressed or for plain files alone."""
PACKED = {
    "a flipped bit": Fault(raw("late", flip), SKIP, ("image_corrupt", "image_truncated")),
    "a plain file, packed by its name": Fault(
        lambda exam: exam.paths["early"].write_bytes(exam.bytes_of("early")) and None, WORKS
    ),
    "half a plain file, packed by its name": Fault(
        lambda exam: exam.paths["early"].write_bytes(exam.bytes_of("early")[:900]) and None,
        SKIP,
        ("image_truncated",),
    ),
}
PLAIN = {
    "one byte short": Fault(raw("early", lambda data: data[:-1]), SKIP, ("image_truncated",)),
    "packed, plain by its name": Fault(
        lambda exam: exam.paths["early"].write_bytes(gzip.compress(exam.bytes_of("early"))) and None, WORKS
    ),
}

ON_MASKS = (
    "mask cut", "NaN in the mask", "no mask", "an empty mask", "a mask of two voxels", "a mask in another room",
    "a mask outside", "a mask with more slices", "a mask of 255", "a mask of almost all", "two lesions",
)  # fmt: skip
SECRETS = {
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "19610412",
    "OtherPatientNames": "Roe^Jane",
    "PatientAddress": "1 Lantern Lane",
    "InstitutionName": "Saint Elsewhere",
    "AccessionNumber": "ACC-4711",
}


def edit(path: Path, to: Path | None = None, **values: object) -> None:
    """Give an image other attributes; None takes one out."""
    found = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            del found[keyword]
        else:
            setattr(found, keyword, value)
    found.save_as(to or path)


def edited(which: slice = slice(None), **values: object) -> Callable[[Exam], None]:
    """Other attributes in some images."""
    return lambda exam: [edit(path, **values) for path in exam.slices[which]] and None


def deleted(which: Callable[[int], slice]) -> Callable[[Exam], None]:
    """Some images are gone; which ones depends on how many slices there are."""
    return lambda exam: [path.unlink() for path in exam.slices[which(len(exam.slices) // 3)]] and None


def other_slice(exam: Exam) -> None:
    """Other pixels in the place of a slice."""
    found = pydicom.dcmread(exam.slices[2])
    found.SOPInstanceUID, found.InstanceNumber = generate_uid(), 999
    found.PixelData = bytes(reversed(found.PixelData))
    found.save_as(exam.paths["exam"] / "zzz.dcm")


def other_matrix(exam: Exam) -> None:
    """One image of half the rows."""
    found = pydicom.dcmread(exam.slices[3])
    found.Rows //= 2
    found.PixelData = found.PixelData[: found.Rows * found.Columns * 2]
    found.save_as(exam.slices[3])


def added(n: int, name: str, **values: object) -> Callable[[Exam], None]:
    """Copies of some images with other attributes."""
    return lambda exam: (
        [edit(p, exam.paths["exam"] / f"{name}{k}", **values) for k, p in enumerate(exam.slices[:n])] and None
    )


def text_beside(exam: Exam) -> None:
    """Files that are no images."""
    (exam.paths["exam"] / "junk.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 500)
    (exam.paths["exam"] / "=note.txt").write_text("<b>ask the radiologist</b>", encoding="utf-8")


def text_alone(exam: Exam) -> None:
    """Nothing but a file that is no image."""
    deleted(lambda _: slice(None))(exam)
    (exam.paths["exam"] / "<readme>.txt").write_text("nothing", encoding="utf-8")


_SCOUT = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
_OTHER_SERIES = {
    "SeriesInstanceUID": "1.2.3.4",
    "SeriesNumber": 9,
    "SeriesDescription": "<t2>",
    "RepetitionTime": 4000,
}
_TIMES = ("TemporalPositionIdentifier", "TriggerTime", "AcquisitionTime", "ContentTime", "AcquisitionNumber")

DICOM = {
    "a slice missing": Fault(deleted(lambda n: slice(2, None, n)), SKIP, ("slice_missing",)),
    "half a phase": Fault(deleted(lambda n: slice(-(n // 2), None)), SKIP, ("series_not_a_grid",)),
    "one image missing": Fault(deleted(lambda n: slice(2, 3)), SKIP, ("series_not_a_grid",)),
    "no times": Fault(edited(**dict.fromkeys(_TIMES)), SKIP, ("series_not_a_grid",)),
    "other pixels in one place": Fault(other_slice, SKIP, ("slice_duplicate",)),
    "another matrix": Fault(other_matrix, SKIP, ("slice_matrix",)),
    "two kinds": Fault(
        edited(slice(None, None, 2), ImageType=["DERIVED", "PRIMARY", "WATER"]),
        SKIP,
        ("series_mixed", "series_not_a_grid"),
    ),
    "another series": Fault(added(6, "t2", **_OTHER_SERIES), SKIP, ("series_ambiguous",)),
    "pixels cut": Fault(
        lambda exam: exam.slices[4].write_bytes(exam.slices[4].read_bytes()[:-100]) and None,
        SKIP,
        ("pixeldata_short",),
    ),
    "no position": Fault(edited(slice(4, 5), ImagePositionPatient=None), SKIP, ("dicom_geometry",)),
    "no axes": Fault(edited(slice(4, 5), ImageOrientationPatient=None), SKIP, ("dicom_geometry",)),
    "no distances": Fault(edited(PixelSpacing=None), SKIP, ("dicom_geometry",)),
    "no MR": Fault(text_alone, SKIP, ("no_mr_image",)),
    "an empty folder": Fault(deleted(lambda _: slice(None)), SKIP, ("no_dicom",)),
    "no folder": Fault(lambda exam: shutil.rmtree(exam.paths["exam"]), SKIP, ("no_images",)),
    "somebody else": Fault(edited(PatientID="HOSPITAL-77"), SKIP, ("patient_mismatch",)),
    "two people": Fault(edited(slice(-1, None), PatientID="HOSPITAL-77"), SKIP, ("patient_mismatch",)),
    "a slice twice": Fault(added(1, "copy"), NOTE, ("slice_repeated",)),
    "other files": Fault(text_beside, NOTE, ("dicom_ignored",)),
    "a name": Fault(edited(**SECRETS), NOTE, ("phi_present",)),
    "text in the image": Fault(edited(slice(4), BurnedInAnnotation="YES"), NOTE, ("burned_in_annotation",)),
    "a localizer": Fault(added(3, "scout", **_SCOUT), NOTE, ("series_strays",)),
}
"""By name, for exams as DICOM."""

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


@dataclass(frozen=True)
class Subject:
    """One patient whose features come from a table."""

    patient_id: str
    cohort: str
    site: str
    label: int
    """0 to 2."""
    fault: str = ""
    """Key of `SUBJECT_FAULTS`; none if empty."""


SUBJECT_FAULTS = {
    "2+ without ISH": (SKIP, "her2_unknown"),
    "an unknown code": (SKIP, "her2_unknown"),
    "equivocal twice": (SKIP, "her2_unknown"),
    "no IHC": (SKIP, "her2_unknown"),
    "0 and amplified": (SKIP, "her2_unknown"),
    "3+ and not amplified": (NOTE, "her2_contradiction"),
    "no features": (SKIP, "not_extracted"),
    "no number": (SKIP, "embedding_nonfinite"),
    "infinity": (SKIP, "embedding_nonfinite"),
    "no age": (SKIP, "covariate_missing"),
    "no time": (WORKS, ""),
    "a time below 0": (WORKS, ""),
    "a time of 0": (WORKS, ""),
    "an age of the world": (WORKS, ""),
    "a row twice": (NOTE, "patient_duplicate"),
}
"""By name: what must come of a patient, and the code."""
_UNLABELED = {
    "2+ without ISH": ("2+", ""),
    "an unknown code": ("<b>left</b>", ""),
    "equivocal twice": ("2+", "equivocal"),
    "no IHC": ("", ""),
    "0 and amplified": ("0", "amplified"),
    "3+ and not amplified": ("3+", "not amplified"),
}
_TIMES_OF = {"no time": "", "a time below 0": "-4", "a time of 0": "0", "an age of the world": "99999"}
_ENTRIES = [*IHC.values()]


@dataclass(frozen=True)
class Table:
    """A cohort with a table of features that hypothesis drew."""

    subjects: tuple[Subject, ...]
    seed: int
    has_survival: bool
    options: dict[str, object]
    """Of the section ``classify``."""

    def with_code(self, outcome: str) -> dict[str, str]:
        """Patient -> code, of those of whom this must come."""
        found = {s.patient_id: SUBJECT_FAULTS[s.fault] for s in self.subjects if s.fault}
        return {patient_id: code for patient_id, (what, code) in found.items() if what == outcome}

    def repaired(self) -> "Table":
        """The same without faults."""
        return replace(self, subjects=tuple(replace(subject, fault="") for subject in self.subjects))

    def cohort_rows(self) -> list[list[str]]:
        """Header and rows of the cohort table."""
        rng = np.random.default_rng(self.seed)
        follow_up = ["time", "event"] if self.has_survival else []
        rows = [["patient_id", "cohort", "site", "ihc", "ish", "age", *follow_up]]
        for subject in self.subjects:
            fault = subject.fault
            age, time, event = rng.integers(30, 80), rng.integers(1, 120), rng.integers(0, 2)
            entry = _UNLABELED.get(fault, _ENTRIES[subject.label])
            times = [_TIMES_OF.get(fault, str(time)), str(event)] if follow_up else []
            age_cell = "" if fault == "no age" else str(age)
            row = [subject.patient_id, subject.cohort, subject.site, *entry, age_cell, *times]
            rows += [row] * (2 if fault == "a row twice" else 1)
        return rows

    def feature_rows(self) -> list[list[str]]:
        """Header and rows of the table of features."""
        rng = np.random.default_rng(self.seed + 1)
        rows = [["patient_id", *(f"feature {k}" for k in range(6))]]
        for subject in self.subjects:
            values = [f"{x:.6f}" for x in rng.normal(size=6) + 1.2 * (np.arange(6) % 3 == subject.label)]
            spoiled = {"no number": "NA", "infinity": "inf"}.get(subject.fault)
            if spoiled:
                values[2] = spoiled
            if subject.fault != "no features":
                rows.append([subject.patient_id, *values])
        return rows


@st.composite
def tables_with_faults(draw: st.DrawFn) -> Table:
    """A cohort of 18 to 30 patients, of whom the first 12 have no fault, so that every class can be learned."""
    cohorts = [draw(names(f"c{k}z")) for k in range(draw(st.integers(1, 2)))]
    sites = [draw(names(f"s{k}z")) for k in range(draw(st.integers(1, 3)))]
    n = draw(st.integers(18, 30))
    faults = draw(st.dictionaries(st.integers(12, n - 1), st.sampled_from(sorted(SUBJECT_FAULTS)), max_size=n // 4))
    places = st.tuples(st.sampled_from(cohorts), st.sampled_from(sites))
    subjects = [Subject(draw(names(f"q{k}z")), *draw(places), k % 3, faults.get(k, "")) for k in range(n)]
    options = {
        "head": draw(st.sampled_from(("logistic", "hierarchical-logistic", "ordinal"))),
        "trials": 1,
        "folds": 2,
    }
    return Table(
        tuple(subjects), draw(st.integers(0, 10**6)), draw(st.booleans()), {**options, "covariates": ["age"]}
    )
