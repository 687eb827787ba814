"""Faults of images: how the files of an exam are spoiled, and what must come of it."""

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.uid import generate_uid

PHASES = ("pre", "early", "late")
NAMES = (*PHASES, "mask")
SKIP, NOTE, WORKS = "skip", "note", "works"


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
