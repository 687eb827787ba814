"""BreastDCEDL: I-SPY1, I-SPY2 and Duke as NIfTI files a phase, whole or cropped to the tumor (MinCrop).

Fridman et al., Scientific Data 2026, doi 10.1038/s41597-026-06589-6. What the files do not say is known from their
metadata and from three of the masks:

- Arrays are (slice, row, col) under an identity affine; spacings stand in the table alone. Rows run to posterior and
  columns to the left; whether slices run up or down is recorded nowhere: ``S`` is a guess that at worst mirrors the
  volume. I-SPY1 was taken in sagittal slices (MAMA-MIA's column ``view``).
- Several variants of the table circulate: ``tum_vol`` is in mm3 or in ml (told apart by how much of its box a lesion
  fills), ``n_z`` is the whole depth, the crop's or the number of tumor slices, and ``mask_start`` counts in the whole
  volume or in the crop. The latter two are not used: masks are files.
- Duke has boxes instead of masks, which hold for MinCrop volumes of 256 x 256 only.
- ``test`` is 0 for training, 1 for test, 2 for validation.

HER2 is positive or negative: FISH ratio from 2.0 (I-SPY) or above 2.2 (Duke). With the option ``three-class`` the
I-SPY2 patients get zero, low and positive from the trial's supplement, and the others are left out.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract.adapters.breastdcedl_files import (
    PHASES,
    PREFIXES,
    Files,
    choose_volumes,
    cohort_key,
    image_cells,
    list_files,
)
from extract.adapters.contract import (
    Imported,
    Request,
    Row,
    check_options,
    choose_option,
    find_table,
    gap,
    image_root,
    keeps_rows,
    part_rows,
)
from extract.adapters.rows import binary_her2, filled, number, read_rows
from triher.errors import Note, SkipPatient, Skipped, StopRun

TABLES = ("BreastDCEDL_metadata_min_crop.csv", "BreastDCEDL_metadata.csv", "metadata_spy2_vis1_for_modeling.csv")
OPTIONS = {
    "cohort": "'all' (default), 'ispy1', 'ispy2' or 'duke'",
    "three-class": "the table her2_triple_class.csv: zero, low and positive for I-SPY2, without the other cohorts",
}
OFFICIAL_SPLITS = {"0": "train", "1": "test", "2": "validation", "": ""}

_CHOICES = {"all": ("spy1", "spy2", "duke"), "ispy1": ("spy1",), "ispy2": ("spy2",), "duke": ("duke",)}
_COHORTS = {"spy1": "I-SPY1", "spy2": "I-SPY2", "duke": "Duke"}
_COVARIATES = ("age", "menopause", "hr", "tum_vol_ml")
_LEAST_OF_BOX = 0.01  # lesions fill 9 to 12 % of their box on the median; read in the wrong unit it is 0.01 %


@dataclass(frozen=True)
class _Labels:
    """IHC entry and site of the I-SPY2 patients in the supplement."""

    ihc: dict[str, str]
    site: dict[str, str]


def read(request: Request) -> Imported:
    """Read the table, list the images, and peek at the depth of Duke's volumes.

    Raises:
        StopRun: as `extract.adapters.rows.read_rows`; ``unknown_name`` for options; ``ambiguous_file`` when two
            files are one phase; ``her2_codes``, ``split_value``, ``number_format``; ``patient_id`` for an id of no
            known cohort.
    """
    check_options(request, OPTIONS)
    wanted = _CHOICES[choose_option(request, "cohort", _CHOICES, "all")]
    table = find_table(request, TABLES)
    required = ("pid", "slice_thick", "xy_spacing", "n_xy", "test")
    everyone, notes = read_rows(table, required, purpose="BreastDCEDL", sheet=request.sheet)
    files = list_files(image_root(request))
    labels = _three_class(Path(request.options["three-class"])) if "three-class" in request.options else None
    patients = [cells for cells in everyone if cohort_key(cells["pid"], table) in wanted]
    labeled, unlabeled = _labeled(patients, labels)
    rows, broken, remarks = _rows(labeled, files, labels, str(table))
    missing = {
        row["patient_id"]: f"looked for {row['patient_id']}_*.nii.gz below {files.root}"
        for row in rows
        if row["patient_id"] not in files.volumes
    }
    kept, absent, counted = part_rows(rows, missing, keep=keeps_rows(request))
    strangers = _without_row(files, {cells["pid"] for cells in everyone}, wanted)
    return Imported(
        kept,
        _settings(kept),
        "triple" if labels else "binary",
        files.root,
        (*unlabeled, *broken, *absent, *strangers),
        (*notes, *counted, *remarks, *_general_notes(kept)),
    )


def _three_class(path: Path) -> _Labels:
    """HER2 in three classes and site by BreastDCEDL's id; without a class, what the binary column says."""
    ihc, site = {}, {}
    rows, _ = read_rows(path, ("id", "her2_3class", "her2", "breastdcedl_pid"), purpose="the I-SPY2 supplement")
    for cells in rows:
        if pid := cells["breastdcedl_pid"]:
            ihc[pid] = filled(cells["her2_3class"]) or binary_her2(cells["her2"], f"{path}, id {cells['id']}")
            site[pid] = filled(cells.get("site", ""))
    return _Labels(ihc, site)


def _labeled(patients: list[Row], labels: _Labels | None) -> tuple[list[Row], list[Skipped]]:
    """Leave out whom the supplement does not know: only the positives of other cohorts could stay."""
    if labels is None:
        return patients, []
    reason = "the table of three classes does not have the patient"
    left = [cells["pid"] for cells in patients if cells["pid"] not in labels.ihc]
    skipped = [gap(pid, _COHORTS[cohort_key(pid, "")], "no_label", reason) for pid in left]
    return [cells for cells in patients if cells["pid"] in labels.ihc], skipped


def _rows(
    patients: list[Row], files: Files, labels: _Labels | None, where: str
) -> tuple[list[Row], list[Skipped], list[Note]]:
    """The rows, who has images that cannot be used, and remarks."""
    rows: list[Row] = []
    skipped: list[Skipped] = []
    notes: list[Note] = []
    to_ml = {key: _to_ml([c for c in patients if cohort_key(c["pid"], where) == key], where) for key in _COHORTS}
    for cells in patients:
        pid, key = cells["pid"], cohort_key(cells["pid"], where)
        row = _clinical(cells, key, to_ml[key], where)
        if labels:
            row |= {"ihc": labels.ihc[pid], "site": labels.site[pid]}
        try:
            _require_spacing(row)
            places, remarks = choose_volumes(cells, key, files.volumes.get(pid, {}))
            row |= image_cells(cells, key, places, files)
        except SkipPatient as error:
            skipped.append(error.row(pid, _COHORTS[key], "import"))
            continue
        rows.append(row)
        notes += [Note(pid, code, text) for code, text in remarks]
    return rows, skipped, notes


def _clinical(cells: Row, key: str, to_ml: float, where: str) -> Row:
    """What the table says about the patient, without the columns that repeat the label."""
    split = filled(cells["test"])
    if split not in OFFICIAL_SPLITS:
        message = f"{where}: patient '{cells['pid']}' has test = '{split}'; expected 0, 1 or 2"
        raise StopRun("split_value", message)
    official = OFFICIAL_SPLITS[split]
    volume = _tumor_volume(cells, where)
    # The earliest table has HER2pos alone; the later ones have gaps in it that HER2 does not have.
    her2 = cells["HER2"] if "HER2" in cells else cells.get("HER2pos", "")
    return {
        "patient_id": cells["pid"],
        "cohort": _COHORTS[key],
        "site": "",
        "split": "train" if official == "validation" else official,
        "official_split": official,
        "ihc": binary_her2(her2, f"{where}, patient '{cells['pid']}'"),
        "ish": "",
        "age": filled(cells.get("age", "")),
        "menopause": filled(cells.get("menopause", "")),
        "hr": filled(cells.get("HR", "")),
        "pcr": filled(cells.get("pCR", "")),
        "tum_vol_ml": "" if volume is None else f"{volume * to_ml:.6g}",
        "slice_thick": _slice_spacing(cells),
        "xy_spacing": filled(cells["xy_spacing"]),
    }


def _require_spacing(row: Row) -> None:
    """Refuse a patient whose voxels have no size."""
    if not (row["slice_thick"] and row["xy_spacing"]):
        message = "neither the table nor the files say how large the voxels are"
        raise SkipPatient("spacing_implausible", message, remedy="complete slice_thick and xy_spacing")


def _slice_spacing(cells: Row) -> str:
    """Slices of the earliest table may be thicker than they are apart; the distance is what counts."""
    return filled(cells.get("slice_space", cells["slice_thick"]))


def _tumor_volume(cells: Row, where: str) -> float | None:
    """As in the table, or in mm3 from the number of the mask's voxels."""
    if "mask_count" not in cells:
        return number(cells.get("tum_vol", ""), "tum_vol", where)
    factors = (
        number(cells["mask_count"], "mask_count", where),
        number(_slice_spacing(cells), "slice_space", where),
        number(cells["xy_spacing"], "xy_spacing", where),
    )
    count, slice_mm, pixel_mm = factors
    if count is None or slice_mm is None or pixel_mm is None:
        return None
    return count * slice_mm * pixel_mm**2


def _to_ml(patients: Iterable[Row], where: str) -> float:
    """0.001 where the volumes of a cohort are in mm3, 1 where they are in ml: seen from the share of their boxes."""
    columns = ("tum_vol", "mask_start", "mask_end", "sraw", "eraw", "scol", "ecol", "slice_thick", "xy_spacing")
    shares = []
    for cells in patients:
        values = [number(cells.get(name, ""), name, where) for name in columns]
        known = [value for value in values if value is not None]
        if len(known) == len(columns):
            volume, i0, i1, j0, j1, k0, k1, slice_mm, pixel_mm = known
            box_mm3 = (i1 - i0 + 1) * (j1 - j0) * (k1 - k0) * slice_mm * pixel_mm**2
            shares += [volume / box_mm3] if box_mm3 > 0 else []
    return 1.0 if shares and statistics.median(shares) < _LEAST_OF_BOX else 0.001


def _without_row(files: Files, known: set[str], wanted: Sequence[str]) -> list[Skipped]:
    """Images of patients whom the table does not have."""
    found = []
    for pid, volumes in files.volumes.items():
        key = next((key for prefix, key in PREFIXES.items() if pid.startswith(prefix)), "")
        if pid not in known and (not key or key in wanted):
            reason = f"{len(volumes)} volumes, such as {min(volumes.values())}; no row in the table"
            found.append(gap(pid, _COHORTS.get(key, ""), "no_label", reason))
    return found


def _settings(rows: Sequence[Row]) -> dict[str, Any]:
    """The cohort section: files as the rows name them, geometry from the rows."""
    sagittal = {row["cohort"] for row in rows} == {"I-SPY1"}
    boxes = any(row["box"] for row in rows)
    masks = any(row["mask"] for row in rows) or not boxes
    return {
        "name": "BreastDCEDL",
        "phases": {name: f"{{{name}}}" for name in PHASES},
        **({"mask": "{mask}"} if masks else {}),
        **({"box": "{box}"} if boxes else {}),
        "geometry": {
            "orientation": "LIP" if sagittal else "SPL",
            "spacing_mm": "{slice_thick} {xy_spacing} {xy_spacing}",
        },
        "covariates": list(_COVARIATES),
    }


def _general_notes(rows: Sequence[Row]) -> list[Note]:
    """What holds for all."""
    notes = []
    if n := sum(row["official_split"] == "validation" for row in rows):
        text = f"{n} patients of the official validation part are 'train' in split; official_split has all three"
        notes.append(Note("", "official_split", text))
    if n := sum(not row["official_split"] for row in rows):
        text = f"{n} patients have no official split; fill their split with train or test before you split by column"
        notes.append(Note("", "official_split", text))
    cohorts = {row["cohort"] for row in rows}
    if "I-SPY1" in cohorts and len(cohorts) > 1:
        text = "I-SPY1's slices are sagittal; beside the other cohorts they are called axial, their pixels stay"
        notes.append(Note("", "orientation", text))
    return notes
