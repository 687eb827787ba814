"""Any spreadsheet: columns under our names, files by their names, and nobody lost between the two."""

from pathlib import Path

import numpy as np
import openpyxl
import pytest

from extract.adapters.contract import Request
from extract.adapters.guesses import SPELLINGS, suggest
from extract.adapters.importing import import_cohort
from extract.adapters.table import read
from extract.exam import read_exam
from extract.phantom.dicom import write_dicom
from triher.cohort import labels, read_cohort
from triher.config import read_config
from triher.errors import StopRun
from triher.tables import read_own_table, read_table

HEADER = ("PID", "HER2 IHC", "FISH", "Hospital", "Age", "FU (months)", "Died")
ROWS = (
    ("001", "3+", "", "North", "51", "40.5", "no"),
    ("002", "2+", "not amplified", "North", "62", "12", "yes"),
    ("003", "0", "", "South", "43", "77", "no"),
)
MAPPED = {
    "map:patient_id": "PID",
    "map:ihc": "HER2 IHC",
    "map:ish": "FISH",
    "map:site": "Hospital",
    "map:age": "Age",
    "map:time": "FU (months)",
    "map:event": "Died",
    "event:yes": "1",
    "event:no": "0",
    "time-unit": "months",
    "covariates": "age",
}
FILES = {
    **{f"phase:{name}": f"images/{{PID}}_{name}.nii.gz" for name in ("pre", "early", "late")},
    "mask": "images/{PID}_mask.nii.gz",
}


def write_csv(path: Path, rows=ROWS, *, separator: str = ",", header=HEADER) -> Path:
    path.write_text("".join(separator.join(row) + "\n" for row in (header, *rows)), encoding="utf-8")
    return path


@pytest.fixture
def exams(write_exam, tmp_path):
    """Exams of the three patients below ``images``."""
    for seed, (patient_id, *_) in enumerate(ROWS):
        write_exam(patient_id, seed=seed)
    return tmp_path


def run(folder: Path, table: str = "patients.csv", **changes: str):
    """Import; the summary, the patients, and code by id of those left out."""
    options = {key: value for key, value in (MAPPED | FILES | changes).items() if value}
    summary = import_cohort("table", Request(folder / table, options=options), folder / "out.csv", overwrite=True)
    skipped = folder / "out.skipped.csv"
    lost = dict(read_own_table(skipped)[["patient_id", "code"]].to_numpy()) if skipped.exists() else {}
    cohort = read_cohort(read_config(folder / "out.yaml").cohort)
    assert summary.n_in == summary.n_out + summary.n_skipped == len(cohort.patients) + len(lost)
    return summary, {patient.patient_id: patient for patient in cohort.patients}, lost


def refused(folder: Path, options: dict[str, str], table: str = "patients.csv") -> StopRun:
    with pytest.raises(StopRun) as caught:
        import_cohort("table", Request(folder / table, options=options), folder / "out.csv")
    assert not list(folder.glob("out.*"))
    return caught.value


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_text_table_comes_in_under_our_names(exams, separator):
    write_csv(exams / "patients.csv", separator=separator)
    summary, patients, lost = run(exams)
    assert lost == {}
    assert summary.by_site == {
        "North": {"zero": 0, "low": 1, "positive": 1},
        "South": {"zero": 1, "low": 0, "positive": 0},
    }
    assert (patients["002"].time_months, patients["002"].event, patients["002"].covariates) == (
        12.0,
        1,
        {"age": 62.0},
    )
    assert read_exam(patients["003"]).phases == ("pre", "early", "late")


def test_a_workbook_comes_in(exams):
    book = openpyxl.Workbook()
    for row in (HEADER, *ROWS):
        book.active.append(row)
    book.save(exams / "patients.xlsx")
    summary, patients, _ = run(exams, "patients.xlsx")
    assert (summary.n_out, sorted(patients)) == (3, ["001", "002", "003"])


def test_decimal_commas_are_read_when_they_are_announced(exams):
    rows = [(*row[:5], row[5].replace(".", ","), row[6]) for row in ROWS]
    write_csv(exams / "patients.csv", rows, separator=";")
    assert refused(exams, MAPPED | FILES).code == "number_format"
    assert run(exams, decimal=",")[1]["001"].time_months == 40.5


def test_columns_of_our_own_names_need_no_option(write_exam, tmp_path):
    exam = write_exam("P1").patient
    files = [str(path.relative_to(tmp_path)) for path in (*exam.phases.values(), exam.mask)]
    header = ("patient_id", "ihc", "pre", "early", "late", "mask")
    write_csv(tmp_path / "patients.csv", [("P1", "1+", *files)], header=header)
    summary = import_cohort("table", Request(tmp_path / "patients.csv"), tmp_path / "out.csv")
    assert summary.by_split == {"": {"zero": 0, "low": 1, "positive": 0}}


def test_one_source_for_all_phases_with_rules(tmp_path):
    voxels = [np.random.default_rng(k).integers(1, 900, (9, 8, 4)).astype(np.int16) for k in range(3)]
    folder = tmp_path / "exams/P1"
    write_dicom(folder, voxels, np.diag([1.0, 1, 2, 1]), (-30.0, 90.0, 390.0), vendor="siemens", patient_id="P1")
    header = ("PID", "HER2", "i0", "i1", "j0", "j1", "k0", "k1")
    write_csv(tmp_path / "patients.csv", [("P1", "0", "2", "6", "2", "6", "1", "3")], header=header)
    options = {
        "map:patient_id": "PID",
        "map:ihc": "HER2",
        "exam": "exams/{PID}",
        "phase:pre": "pre",
        "phase:peak": "nearest 120 s",
        "box": "{i0} {i1} {j0} {j1} {k0} {k1}",
    }
    import_cohort("table", Request(tmp_path / "patients.csv", options=options), tmp_path / "out.csv")
    (patient,) = read_cohort(read_config(tmp_path / "out.yaml").cohort).patients
    exam = read_exam(patient)
    assert (exam.phases, exam.mask.sum()) == (("pre", "peak"), 4 * 4 * 2)


@pytest.mark.fault("C5")
def test_who_has_no_images_a_phase_or_a_mask_missing_and_who_has_no_row(exams, write_exam):
    write_csv(exams / "patients.csv", [*ROWS, ("004", "3+", "", "South", "60", "3", "no")])
    (exams / "images/001_late.nii.gz").unlink()
    (exams / "images/002_mask.nii.gz").unlink()
    write_exam("777")
    _, patients, lost = run(exams)
    assert sorted(patients) == ["003"]
    assert lost == {"001": "phase_missing", "002": "mask_missing", "004": "no_images", "777": "no_label"}


def test_rows_without_images_stay_on_request(tmp_path):
    write_csv(tmp_path / "patients.csv")
    request = Request(tmp_path / "patients.csv", options=MAPPED | {"without-images": "keep"})
    summary = import_cohort("table", request, tmp_path / "out.csv")
    assert (summary.n_out, summary.skipped) == (3, {})
    known, _ = labels(read_cohort(read_config(tmp_path / "out.yaml").cohort), "triple")
    assert known == {"001": 2, "002": 1, "003": 0}


def test_a_missing_column_is_asked_for_with_those_that_may_be_meant(tmp_path):
    write_csv(tmp_path / "patients.csv")
    error = refused(tmp_path, FILES)
    assert error.code == "column_missing"
    assert "patient_id may be 'PID'" in error.message
    assert "ihc may be 'HER2 IHC'" in error.message
    assert "map:patient_id=PID" in error.remedy


def test_nothing_is_guessed_about_images(tmp_path):
    write_csv(tmp_path / "patients.csv")
    error = refused(tmp_path, MAPPED)
    assert error.code == "column_missing"
    assert "phase:NAME" in error.remedy


FAULTS = {
    "an option that nobody knows": ({"maps:ihc": "HER2"}, "unknown_name"),
    "a column of ours that is none": ({"map:her2": "HER2 IHC"}, "unknown_name"),
    "a column of theirs that is none": ({"map:ihc": "HER-2 IHC"}, "column_missing"),
    "a cell that no column has": ({"mask": "{pid}_mask.nii.gz"}, "column_missing"),
    "an event that is no event": ({"event:yes": "3"}, "event_codes"),
    "a code of events that was not explained": ({"event:no": ""}, "event_codes"),
    "a unit that is none": ({"time-unit": "weeks"}, "unknown_name"),
    "a rule set that is none": ({"rules": "asco"}, "unknown_name"),
    "a label as covariate": ({"covariates": "ihc"}, "label_leak"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_stops_the_import(exams, fault):
    write_csv(exams / "patients.csv")
    changes, code = FAULTS[fault]
    options = {key: value for key, value in (MAPPED | FILES | changes).items() if value}
    assert refused(exams, options).code == code


def test_two_rows_of_one_patient(exams):
    write_csv(exams / "patients.csv", [*ROWS, ROWS[0]])
    assert run(exams)[0].n_notes == 1
    for path in exams.glob("out.*"):
        path.unlink()
    write_csv(exams / "patients.csv", [*ROWS, ("001 ", "0", *ROWS[0][2:])])
    error = refused(exams, MAPPED | FILES)
    assert error.code == "patient_duplicate"
    assert "lines 2 ('001') and 5 ('001')" in error.message


def test_a_row_without_an_id_and_a_folder_for_a_table(exams):
    write_csv(exams / "patients.csv", [*ROWS, ("", "0", "", "", "", "", "")])
    assert refused(exams, MAPPED | FILES).code == "patient_id"
    assert refused(exams, MAPPED | FILES, "images").code == "file_unreadable"


@pytest.mark.parametrize(
    ("ours", "columns", "expected"),
    [
        ("patient_id", ["Age", "MRN"], ["MRN"]),
        ("ihc", ["her2", "HER2_IHC_score"], ["HER2_IHC_score", "her2"]),
        ("time", ["OS.months", "PFS"], ["OS.months"]),
        ("site", ["Age"], []),
        ("site", ["Hospitel"], ["Hospitel"]),
        ("ihc", ["er_ihc_score"], []),  # another receptor
        ("pre", ["PR"], []),
        ("event", ["Censored"], []),  # it means the opposite
    ],
)
def test_spellings_are_suggested_the_likeliest_first(ours, columns, expected):
    assert suggest(ours, columns) == expected


@pytest.mark.parametrize(
    ("table", "ours", "theirs"),
    [
        ("tcga-brca/clinical_patient_brca.txt", "ihc", "her2_ihc_score"),
        ("tcga-brca/clinical_patient_brca.txt", "ish", "her2_fish_status"),
        ("tcga-brca/clinical_patient_brca.txt", "site", "tissue_source_site"),
        ("mama-mia/clinical_and_imaging_info.csv", "cohort", "dataset"),
        ("ispy2/her2_triple_class.csv", "patient_id", "id"),
        ("breastdcedl/BreastDCEDL_metadata_min_crop.csv", "early", "post_early"),
    ],
)
def test_the_first_suggestion_for_real_tables(shared, table, ours, theirs):
    assert suggest(ours, map(str, read_table(shared / "data" / table).columns))[0] == theirs


def test_spellings_are_written_as_they_are_compared():
    for ours, spellings in SPELLINGS.items():
        for spelling in spellings:
            assert suggest(ours, [spelling]) == [spelling]


def touch(folder: Path, *names: str) -> None:
    """Files without content, for what is told by names alone."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def listed(folder: Path, template: str, *rows: tuple[str, ...], header=("PID", "HER2"), **options: str):
    """Import boxes with one source an exam; the rows by patient and code by id of those left out."""
    write_csv(folder / "p.csv", rows, header=header)
    named = {"map:patient_id": "PID", "map:ihc": "HER2", "exam": template, "box": "0 2 0 2 0 2"} | options
    named = {name: text for name, text in named.items() if text}
    imported = read(Request(folder / "p.csv", options=named))
    everybody = [*(row["patient_id"] for row in imported.rows), *(one.patient_id for one in imported.skipped)]
    assert len(set(everybody)) == len(everybody)
    return imported, {one.patient_id: one.code for one in imported.skipped}


def test_files_of_a_patient_are_nobody_elses(tmp_path):
    touch(tmp_path, "im/001_dce_0.nii.gz", "im/001_dce_1.nii.gz", "im/777_0.nii.gz")
    assert listed(tmp_path, "im/{PID}_*.nii.gz", ("001", "3+"))[1] == {"777": "no_label"}


def test_a_mask_is_no_image_of_a_stranger(tmp_path):
    touch(tmp_path, *(f"im/{one}{end}.nii.gz" for one in ("1", "2") for end in ("", "_mask")))
    lost = listed(tmp_path, "im/{PID}.nii.gz", ("1", "3+"), box="", mask="im/{PID}_mask.nii.gz")[1]
    assert lost == {"2": "no_label"}


def test_a_pattern_that_fits_the_files_of_two_patients_is_refused(tmp_path):
    touch(tmp_path, "im/1_0.nii.gz", "im/1_1.nii.gz", "im/10_0.nii.gz")
    with pytest.raises(StopRun, match=r"10_0\.nii\.gz is an image of '1' and of '10'") as caught:
        listed(tmp_path, "im/{PID}*.nii.gz", ("1", "3+"), ("10", "0"))
    assert caught.value.code == "ambiguous_file"


def test_one_folder_may_hold_the_series_of_many(tmp_path):
    touch(tmp_path, "dump/1.dcm")
    header = ("PID", "HER2", "UID")
    rows = (("1", "3+", "1.2.3"), ("2", "0", "1.2.4"))
    imported, lost = listed(tmp_path, "dump", *rows, header=header, series="{UID}")
    assert ([row["patient_id"] for row in imported.rows], lost) == (["1", "2"], {})


@pytest.mark.parametrize("folder", ["im", "im.v2", "im [1]"])
@pytest.mark.parametrize("name", ["{PID}", "{PID}.nii.gz", "{PID}/dyn"])
def test_strangers_are_found_whatever_folders_are_called(tmp_path, folder, name):
    for one in ("1", "2"):
        place = f"{folder}/{name.format(PID=one)}"
        touch(tmp_path, place if name.endswith(".gz") else f"{place}/1.dcm")
    assert listed(tmp_path, f"{folder}/{name}", ("1", "3+"))[1] == {"2": "no_label"}


def test_an_empty_cell_is_named_as_the_reason(tmp_path):
    touch(tmp_path, "im/1.nii.gz")
    rows = (("1", "3+", "im/1.nii.gz"), ("2", "0", ""))
    imported, lost = listed(tmp_path, "{F}", *rows, header=("PID", "HER2", "F"))
    assert lost == {"2": "no_images"}
    assert imported.skipped[0].reason.endswith("empty in the table: F")


def test_who_has_no_box_needs_a_mask(tmp_path):
    touch(tmp_path, "im/1.nii.gz", "im/2.nii.gz", "im/3.nii.gz", "seg/3.nii.gz")
    header = ("PID", "HER2", "i0", "i1", "j0", "j1", "k0", "k1", "M")
    empty = ("",) * 6
    rows = (
        ("1", "3+", *"020202", ""),
        ("2", "0", *empty, ""),
        ("3", "0", *empty, "seg/3.nii.gz"),
    )
    box = "{i0} {i1} {j0} {j1} {k0} {k1}"
    imported, lost = listed(tmp_path, "im/{PID}.nii.gz", *rows, header=header, box=box, mask="{M}")
    assert lost == {"2": "mask_missing"}
    imported, lost = listed(tmp_path, "im/{PID}.nii.gz", *rows, header=header, box=box)
    assert lost == {"2": "mask_missing", "3": "mask_missing"}
    assert imported.skipped[0].reason.endswith("empty in the table: mask, i0, i1, j0, j1, k0, k1")


@pytest.mark.parametrize("swapped", [False, True])
def test_names_that_trade_places_do_not_run_into_each_other(tmp_path, swapped):
    touch(tmp_path, "S/1.nii.gz")
    maps = {"map:site": "cohort", "map:cohort": "Study"}
    maps = dict(reversed(maps.items())) if swapped else maps
    rows = (("1", "3+", "S", "C"),)
    imported, _ = listed(tmp_path, "{Study}/{PID}.nii.gz", *rows, header=("PID", "HER2", "Study", "cohort"), **maps)
    assert imported.settings["exam"] == "{cohort}/{patient_id}.nii.gz"
    assert [(row["site"], row["cohort"]) for row in imported.rows] == [("C", "S")]


def test_a_column_of_our_name_for_files_may_have_come_from_another(tmp_path):
    touch(tmp_path, "S/1.nii.gz")
    write_csv(tmp_path / "p.csv", [("1", "3+", "S/1.nii.gz", "North")], header=("PID", "HER2", "F", "exam"))
    maps = {"map:patient_id": "PID", "map:ihc": "HER2", "map:exam": "F", "map:site": "exam"}
    imported = read(Request(tmp_path / "p.csv", options=maps | {"box": "0 2 0 2 0 2"}))
    assert (imported.settings["exam"], [row["exam"] for row in imported.rows]) == ("{exam}", ["S/1.nii.gz"])


def test_a_name_that_the_file_system_refuses_loses_one_patient(tmp_path):
    touch(tmp_path, "im/1.nii.gz")
    assert listed(tmp_path, "im/{PID}.nii.gz", ("1", "3+"), ("2" * 300, "0"))[1] == {"2" * 300: "file_unreadable"}


def test_rows_that_stay_without_images_are_counted(tmp_path):
    touch(tmp_path, "im/1.nii.gz", "im/3.nii.gz")
    imported, lost = listed(tmp_path, "im/{PID}.nii.gz", ("1", "3+"), ("2", "0"), **{"without-images": "keep"})
    assert (len(imported.rows), lost) == (2, {"3": "no_label"})
    assert "1 of 2 patients have no images" in next(note.text for note in imported.notes if note.code == "no_images")
