"""Bad cohorts on the command line: one line for what stops, a row for who is left out, and everybody else done."""

import csv
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from openpyxl import Workbook

from extract.phantom.dicom import write_dicom
from triher.cli import main
from triher.runfolder import RunFolder
from triher.store import read_store
from triher.tables import read_own_table

CONFIG = "cohort: {{table: {table}{more}}}\nextract: {{encoder: toy, slices: {{n: 1}}}}\n"
FILES = ("pre", "early", "late", "mask")


def triher(*arguments) -> int:
    """Run a command and return its exit code."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def configure(folder: Path, more: str = "", *, table: str = "cohort.csv") -> Path:
    """Write a configuration beside the table."""
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(table=table, more=f", {more}" if more else ""), encoding="utf-8")
    return path


def changed(path: Path, change) -> None:
    """Rewrite an image with other voxels or another affine."""
    image = nib.load(path)
    array, affine = change(np.asarray(image.dataobj).astype(np.float32), image.affine.copy())
    other = nib.Nifti1Image(array, affine)
    other.set_sform(affine, code=1)
    nib.save(other, path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])


def with_nan(array, affine):
    array[3, 4, 5] = math.nan
    return array, affine


def moved(by_mm):
    def change(array, affine):
        affine[0, 3] += by_mm
        return array, affine

    return change


def without_orientation(path: Path) -> None:
    image = nib.load(path)
    image.set_sform(image.affine, code=0)
    image.set_qform(image.affine, code=0)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


FAULTS = {
    # id, hostile on purpose: (file, what happens to it, code)
    "=1+1": ("early", cut, "image_truncated"),
    "-2": ("pre", lambda path: path.write_bytes(b"<html>404</html>"), "image_unreadable"),
    "@x": ("late", lambda path: changed(path, with_nan), "image_nonfinite"),
    "+3": ("late", lambda path: changed(path, lambda a, f: (0 * a + 7, f)), "image_constant"),
    "<script>": ("early", Path.unlink, "phase_missing"),
    "../x": ("late", lambda path: changed(path, moved(9.0)), "phase_geometry"),
    "a/b": ("pre", without_orientation, "orientation_unknown"),
    "Zo\u00eb": ("mask", lambda path: changed(path, lambda a, f: (a * 0, f)), "mask_empty"),
    "a b": ("mask", lambda path: changed(path, moved(500.0)), "mask_geometry"),
    ".": ("early", loop, "file_unreadable"),
}
CLEAN = ("001", "1", "NA", "1e5")


@pytest.fixture
def clinic(toy_plugin, write_exam, tmp_path) -> Path:
    """Ten spoiled exams between four sound ones, one of which has a mask of 255; the configuration."""
    rows = []
    for seed, patient_id in enumerate((*CLEAN[:2], *FAULTS, *CLEAN[2:])):
        files = write_exam(f"E{seed}", seed=seed, shape=(20, 18, 8)).patient.files()
        rows.append([patient_id, *(str(files[name]) for name in FILES)])
        if patient_id in FAULTS:
            name, spoil, _ = FAULTS[patient_id]
            spoil(files[name])
    changed(Path(rows[-1][-1]), lambda a, f: (a * 255, f))
    with (tmp_path / "cohort.csv").open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([["patient_id", *FILES], *rows])
    return configure(tmp_path)


def no_formula(path: Path) -> bool:
    """Whether a spreadsheet would compute nothing of a table."""
    with path.open(encoding="utf-8", newline="") as handle:
        return not [c for row in csv.reader(handle) for c in row if c.startswith(("=", "+", "-", "@", "\t", "\r"))]


@pytest.mark.fault("A1", "A4", "A5", "A6", "A10", "A13", "A17", "A24", "A25", "A27", "A31", "C1", "C25")
def test_who_is_left_out_is_named_and_everybody_else_is_done(clinic, capsys):
    out, expected = clinic.parent / "run", {name: code for name, (_, _, code) in FAULTS.items()}
    assert triher("extract", clinic, "--out", out) == 3
    said = capsys.readouterr()
    run = RunFolder(out)
    assert {row.patient_id: row.code for row in run.read_skipped()} == expected
    assert [(note.patient_id, note.code) for note in run.read_notes()] == [("1e5", "mask_binarized")]
    _, features = read_store(next(run.features.glob("*.h5")))
    assert features.patient_id == CLEAN
    assert "4 made from volumes, 10 skipped" in said.err
    assert "10 left out: see" in said.err
    assert "Traceback" not in said.out + said.err
    assert all(name in said.err for name in FAULTS)
    assert no_formula(run.skipped_file)
    assert triher("extract", clinic, "--out", out, "--strict") == 2
    assert "nothing computed" in capsys.readouterr().err


@pytest.mark.fault("A1", "A4", "A5", "A6", "A10", "A13", "A17", "A24", "A25", "A27", "A31", "C25")
def test_a_look_beforehand_finds_the_same(clinic, capsys):
    out = clinic.parent / "problems.csv"
    assert triher("cohort", "check", clinic, "--voxels", "--no-cost", "--out", out) == 3
    assert "14 patients: 4 can be used, 10 would be left out" in capsys.readouterr().out
    rows = read_own_table(out).to_dict("records")
    expected = {("skip", name, code) for name, (_, _, code) in FAULTS.items()} | {("note", "1e5", "mask_binarized")}
    assert {(row["outcome"], row["patient_id"], row["code"]) for row in rows} == expected
    assert all(row["what_to_do"] for row in rows)
    assert no_formula(out)


HEADER = "patient_id,ihc,ish,time,event,age,grade\n"
ROWS = "".join(f"P{i},{i % 3}+,negative,5,0,50,2\n" for i in range(1, 6))
IMAGES = "phases: {pre: '{patient_id}.nii'}, mask: '{patient_id}_m.nii'"
STOPS = {
    # case: (the table, more of the configuration, code, what the line must name)
    "C2": (f"{HEADER}{ROWS}P1,3+,,5,0,50,2\n", "", "patient_duplicate", ("lines 2 ('P1')", "7 ('P1')")),
    "C3": (
        f"{HEADER}ISPY2-102212,0,,5,0,50,2\nACRIN-6698-102212,0,,5,0,50,2\n",
        "",
        "patient_leak",
        ("'ISPY2-102212'", "'ACRIN-6698-102212'"),
    ),
    "C4": (f"{HEADER}{ROWS}p\u00a01,3+,,5,0,50,2\n", "", "patient_duplicate", ("('P1')", "7 (")),
    "C9": (HEADER + ROWS.replace("+,", " cm,"), "", "her2_codes", ("5 of 5",)),
    "C10": (HEADER + ROWS, "covariates: [agee]", "column_missing", ("did you mean 'age'?",)),
    "C11": (HEADER.replace("age", "ish") + ROWS, "", "table_header", ("'ish' is there twice",)),
    "C12": (f"{HEADER}{ROWS}P6,0,,5,0,50,2,x\n", "", "csv_row", ("line 7: 8 cells", "quote cells")),
    "C13": (f"{HEADER}{ROWS}P6,0,,5,0,50\n", "", "csv_row", ("line 7: 6 cells", "a separator for each empty cell")),
    "C14": ((HEADER + ROWS).replace(",", "|"), "", "table_format", ("'|' would",)),
    "C15": (
        f'{HEADER}{ROWS}P6,0,,5,0,"50,5",2\n',
        "covariates: [age]",
        "number_format",
        ("line 7", "'age' holds '50,5'", 'set cohort.decimal: ","'),
    ),
    "C17 Latin-1": (f"{HEADER}{ROWS}Zo\u00eb,0,,5,0,50,2\n".encode("latin-1"), "", "encoding", ("line 7", "UTF-8")),
    "C17 UTF-16": ((HEADER + ROWS).encode("utf-16"), "", "encoding", ("line 1", "UTF-8")),
    "C18 no header": ("", "", "table_empty", ()),
    "C18 no row": (HEADER, "", "table_empty", ("no row",)),
    "C21 1 and 2": (HEADER + ROWS.replace(",5,0,", ",5,2,"), "", "event_codes", ("line 2", "holds '2'")),
    "C21 words": (HEADER + ROWS.replace(",5,0,", ",5,TRUE,"), "", "event_codes", ("line 2", "holds 'TRUE'")),
    "C22": (HEADER + ROWS, "time_unit: null", "config_value", ("cohort.time_unit",)),
    "C23": (HEADER + ROWS.replace(",2\n", ",high\n"), "covariates: [grade]", "covariate_type", ("'grade'", "'high'")),
    "C24": (HEADER + ROWS, "covariates: [ish]", "label_leak", ("'ish'",)),
}


@pytest.mark.fault("C2", "C3", "C4", "C9", "C10", "C11", "C12", "C13", "C14", "C15", "C17", "C18")
@pytest.mark.fault("C21", "C22", "C23", "C24")
@pytest.mark.usefixtures("toy_plugin")
@pytest.mark.parametrize("case", STOPS)
def test_a_table_that_cannot_be_trusted_stops_in_one_line(tmp_path, capsys, case):
    table, more, code, named = STOPS[case]
    (tmp_path / "cohort.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    unit = "" if "time_unit" in more else "time_unit: months"
    config = configure(tmp_path, ", ".join(filter(None, (more, unit, IMAGES))))
    for command in (["cohort", "check", "--no-cost"], ["run", "--out", tmp_path / "run"]):
        assert triher(*command, config) == 2
        said = capsys.readouterr()
        line = said.err.splitlines()[-1]
        assert f"[{code}] -> " in line
        assert all(text in line for text in named), line
        assert "Traceback" not in said.out + said.err
    assert not (tmp_path / "run" / "slabs").exists()


@pytest.mark.fault("C19")
@pytest.mark.usefixtures("toy_plugin")
def test_a_formula_without_a_value_stops_in_one_line(tmp_path, capsys):
    book = Workbook()
    for row in (["patient_id", "ihc", "age"], ["P1", "3+", 50], ["P2", "0", "=C2+1"]):
        book.active.append(row)
    book.save(tmp_path / "cohort.xlsx")
    config = configure(tmp_path, IMAGES, table="cohort.xlsx")
    for command in (["cohort", "check", "--no-cost"], ["run", "--out", tmp_path / "run"]):
        assert triher(*command, config) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert "cell C3" in line
        assert "[xlsx_formula] -> " in line


@pytest.mark.fault("C20", "C22")
def test_a_look_beforehand_names_doubtful_follow_up(write_exam, tmp_path, capsys):
    times = {"P1": ("a", "", 1), "P2": ("a", -3, 0), "P3": ("a", 0, 1), "P4": ("b", 1e6, 0), "P5": ("b", 5000, "")}
    rows = []
    for seed, (patient_id, cells) in enumerate(times.items()):
        files = write_exam(patient_id, seed=seed, shape=(20, 18, 8)).patient.files()
        rows.append([patient_id, *cells, *(files[name] for name in FILES)])
    with (tmp_path / "cohort.csv").open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([["patient_id", "cohort", "time", "event", *FILES], *rows])
    out = tmp_path / "problems.csv"
    assert triher("cohort", "check", configure(tmp_path, "time_unit: months"), "--no-cost", "--out", out) == 0
    found = {(row["outcome"], row["patient_id"], row["code"]) for row in read_own_table(out).to_dict("records")}
    codes = {"P1": "time_missing", "P2": "time_negative", "P3": "time_zero", "P4": "time_implausible"}
    expected = {("note", name, code) for name, code in codes.items()}
    assert found == expected | {("note", "P5", "time_missing"), ("note", "", "unit_suspect")}
    assert "5 patients: 5 can be used" in capsys.readouterr().out


@pytest.mark.usefixtures("toy_plugin")
def test_text_of_a_table_steers_no_terminal(tmp_path, capsys):
    (tmp_path / "cohort.csv").write_text("patient_id,ihc\nP\x1b[2J,0\nP\x1b[2J,3+\n", encoding="utf-8")
    assert triher("cohort", "check", configure(tmp_path, IMAGES)) == 2
    said = capsys.readouterr().err
    assert "\x1b[2J" not in said
    assert r"'P\x1b[2J'" in said


SECRETS = {
    "PatientName": "Doe^Jane",
    "PatientBirthDate": "19610412",
    "InstitutionName": "Saint Elsewhere",
    "ReferringPhysicianName": "House^Gregory",
    "AccessionNumber": "ACC-4711-07",
    "StationName": "LANTERN7",
}


@pytest.mark.fault("B1", "B15", "G22")
@pytest.mark.usefixtures("toy_plugin")
def test_nothing_of_a_dicom_header_reaches_what_is_written_or_said(tmp_path, capsys):
    rng, mask = np.random.default_rng(0), np.zeros((34, 32, 6), np.int16)
    mask[10:20, 12:22, 1:5] = 1
    for name in ("P1", "P2", "P3"):
        phases = [rng.integers(200, 400, mask.shape).astype(np.int16) + gain * mask for gain in (0, 300, 200)]
        given = {"vendor": "siemens" if name == "P3" else "ge", "patient_id": name}
        paths = write_dicom(tmp_path / name, phases, np.diag([1.2, 1.2, 2.5, 1]), (-30.0, 90.0, 390.5), **given)
        for path in paths if name != "P1" else ():
            header = pydicom.dcmread(path)
            for keyword, value in SECRETS.items():
                setattr(header, keyword, value)
            header.save_as(path)
    paths[2].unlink()
    image = nib.Nifti1Image(mask.astype(np.uint8), np.diag([1.2, 1.2, 2.5, 1]))
    image.set_sform(image.affine, code=1)
    nib.save(image, tmp_path / "mask.nii.gz")
    (tmp_path / "cohort.csv").write_text("patient_id\nP1\nP2\nP3\n", encoding="utf-8")
    config = configure(
        tmp_path, "exam: '{patient_id}', mask: mask.nii.gz, phases: {pre: pre, early: first post, late: last}"
    )
    run, said = RunFolder(tmp_path / "run"), ""
    for command in (["cohort", "check", "--no-cost"], ["extract", "--out", run.path]):
        assert triher(*command, config) == 3
        printed = capsys.readouterr()
        said += printed.out + printed.err
    assert {row.patient_id: row.code for row in run.read_skipped()} == {"P3": "slice_missing"}
    assert ("P2", "phi_present") in {(note.patient_id, note.code) for note in run.read_notes()}
    written = [path.read_bytes() for path in run.path.rglob("*") if path.is_file()]
    assert len(written) > 6
    for secret in SECRETS.values():
        assert secret not in said
        assert not any(secret.encode() in data for data in written), secret
