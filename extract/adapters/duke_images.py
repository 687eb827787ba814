"""Duke's DICOM: which series is which phase, and where an annotation box lies among the slices as they are read."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extract.adapters.dicom_studies import first_image, leaves
from extract.dicom.frames import Frame
from extract.dicom.headers import scan_dicom
from triher.errors import SkipPatient

# Descriptions in the collection, from users' lists of them: "ax dyn pre" and "ax dyn 1st pass" to "4th pass" (also
# "ax 3d dyn ...", "1st ax dyn", "t1_fl3d_tra_dynVIEWS_spair_ pre"); "ax 3d dyn", "ax dyn", "ax dynamic", "ax 3d dyn
# MP" and "Ax Vibrant MultiPhase" with "Ph1/..." to "Ph4/..." for what follows contrast; names of folders lose the
# stroke. "ax t1", "ax t1 tse +c", "Ax 3D T1 NON FS", "AX IDEAL Breast" and segmentations are not dynamic.
_DYNAMIC = re.compile(r"dyn|vibrant|^ax 3d pre$")
_OTHER = re.compile(r"\b(sub|mip|seg)")
_NUMBERED = re.compile(r"\bph ?(\d)|(?<!\d)(\d) ?(?:st|nd|rd|th)(?![a-z])")
_PATIENT = re.compile(r"Breast_MRI_\d{3}", re.IGNORECASE)
_FOLDER = re.compile(r"[\d.]+-(?P<description>.*)-[\d.A-Z]+")
_SAME_MM = 0.01  # positions are written with three decimals or more


@dataclass(frozen=True)
class Box:
    """A line of ``Annotation_Boxes.xlsx``: first and last row, column and slice, counted from 1, both inside."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    slices: tuple[int, int]


@dataclass(frozen=True)
class Dynamic:
    """The dynamic series of a patient in the order of time."""

    patient: Path
    """The patient's folder."""
    phases: tuple[int, ...]
    """Place in time of each series, see `phase_of`: 0, 1 and what follows."""
    uids: tuple[str, ...]
    folders: tuple[Path, ...]


def phase_of(description: str) -> int | None:
    """Place in time of a series, 0 before contrast, by its description; None where it is not dynamic.

    >>> phase_of("ax dyn pre"), phase_of("Ph2/ax 3d dyn"), phase_of("ax dyn 1st pass"), phase_of("ax t1")
    (0, 2, 1, None)
    """
    text = " ".join(description.casefold().replace("_", " ").split())
    if not _DYNAMIC.search(text) or _OTHER.search(text):
        return None
    found = _NUMBERED.search(text)
    return int(found[1] or found[2]) if found else 0


def list_patients(root: Path) -> dict[str, list[Path]]:
    """Patient id -> every folder ``Breast_MRI_<nnn>``, at any depth."""
    found: dict[str, list[Path]] = {}
    for folder, subfolders, _ in os.walk(root):
        for name in sorted(subfolders):
            if _PATIENT.fullmatch(name):
                found.setdefault(f"Breast_MRI_{name[-3:]}", []).append(Path(folder) / name)
        subfolders[:] = sorted(name for name in subfolders if not _PATIENT.fullmatch(name))
    return dict(sorted(found.items()))


def find_dynamic(patient: Sequence[Path]) -> Dynamic:
    """The series of the dynamic exam: one header a folder is read.

    Args:
        patient: the folders that bear the patient's name; all but one may hold other things, such as segmentations.

    Raises:
        SkipPatient: ``phase_missing`` when there is no series before contrast or no first one after it, for the
            second would pass for it; ``ambiguous_file`` when two series are one phase, or series lie in two of the
            folders; ``file_unreadable``.
    """
    found: dict[int, tuple[str, Path, Path]] = {}
    for home, place in ((folder, folder / leaf) for folder in patient for leaf in leaves(folder)):
        series = first_image(place)
        if series is None:
            continue
        named = _FOLDER.fullmatch(place.name)
        description = series.description or (named["description"] if named else "")
        phase = phase_of(description)
        if phase is None:
            continue
        if phase in found:
            raise SkipPatient("ambiguous_file", f"{found[phase][1]} and {place} are both phase {phase}")
        found[phase] = (series.uid, place, home)
    phases = tuple(sorted(found))
    if phases[:2] != (0, 1):
        where = " and ".join(map(str, patient))
        message = f"the series before contrast and the first one after it must be below {where}"
        raise SkipPatient("phase_missing", f"{message}; phases found: {list(phases)}")
    uids, folders, homes = zip(*(found[phase] for phase in phases), strict=True)
    if len(set(homes)) > 1:
        raise SkipPatient("ambiguous_file", f"the phases lie in {' and '.join(map(str, dict.fromkeys(homes)))}")
    return Dynamic(homes[0], phases, uids, folders)


def stored_bounds(box: Box, dynamic: Dynamic) -> tuple[int, int, int, int, int, int]:
    """Half-open bounds of a box along (column, row, slice), counted from 0, slices along their normal.

    The collection does not say how slices are counted. Its authors' tutorial takes the number in the name of the
    file, from 1, which is the order of the instance numbers; that order runs up in some patients and down in others
    (the box as counted along z is then ``n - last + 1`` to ``n - first + 1``). So the headers of the series before
    contrast decide: the slice with the n-th instance number is put at its place along the normal (rows x columns),
    in which direction volumes are read.

    Args:
        box: as in the workbook.
        dynamic: the series; the first one's headers are read.

    Raises:
        SkipPatient: ``mask_outside`` when the box does not fit; ``mask_geometry`` when the slices between first and
            last do not lie beside one another; ``slice_missing`` when the numbers do not count from 1;
            ``dicom_geometry``.
    """
    found, _ = scan_dicom(dynamic.folders[0])
    frames = [frame for frame in found if frame.series.uid == dynamic.uids[0]]
    places = _places(frames)
    where = f"{dynamic.folders[0]}: the box {box}"
    limits = (frames[0].storage.cols, frames[0].storage.rows, len(places))
    for (low, high), n in zip((box.columns, box.rows, box.slices), limits, strict=True):
        if not 1 <= low <= high <= n:
            message = f"{where} does not fit into {limits[0]} columns, {limits[1]} rows and {limits[2]} slices"
            raise SkipPatient("mask_outside", message)
    inside = places[box.slices[0] - 1 : box.slices[1]]
    low, high = min(inside), max(inside) + 1
    if high - low != len(inside):
        raise SkipPatient("mask_geometry", f"{where}: its slices, in the order of their numbers, are at {inside}")
    return (box.columns[0] - 1, box.columns[1], box.rows[0] - 1, box.rows[1], low, high)


def _places(frames: Sequence[Frame]) -> list[int]:
    """For each slice in the order of instance numbers, its place along the normal.

    Where one series holds several volumes, every position counts once, at its first number.
    """
    numbered = []
    for frame in frames:
        if frame.instance is None or frame.orientation is None or frame.position is None:
            message = f"{frame.storage.path} has no usable number, position or orientation"
            raise SkipPatient("dicom_geometry", message)
        normal = np.cross(frame.orientation[:3], frame.orientation[3:])
        numbered.append((frame.instance, float(normal @ np.array(frame.position))))
    numbered.sort()
    numbers = [number for number, _ in numbered]
    if numbers != list(range(1, len(numbers) + 1)):
        found = f"{len(numbers)} images have numbers from {numbers[0]} to {numbers[-1]}, not from 1 on without a gap"
        message = f"{frames[0].storage.path.parent}: {found}, so the box cannot be placed"
        raise SkipPatient("slice_missing", message)
    positions: list[float] = []
    for _, position in numbered:
        if all(abs(position - other) > _SAME_MM for other in positions):
            positions.append(position)
    ascending = sorted(positions)
    return [ascending.index(position) for position in positions]
