"""BreastDCEDL's images: which files there are, which volume is which phase, and where Duke's box lies in them.

File names carry the place in time of the whole exam: ``_aqc_6`` also in MinCrop, where only three volumes exist.
Names: the authors' ``utils/data_utils.py``; folders: the archives of zenodo.org/records/18114231.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from extract.adapters.contract import Row, claim
from extract.adapters.rows import filled, number
from triher.errors import SkipPatient, StopRun

PHASES = {"pre": "pre", "early": "post_early", "late": "post_late"}
"""Our phase -> the table's column with its place in time."""
PREFIXES = {"ISPY1_": "spy1", "ISPY2-": "spy2", "ACRIN-6698-": "spy2", "Breast_MRI_": "duke"}
"""Start of a patient's id -> cohort."""

_VOLUME = re.compile(
    r"(?P<pid>.+)_(?:spy1|spy2|duke)(?:_vis(?P<visit>\d+))?(?:_dce)?_a(?:qc|cq)_?(?P<k>\d+)\.nii(?:\.gz)?"
)
_MASK = re.compile(r"(?P<pid>.+)_(?:spy1|spy2)_vis1_mask\.nii(?:\.gz)?")
_EXPECTED = {
    "spy1": ("BreastDCEDL_ISPY1_min_crop/dce/{}_spy1_vis1_acq{}.nii.gz", "{}_spy1_vis1_mask.nii.gz"),
    "spy2": ("BreastDCEDL_ISPY2_min_crop/dce/{}_spy2_vis1_dce_aqc_{}.nii.gz", "{}_spy2_vis1_mask.nii.gz"),
    "duke": ("BreastDCEDL_DUKE_min_crop/crop_min_dce/{}_duke_aqc_{}.nii.gz", ""),
}
_PIXELS = 256  # rows and columns of every MinCrop volume
_ONE_OF_TWO = "remove one of the two, or name the folder of the images"
_MARGIN = 2  # slices that MinCrop keeps on either side of the tumor


@dataclass(frozen=True)
class Files:
    """The images below a folder."""

    root: Path
    volumes: dict[str, dict[int, Path]]
    """Patient -> place in time -> file."""
    masks: dict[str, Path]


def list_files(root: Path) -> Files:
    """Find volumes and masks of the first visit anywhere below a folder.

    Raises:
        StopRun: ``ambiguous_file`` when two files are one phase or one mask, as with whole and cropped volumes below
            one folder.
    """
    volumes: dict[str, dict[int, Path]] = {}
    masks: dict[str, Path] = {}
    for path in sorted(root.rglob("*.nii*")):
        if found := _VOLUME.fullmatch(path.name):
            if found["visit"] in (None, "1"):
                claim(volumes.setdefault(found["pid"], {}), int(found["k"]), path, _ONE_OF_TWO)
        elif found := _MASK.fullmatch(path.name):
            claim(masks, found["pid"], path, _ONE_OF_TWO)
    return Files(root, volumes, masks)


def cohort_key(pid: str, where: object) -> str:
    """``spy1``, ``spy2`` or ``duke``, from the patient's id.

    Raises:
        StopRun: ``patient_id``.
    """
    for prefix, key in PREFIXES.items():
        if pid.startswith(prefix):
            return key
    message = f"{where}: '{pid}' is no id of BreastDCEDL; they start with {', '.join(PREFIXES)}"
    raise StopRun("patient_id", message)


def choose_volumes(cells: Row, key: str, volumes: Mapping[int, Path]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Place in time of each phase.

    A volume after contrast that is not there is replaced by the last there is, as the authors do for Duke. Three
    volumes 0, 1, 2 of a longer exam are pre, early and late: cut, and counted anew.

    Args:
        cells: the patient's row; ``pre``, ``post_early``, ``post_late`` and ``n_times`` are read.
        key: cohort.
        volumes: place in time -> file; may be empty.

    Returns:
        Phase -> place, and code and text of what had to be assumed.

    Raises:
        SkipPatient: ``phase_missing`` when pre is not there, when two phases are one volume, or when neither the
            table nor a rule says which is which.
    """
    n_times = int(number(cells.get("n_times", ""), "n_times", cells["pid"]) or 3)
    last = max(volumes, default=n_times - 1)
    wanted, notes = _wanted(cells, key, last)
    if not volumes:
        return wanted, []
    if sorted(volumes) == [0, 1, 2] and n_times > 3 and list(wanted.values()) != [0, 1, 2]:
        text = f"volumes 0, 1 and 2 of an exam of {n_times} are taken as pre, early and late"
        return dict(zip(PHASES, (0, 1, 2), strict=True)), [("phases_chosen", text)]
    places = {name: k if k in volumes or name == "pre" else last for name, k in wanted.items()}
    if places["pre"] not in volumes or len(set(places.values())) < len(places):
        text = f"the table asks for the volumes {list(wanted.values())}; there are {sorted(volumes)}"
        raise SkipPatient("phase_missing", text)
    notes += [
        ("phase_substituted", f"{name}: volume {wanted[name]} is not there; volume {k}, the last, stands")
        for name, k in places.items()
        if k != wanted[name]
    ]
    return places, notes


def _wanted(cells: Row, key: str, last: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The phases that the table names; where it does not, those that its authors take in general.

    Fridman et al., Sci Data 2026: I-SPY2 0, 2 and the last up to 6; Duke 0, 1 and the last. For the 45 I-SPY2
    patients whom the earliest table leaves blank, the rule gives what the later one has.
    """
    named = [filled(cells.get(column, "")) for column in PHASES.values()]
    if all(text.isdecimal() for text in named):
        return dict(zip(PHASES, map(int, named), strict=True)), []
    rules = {"spy2": (0, 2, min(last, 6)), "duke": (0, 1, last)}
    if key not in rules:
        raise SkipPatient("phase_missing", "the table does not say which volumes are pre, early and late")
    text = f"the table does not name the phases; volumes {list(rules[key])} by the authors' rule"
    return dict(zip(PHASES, rules[key], strict=True)), [("phases_chosen", text)]


def image_cells(cells: Row, key: str, places: Mapping[str, int], files: Files) -> Row:
    """Paths of the phases and the mask below the root, and Duke's box; names as in MinCrop for what is not there.

    Raises:
        SkipPatient: as `duke_box`.
    """
    pid = cells["pid"]
    volumes, mask = files.volumes.get(pid, {}), files.masks.get(pid)
    pattern, mask_name = _EXPECTED[key]
    row = {
        name: volumes[k].relative_to(files.root).as_posix() if volumes else pattern.format(pid, k)
        for name, k in places.items()
    }
    if key == "duke":
        return {**row, "mask": "", "box": duke_box(cells, volumes[places["pre"]]) if volumes else ""}
    if mask is None:
        mask = files.root / pattern.split("/")[0] / "mask" / mask_name.format(pid)
    return {**row, "mask": mask.relative_to(files.root).as_posix(), "box": ""}


def duke_box(cells: Row, path: Path) -> str:
    """First and behind the last voxel along slices, rows and columns, with the depth from the volume itself.

    A MinCrop volume is as deep as the tumor and two slices on either side: seen on 917 of 918 Duke patients in the
    table (the other one lies at the volume's edge).

    Raises:
        SkipPatient: ``image_unreadable``; ``mask_missing`` when the box does not hold for this volume.
    """
    shape = _shape(path)
    bounds = [number(cells.get(name, ""), name, cells["pid"]) for name in ("sraw", "eraw", "scol", "ecol")]
    box = [round(bound) for bound in bounds if bound is not None]
    cropped = len(shape) == 3 and shape[1:] == (_PIXELS, _PIXELS) and shape[0] > 2 * _MARGIN
    if not (cropped and cells["n_xy"] == str(_PIXELS) and len(box) == 4 and _inside(*box)):
        text = (
            f"the table's box {box} in a plane of {cells['n_xy']} pixels does not hold for {path}, {list(shape)}; "
            f"it needs a MinCrop volume of {_PIXELS} x {_PIXELS}"
        )
        raise SkipPatient("mask_missing", text, remedy="segment the lesion")
    return " ".join(map(str, (_MARGIN, shape[0] - _MARGIN, *box)))


def _inside(j0: int, j1: int, k0: int, k1: int) -> bool:
    """Whether the box lies in the plane."""
    return 0 <= j0 < j1 <= _PIXELS and 0 <= k0 < k1 <= _PIXELS


def _shape(path: Path) -> tuple[int, ...]:
    """The shape in a NIfTI header."""
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        return tuple(int(n) for n in nib.load(path).shape)
    except (OSError, EOFError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise SkipPatient("image_unreadable", f"{path}: {error}") from error
