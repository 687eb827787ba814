"""Duke as The Cancer Imaging Archive delivers it: workbooks with headers of three rows, DICOM, boxes for masks."""

import csv
import shutil
from pathlib import Path

import numpy as np
import openpyxl
import pydicom
import pytest

from extract.adapters.contract import Request
from extract.adapters.duke import read
from extract.adapters.duke_images import phase_of
from extract.adapters.importing import import_cohort
from extract.exam import read_exam
from extract.phantom.dicom import write_dicom
from triher.cohort import read_cohort
from triher.config import read_config
from triher.errors import StopRun
from triher.tables import read_own_table

# Names of the public workbook by their group, with its spelling, spaces and line breaks; those of mammography stand
# again for ultrasound.
GROUPS = {
    "Patient Information": ["Patient ID"],
    "MRI Technical Information": [
        *("Days to MRI (From the Date of Diagnosis)", "Manufacturer", "Manufacturer Model Name", "Scan Options"),
        *("Field Strength (Tesla)", "Patient Position During MRI", "Image Position of Patient", "Contrast Agent"),
        *("Contrast Bolus Volume (mL)", "TR (Repetition Time)", "TE (Echo Time)", "Acquisition Matrix"),
        *("Slice Thickness ", "Rows", "Columns", "Reconstruction Diameter ", "Flip Angle \n"),
        "FOV Computed (Field of View) in cm ",
    ],
    "Demographics": [
        *("Date of Birth (Days)", "Menopause (at diagnosis)", "Race and Ethnicity"),
        "Metastatic at Presentation (Outside of Lymph Nodes)",
    ],
    "Tumor Characteristics": [
        *("ER", "PR", "HER2", "Mol Subtype", "Oncotype score", "Staging(Tumor Size)# [T]"),
        *("Staging(Nodes)#(Nx replaced by -1)[N]", "Staging(Metastasis)#(Mx -replaced by -1)[M]", "Tumor Grade"),
        *("Nottingham grade", "Histologic type", "Tumor Location", "Position", "Bilateral Information"),
        "For Other Side If Bilateral",
    ],
    "MRI Findings": [
        *("Multicentric/Multifocal", "Contralateral Breast Involvement", "Lymphadenopathy or Suspicious Nodes"),
        *("Skin/Nipple Invovlement", "Pec/Chest Involvement"),
    ],
    "SURGERY": ["Surgery", "Days to Surgery (from the date of diagnosis)", "Definitive Surgery Type"],
    "Radiation Therapy": ["Neoadjuvant Radiation Therapy", "Adjuvant Radiation Therapy"],
    "Tumor Response": [
        "Clinical Response, Evaluated Through Imaging ",
        "Pathologic Response to Neoadjuvant Therapy",
    ],
    "Recurrence": [
        "Recurrence event(s)",
        "Days to local recurrence (from the date of diagnosis) ",
        "Days to distant recurrence(from the date of diagnosis) ",
    ],
    "Follow Up": [
        "Days to death (from the date of diagnosis) ",
        "Days to last local recurrence free assessment (from the date of diagnosis) ",
        "Days to last distant recurrence free assemssment(from the date of diagnosis) ",
        "Age at last contact in EMR f/u(days)(from the date of diagnosis) ,last time patient known to be alive, "
        "unless age of death is reported(in such case the age of death",
    ],
    "Mammography Characteristics": [
        *("Age at mammo (days)", "Breast Density", "Shape", "Margin", "Architectural distortion", "Mass Density"),
        *("Calcifications", "Tumor Size (cm)"),
    ],
    "US features": ["Shape", "Margin", "Tumor Size (cm)", "Echogenicity", "Solid", "Posterior acoustic shadowing"],
    "Chemotherapy": ["Neoadjuvant Chemotherapy", "Adjuvant Chemotherapy"],
    "Endocrine Therapy": [
        *("Neoadjuvant Endocrine Therapy Medications ", "Adjuvant Endocrine Therapy Medications "),
        *("Known Ovarian Status ", "Number of Ovaries In Situ \n"),
        "Therapeutic or Prophylactic Oophorectomy as part of Endocrine Therapy ",
    ],
    "Anti-Her2 Neu Therapy": ["Neoadjuvant Anti-Her2 Neu Therapy", "Adjuvant Anti-Her2 Neu Therapy "],
    "Neoadjuvant therapy": ["Received Neoadjuvant Therapy or Not"],
    "Pathologic Response to Neoadjuvant Therapy": [
        "Pathologic response to Neoadjuvant therapy: Pathologic stage (T) following neoadjuvant therapy ",
        "Pathologic response to Neoadjuvant therapy:  Pathologic stage (N) following neoadjuvant therapy",
        "Pathologic response to Neoadjuvant therapy:  Pathologic stage (M) following neoadjuvant therapy ",
    ],
    "Near Complete Response": [
        "Overall Near-complete Response:  Stricter Definition",
        "Overall Near-complete Response:  Looser Definition",
        "Near-complete Response (Graded Measure)",
    ],
}
NAMES = [name for names in GROUPS.values() for name in names]
MEANINGS = {
    "Manufacturer": "{GE MEDICAL SYSTEMS=0, MPTronic software=1, SIEMENS=2}",
    "Date of Birth (Days)": "(Taking date of diagnosis as day 0)",
    "Menopause (at diagnosis)": "{0=pre, 1=post, 2=N/A}",
    "HER2": "{0=neg, 1=pos, 2=borderline}",
    "Mol Subtype": "{0=luminal-like, 1=ER/PR pos HER2 pos, 2=her2, 3=trip neg}",
    "Recurrence event(s)": "{0=no, 1=yes}",
}
FOLLOW_UP_NAMES = [*GROUPS["Recurrence"][1:], *GROUPS["Follow Up"]]
LOCAL, DISTANT, DEATH, FREE_LOCAL, FREE_DISTANT, CONTACT = FOLLOW_UP_NAMES
SHAPE = (12, 10, 6)  # column, row, slice
AFFINE = np.diag([-0.7, -0.7, 2.0, 1.0])
BOX = (3, 6, 4, 9, 2, 3)  # rows 3 to 6, columns 4 to 9, slices 2 to 3, counted from 1
STYLES = {
    "passes": ("ax dyn pre", "ax dyn 1st pass", "ax dyn 2nd pass", "ax dyn 3rd pass"),
    "phases": ("ax 3d dyn", "Ph1/ax 3d dyn", "Ph2/ax 3d dyn", "Ph3/ax 3d dyn"),
    "vibrant": ("Ax Vibrant MultiPhase", "Ph1/Ax Vibrant MultiPhase", "Ph2/Ax Vibrant MultiPhase"),
    "siemens": ("t1_fl3d_tra_dynVIEWS_spair_ pre", "t1_fl3d_tra_dynVIEWS_spair_1st pass", "2nd ax dyn"),
}


def write_clinical(folder: Path, *patients: dict[str, object]) -> None:
    """The workbook of clinical data: groups merged, patients from row 4 on."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Data"
    sheet.append([group if k == 0 else None for group, names in GROUPS.items() for k in range(len(names))])
    sheet.append(NAMES)
    sheet.append([MEANINGS.get(name) for name in NAMES])
    last = 0
    for names in GROUPS.values():
        first, last = last + 1, last + len(names)
        if last > first:
            sheet.merge_cells(start_row=1, end_row=1, start_column=first, end_column=last)
    for patient in patients:
        sheet.append([patient.get(name, "NC") for name in NAMES])
    book.save(folder / "Clinical_and_Other_Features.xlsx")


def person(patient_id: str, **changes: object) -> dict[str, object]:
    row = {
        "Patient ID": patient_id,
        "Manufacturer": 0,
        "Field Strength (Tesla)": 1.5,
        "Date of Birth (Days)": -15209,
        "Menopause (at diagnosis)": 1,
        "ER": 1,
        "PR": 0,
        "HER2": 0,
        "Mol Subtype": 0,
        "Recurrence event(s)": 0,
        LOCAL: "NP",
        DISTANT: "NP",
        DEATH: "NP",
        FREE_LOCAL: 1201,
        FREE_DISTANT: 1180,
        CONTACT: 1300,
    }
    return row | {
        next((name for name in NAMES if name.startswith(key)), key): value for key, value in changes.items()
    }


def write_boxes(folder: Path, **boxes: tuple[int, ...]) -> None:
    book = openpyxl.Workbook()
    book.active.append(
        ["Patient ID", "Start Row", "End Row", "Start Column", "End Column", "Start Slice", "End Slice"]
    )
    for patient_id, bounds in boxes.items():
        book.active.append([patient_id, *bounds])
    book.save(folder / "Annotation_Boxes.xlsx")


def phases(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(rng.integers(100, 300, SHAPE) + 100 * (k > 0)).astype(np.int16) for k in range(n)]


def write_images(
    folder: Path,
    patient_id: str,
    *,
    style: str = "passes",
    downwards: bool = False,
    named: bool = True,
    seed: int = 0,
) -> list[np.ndarray]:
    """One folder a series; slices are numbered up or down; names of folders as the archive gives them, or UIDs."""
    descriptions = STYLES[style]
    voxels = phases(len(descriptions), seed)
    study = folder / "Duke-Breast-Cancer-MRI" / patient_id / "01-01-1990-NA-MRI BREAST BILATERAL WWO-97538"
    write_dicom(
        study, voxels, AFFINE, [60.0 * k - 60 for k in range(len(voxels))], vendor="siemens", patient_id=patient_id
    )
    for number, place in enumerate(sorted(study.iterdir())):
        for path in sorted(place.iterdir()):
            header = pydicom.dcmread(path)
            header.SeriesDescription = descriptions[number]
            if downwards:
                header.InstanceNumber = SHAPE[2] + 1 - header.InstanceNumber
            header.save_as(path)
            path.rename(place / f"1-{int(header.InstanceNumber):03d}.dcm.new")
        for path in place.iterdir():
            path.rename(path.with_suffix(""))
        text = descriptions[number].replace("/", "")
        place.rename(study / (f"{number + 3}.000000-{text}-9{number}877" if named else header.SeriesInstanceUID))
    other = study / "2.000000-ax t1 tse-11111"
    write_dicom(other, voxels[:1], AFFINE, [-300.0], vendor="ge", patient_id=patient_id, seed=9)
    for path in other.iterdir():
        header = pydicom.dcmread(path)
        header.SeriesDescription = "ax t1 tse"
        header.save_as(path)
    return voxels


def run(folder: Path, **options: str):
    """Import; the rows by patient, code by id of those left out, and the cohort."""
    summary = import_cohort("duke", Request(folder, options=options), folder / "out.csv", overwrite=True)
    rows = read_own_table(folder / "out.csv").set_index("patient_id").to_dict("index")
    skipped = folder / "out.skipped.csv"
    lost = dict(read_own_table(skipped)[["patient_id", "code"]].to_numpy()) if skipped.exists() else {}
    assert summary.n_in == summary.n_out + summary.n_skipped == len(rows) + len(lost)
    patients = read_cohort(read_config(folder / "out.yaml").cohort).patients
    return rows, lost, {patient.patient_id: patient for patient in patients}


@pytest.mark.parametrize("downwards", [False, True], ids=["numbered up", "numbered down"])
@pytest.mark.parametrize("named", [True, False], ids=["names", "UIDs"])
@pytest.mark.parametrize("style", STYLES)
def test_phases_and_box_of_every_naming(tmp_path, style, named, downwards):
    write_clinical(tmp_path, person("Breast_MRI_001"))
    write_boxes(tmp_path, Breast_MRI_001=BOX)
    voxels = write_images(tmp_path, "Breast_MRI_001", style=style, named=named, downwards=downwards)
    rows, lost, patients = run(tmp_path)
    assert lost == {}
    assert rows["Breast_MRI_001"]["n_series"] == str(len(voxels))
    exam = read_exam(patients["Breast_MRI_001"])
    expected = np.zeros(SHAPE, bool)
    r0, r1, c0, c1, s0, s1 = BOX
    if downwards:  # the box counts slices as the files are numbered
        s0, s1 = SHAPE[2] + 1 - s1, SHAPE[2] + 1 - s0
    expected[c0 - 1 : c1, r0 - 1 : r1, s0 - 1 : s1] = True
    assert np.array_equal(exam.mask, expected.transpose(2, 1, 0))
    for found, k in zip(exam.voxels, (0, 1, len(voxels) - 1), strict=True):
        assert np.array_equal(found, voxels[k].transpose(2, 1, 0))


def test_what_the_workbook_says_is_taken_over(tmp_path):
    write_clinical(tmp_path, person("Breast_MRI_001"), person("Breast_MRI_002", HER2=1, ER=0, Manufacturer=2))
    write_boxes(tmp_path, Breast_MRI_001=BOX, Breast_MRI_002=BOX)
    for seed, patient_id in enumerate(("Breast_MRI_001", "Breast_MRI_002")):
        write_images(tmp_path, patient_id, seed=seed)
    rows, _, patients = run(tmp_path)
    names = ("ihc", "er", "pr", "age", "manufacturer", "menopause", "field_t")
    assert [rows["Breast_MRI_001"][name] for name in names] == ["HER2-", "1", "0", "41.6", "GE", "post", "1.5"]
    assert [rows["Breast_MRI_002"][name] for name in names[:2]] == ["HER2+", "0"]
    assert patients["Breast_MRI_001"].covariates == {"age": 41.6}
    assert read_config(tmp_path / "out.yaml").scheme == "binary"
    assert not {"Mol Subtype", "HER2"} & set(rows["Breast_MRI_001"])
    assert not any("Anti-Her2" in column for column in rows["Breast_MRI_001"])


FOLLOW_UP = {
    "free of recurrence": ({}, ("1180", "0"), ("1300", "0")),
    "local recurrence": ({"Recurrence event(s)": 1, "Days to local recurrence": 500}, ("500", "1"), ("1300", "0")),
    "both recurrences": (
        {"Recurrence event(s)": 1, "Days to local recurrence": 500, "Days to distant recurrence": 430},
        ("430", "1"),
        ("1300", "0"),
    ),
    "death without recurrence": ({"Days to death": 812}, ("812", "1"), ("812", "1")),
    "recurrence at an unknown time": ({"Recurrence event(s)": 1}, ("", "1"), ("1300", "0")),
    "nothing known": (
        {"Days to last local": "NC", "Days to last distant": "NP", "Age at last": "NC"},
        ("", ""),
        ("", ""),
    ),
}


@pytest.mark.parametrize("case", FOLLOW_UP)
def test_time_and_event(tmp_path, case):
    changes, rfs, overall = FOLLOW_UP[case]
    write_clinical(tmp_path, person("Breast_MRI_001", **changes))
    write_boxes(tmp_path, Breast_MRI_001=BOX)
    for endpoint, expected in (("rfs", rfs), ("os", overall)):
        options = {"without-images": "keep", "endpoint": endpoint}
        (row,) = read(Request(tmp_path, options=options)).rows
        assert (row["time"], row["event"]) == expected


def test_who_cannot_come_in_is_named(tmp_path):
    ids = [f"Breast_MRI_{n:03d}" for n in range(1, 8)]
    write_clinical(tmp_path, *(person(one) for one in ids[:6]))
    outside = (3, 6, 4, 9, 5, 9)
    write_boxes(tmp_path, **dict.fromkeys(ids, BOX) | {ids[3]: outside} | {})
    for seed, one in enumerate(ids):
        if one != ids[1]:
            write_images(tmp_path, one, seed=seed)
    place = tmp_path / "Duke-Breast-Cancer-MRI"
    for path in sorted((place / ids[2]).rglob("3.000000*/*")):
        path.unlink()
    (again,) = (place / ids[4]).glob("*/4.000000*")
    for path in sorted(again.iterdir()):
        header = pydicom.dcmread(path)
        header.SeriesDescription = "ax dyn pre"
        header.save_as(path)
    for path in sorted((place / ids[5]).rglob("3.000000*/1-001.dcm")):
        path.write_bytes(b"not dicom")
    rows, lost, _ = run(tmp_path)
    assert sorted(rows) == [ids[0]]
    assert lost == {
        ids[1]: "no_images",
        ids[2]: "phase_missing",
        ids[3]: "mask_outside",
        ids[4]: "ambiguous_file",
        ids[5]: "slice_missing",
        ids[6]: "no_label",
    }


def test_a_patient_without_a_box_has_no_mask(tmp_path):
    write_clinical(tmp_path, person("Breast_MRI_001"), person("Breast_MRI_002"))
    write_boxes(tmp_path, Breast_MRI_001=BOX)
    for seed, patient_id in enumerate(("Breast_MRI_001", "Breast_MRI_002")):
        write_images(tmp_path, patient_id, seed=seed)
    assert run(tmp_path)[1] == {"Breast_MRI_002": "mask_missing"}


def test_borderline_her2_has_no_class(tmp_path):
    write_clinical(
        tmp_path, person("Breast_MRI_001"), person("Breast_MRI_002", HER2=2), person("Breast_MRI_003", HER2="NC")
    )
    write_boxes(tmp_path, Breast_MRI_001=BOX)
    options = {"without-images": "keep"}
    summary = import_cohort("duke", Request(tmp_path, options=options), tmp_path / "out.csv")
    assert (summary.n_out, summary.unlabeled, summary.by_split) == (3, 2, {"": {"negative": 1, "positive": 0}})


STOPS = {
    "her2_codes": [person("Breast_MRI_001", HER2=3)],
    "patient_duplicate": [person("Breast_MRI_001"), person("Breast_MRI_001", HER2=1)],
    "number_format": [
        person("Breast_MRI_001", **{"Date of Birth (Days)": "1961"}) | {"Date of Birth (Days)": "April"}
    ],
    "table_empty": [],
}


@pytest.mark.parametrize("code", STOPS)
def test_what_stops_the_import(tmp_path, code):
    write_clinical(tmp_path, *STOPS[code])
    write_boxes(tmp_path, Breast_MRI_001=BOX)
    with pytest.raises(StopRun) as caught:
        import_cohort("duke", Request(tmp_path, options={"without-images": "keep"}), tmp_path / "out.csv")
    assert caught.value.code == code


def test_the_workbook_of_boxes_is_asked_for(tmp_path):
    write_clinical(tmp_path, person("Breast_MRI_001"))
    with pytest.raises(StopRun, match=r"Annotation_Boxes\.xlsx") as caught:
        read(Request(tmp_path))
    assert caught.value.code == "file_unreadable"


@pytest.mark.parametrize(
    ("description", "phase"),
    [
        ("ax dyn pre", 0),
        ("ax dyn 4th pass", 4),
        ("1st ax dyn", 1),
        ("Ph3/Ax Vibrant MultiPhase", 3),
        ("ax 3d pre", 0),
        ("ax 3d dyn MP", 0),
        ("ax dyn SUB", None),
        ("ax dyn mip", None),
        ("AX IDEAL Breast", None),
        ("Ax 3D T1 NON FS", None),
        ("Segmentation", None),
    ],
)
def test_descriptions_of_the_collection(description, phase):
    assert phase_of(description) == phase


def drop_series(folder: Path, patient_id: str, *numbers: int) -> None:
    """Take away series by their numbers: 3 is before contrast, 4 the first pass."""
    for number in numbers:
        (series,) = (folder / "Duke-Breast-Cancer-MRI" / patient_id).glob(f"*/{number}.000000*")
        shutil.rmtree(series)


@pytest.mark.parametrize("numbers", [(3,), (4,), (4, 5, 6)], ids=["pre", "first pass", "all passes"])
def test_phases_that_others_would_pass_for_must_be_there(tmp_path, numbers):
    write_clinical(tmp_path, person("Breast_MRI_001"), person("Breast_MRI_002"))
    write_boxes(tmp_path, Breast_MRI_001=BOX, Breast_MRI_002=BOX)
    for seed, patient_id in enumerate(("Breast_MRI_001", "Breast_MRI_002")):
        write_images(tmp_path, patient_id, seed=seed)
    drop_series(tmp_path, "Breast_MRI_002", *numbers)
    rows, lost, _ = run(tmp_path)
    assert (sorted(rows), lost) == (["Breast_MRI_001"], {"Breast_MRI_002": "phase_missing"})


def test_a_gap_among_later_phases_is_noted(tmp_path):
    write_clinical(tmp_path, person("Breast_MRI_001"))
    write_boxes(tmp_path, Breast_MRI_001=BOX)
    voxels = write_images(tmp_path, "Breast_MRI_001")
    drop_series(tmp_path, "Breast_MRI_001", 5)
    rows, lost, patients = run(tmp_path)
    assert (lost, rows["Breast_MRI_001"]["n_series"]) == ({}, "3")
    notes = read_own_table(tmp_path / "out.notes.csv").set_index("code")["text"]
    assert "[0, 1, 3]" in notes["phase_missing"]
    for found, k in zip(read_exam(patients["Breast_MRI_001"]).voxels, (0, 1, 3), strict=True):
        assert np.array_equal(found, voxels[k].transpose(2, 1, 0))


def test_a_folder_of_segmentations_of_the_same_name_does_no_harm(tmp_path):
    write_clinical(tmp_path, person("Breast_MRI_001"))
    write_boxes(tmp_path, Breast_MRI_001=BOX)
    write_images(tmp_path, "Breast_MRI_001")
    other = tmp_path / "A_Segmentation_Masks_NRRD/Breast_MRI_001"  # comes first by name
    other.mkdir(parents=True)
    (other / "Segmentation_Breast_MRI_001_Breast.seg.nrrd").write_bytes(b"NRRD0004")
    rows, lost, _ = run(tmp_path)
    assert (lost, rows["Breast_MRI_001"]["exam"]) == ({}, "Duke-Breast-Cancer-MRI/Breast_MRI_001")


@pytest.mark.parametrize("moved", ["*/*", "*/5.000000*"], ids=["copied", "split"])
def test_images_of_one_patient_in_two_folders_are_named(tmp_path, moved):
    write_clinical(tmp_path, person("Breast_MRI_001"), person("Breast_MRI_002"))
    write_boxes(tmp_path, Breast_MRI_001=BOX, Breast_MRI_002=BOX)
    for seed, patient_id in enumerate(("Breast_MRI_001", "Breast_MRI_002")):
        write_images(tmp_path, patient_id, seed=seed)
    home = tmp_path / "Duke-Breast-Cancer-MRI/Breast_MRI_002"
    for series in list(home.glob(moved)):
        shutil.copytree(series, tmp_path / "again/Breast_MRI_002" / series.name)
        if moved != "*/*":
            shutil.rmtree(series)
    rows, lost, _ = run(tmp_path)
    assert (sorted(rows), lost) == (["Breast_MRI_001"], {"Breast_MRI_002": "ambiguous_file"})


def test_rows_stay_on_request_whatever_their_images_lack(tmp_path):
    ids = [f"Breast_MRI_{n:03d}" for n in range(1, 5)]
    write_clinical(tmp_path, *map(person, ids))
    write_boxes(tmp_path, **dict.fromkeys((ids[0], ids[2], ids[3]), BOX))
    for seed, one in enumerate(ids[:3]):  # 2 has no box, 4 no images
        write_images(tmp_path, one, seed=seed)
    drop_series(tmp_path, ids[2], 3)
    imported = read(Request(tmp_path, options={"without-images": "keep"}))
    assert [(row["patient_id"], bool(row["box"])) for row in imported.rows] == [
        (ids[0], True),
        *((one, False) for one in ids[1:]),
    ]
    assert imported.skipped == ()
    codes = [(note.patient_id, note.code) for note in imported.notes]
    assert codes == [("", "no_images"), (ids[1], "mask_missing"), (ids[2], "phase_missing"), ("", "follow_up")]


def test_a_row_without_an_id_is_no_heading(tmp_path):
    write_clinical(tmp_path, person("Breast_MRI_001"), person(""))
    write_boxes(tmp_path, Breast_MRI_001=BOX)
    with pytest.raises(StopRun, match=r"row 5: the column 'Patient ID' is empty") as caught:
        read(Request(tmp_path, options={"without-images": "keep"}))
    assert caught.value.code == "patient_id"


def write_plain_csv(folder: Path, *patients: dict[str, object]) -> None:
    """Names and patients alone, as people save the sheet."""
    with (folder / "Clinical_and_Other_Features.csv").open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([NAMES, *([one.get(name, "NC") for name in NAMES] for one in patients)])


def test_a_csv_without_groups_and_meanings_loses_nobody(tmp_path):
    write_boxes(tmp_path, Breast_MRI_001=BOX)
    request = Request(tmp_path, options={"without-images": "keep"})
    write_plain_csv(tmp_path, person("Breast_MRI_001"), person("Breast_MRI_002"))
    assert [row["patient_id"] for row in read(request).rows] == ["Breast_MRI_001", "Breast_MRI_002"]
    write_plain_csv(tmp_path, person(""), person("Breast_MRI_002"))
    with pytest.raises(StopRun, match="row 2: the column 'Patient ID' is empty"):
        read(request)


@pytest.mark.parametrize("column", FOLLOW_UP_NAMES)
def test_every_column_of_the_follow_up_must_be_there(tmp_path, column):
    write_clinical(tmp_path, person("Breast_MRI_001"))
    write_boxes(tmp_path, Breast_MRI_001=BOX)
    path = tmp_path / "Clinical_and_Other_Features.xlsx"
    book = openpyxl.load_workbook(path)
    book.active.cell(2, NAMES.index(column) + 1).value = "renamed"
    book.save(path)
    with pytest.raises(StopRun, match=column[:13]) as caught:
        read(Request(tmp_path, options={"without-images": "keep"}))
    assert caught.value.code == "column_missing"


BOXES = {
    "patient_duplicate": [("Breast_MRI_001", *BOX), ("Breast_MRI_001", 1, 2, 1, 2, 1, 2)],
    "patient_id": [("", *BOX)],
    "number_format": [("Breast_MRI_001", 1, 2, 1, 2, 1, 2.5)],
}


@pytest.mark.parametrize("code", BOXES)
def test_what_the_workbook_of_boxes_must_not_hold(tmp_path, code):
    write_clinical(tmp_path, person("Breast_MRI_001"))
    write_boxes(tmp_path)
    path = tmp_path / "Annotation_Boxes.xlsx"
    book = openpyxl.load_workbook(path)
    for cells in BOXES[code]:
        book.active.append(list(cells))
    book.save(path)
    with pytest.raises(StopRun) as caught:
        read(Request(tmp_path, options={"without-images": "keep"}))
    assert caught.value.code == code
