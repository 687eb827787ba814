"""The run folder: whose it is, what is fresh in it, who was left out."""

import csv
import json

import pytest

from triher import __version__
from triher.errors import Note, Skipped, StopRun
from triher.runfolder import RunFolder, library_versions

ODD_IDS = ["001", "=1+1", "-P", "@x", "'=y", "\u00c4/\u6f22", "a,b", 'say "x"', "a\nb", "<script>", "NA"]


@pytest.fixture
def run(tmp_path):
    """A prepared run folder."""
    folder = RunFolder(tmp_path / "run")
    folder.prepare()
    return folder


def skipped(patient_id, stage="extract", reason="no voxel"):
    return Skipped(patient_id, "C", stage, "mask_empty", reason, "segment it")


def test_prepare_makes_the_folder_and_continues_in_it(tmp_path):
    run = RunFolder(tmp_path / "a" / "b")
    run.prepare()
    run.record_command("triher run", {"seed": 1})
    run.prepare()
    assert run.read_record()["command"] == "triher run"


@pytest.mark.fault("G17")
def test_prepare_refuses_a_folder_of_somebody_else(tmp_path):
    (tmp_path / "thesis.docx").write_text("all my work")
    with pytest.raises(StopRun, match=r"is not empty \(thesis\.docx, \.\.\.\) and no run folder") as caught:
        RunFolder(tmp_path).prepare()
    assert caught.value.code == "output_folder"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_prepare_goes_on_after_a_kill_at_the_very_start(tmp_path):
    (tmp_path / "run.json.123.part").write_text("{")
    RunFolder(tmp_path).prepare()
    assert RunFolder(tmp_path).read_record() == {"stages": {}}


@pytest.mark.fault("G17")
@pytest.mark.parametrize("text", ["", "{", "[]", "5", "{}", '{"stages": []}', '{"scripts": {"test": "jest"}}'])
def test_a_foreign_record_is_refused_and_kept(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(StopRun, match=r"run\.json is no") as caught:
        RunFolder(tmp_path).prepare()
    assert caught.value.code == "output_folder"
    assert (tmp_path / "run.json").read_text() == text


def test_prepare_refuses_what_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(StopRun, match="cannot write to") as caught:
            RunFolder(place).prepare()
        assert caught.value.code == "output_folder"


def test_a_stage_is_fresh_until_its_key_or_an_output_changes(run):
    output = run.path / "features" / "x.h5"
    output.parent.mkdir()
    output.write_bytes(b"one")
    assert not run.is_fresh("extract", "key")
    run.record_stage("extract", "key", [output], 1.234, n_done=3)
    assert run.is_fresh("extract", "key")
    assert not run.is_fresh("extract", "other")
    assert not run.is_fresh("classify", "key")
    assert run.read_record()["stages"]["extract"] | {"outputs": {}} == {
        "key": "key",
        "seconds": 1.23,
        "outputs": {},
        "n_done": 3,
    }
    output.touch()  # the date alone changes nothing
    assert run.is_fresh("extract", "key")
    output.write_bytes(b"two")
    assert not run.is_fresh("extract", "key")
    output.write_bytes(b"one")
    assert run.is_fresh("extract", "key")
    output.unlink()
    assert not run.is_fresh("extract", "key")
    output.mkdir()
    assert not run.is_fresh("extract", "key")


def test_stages_do_not_disturb_each_other(run):
    run.record_stage("extract", "k1", [], 1.0)
    run.record_command("triher run", {"seed": 1})
    run.record_stage("classify", "k2", [], 1.0)
    assert run.is_fresh("extract", "k1")
    assert run.is_fresh("classify", "k2")
    record = json.loads(run.record_file.read_text())
    assert record["config"] == {"seed": 1}
    assert record["triher"] == __version__
    assert record["libraries"]["numpy"] == library_versions()["numpy"]


def test_an_output_that_is_not_there_is_a_fault_of_the_program(run):
    with pytest.raises(FileNotFoundError):
        run.record_stage("extract", "key", [run.path / "none"], 1.0)
    assert not run.is_fresh("extract", "key")


def test_skipped_rows_of_one_stage_replace_only_that_stage(run):
    assert run.read_skipped() == []
    first, other, later = skipped("A"), skipped("B", "classify"), skipped("C")
    run.write_skipped("extract", [first])
    run.write_skipped("classify", [other])
    run.write_skipped("extract", [later])
    assert run.read_skipped() == [other, later]
    run.write_skipped("classify", [])
    assert run.read_skipped() == [later]
    run.write_skipped("extract", [])
    assert run.read_skipped() == []
    assert run.skipped_file.read_text().strip() == "patient_id,cohort,stage,code,reason,remedy"


def test_odd_ids_survive_any_number_of_rewrites(run):
    rows = [skipped(patient_id, reason=f"={patient_id}\r\nnot found: '\u2028'") for patient_id in ODD_IDS]
    run.write_skipped("extract", rows)
    for _ in range(3):
        run.write_skipped("classify", [])
    assert run.read_skipped() == rows
    with run.skipped_file.open(encoding="utf-8", newline="") as handle:
        cells = [cell for row in csv.reader(handle) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_notes_round_trip(run):
    assert run.read_notes() == []
    notes = [Note(patient_id, "phase_order_suspect", f"-{patient_id}") for patient_id in ODD_IDS]
    notes.append(Note("", "general", ""))
    run.write_notes("extract", notes)
    assert run.read_notes() == notes
    run.write_notes("extract", [])
    assert run.read_notes() == []


def test_notes_of_one_stage_replace_only_its_own(run):
    run.write_notes("extract", [Note("P1", "phase_order_suspect", "darker")])
    run.write_notes("classify", [Note("", "folds_reduced", "3 folds")])
    run.write_notes("extract", [Note("P2", "image_scaled", "slope 2")])
    assert {(note.patient_id, note.code) for note in run.read_notes()} == {
        ("", "folds_reduced"),
        ("P2", "image_scaled"),
    }


def test_a_record_that_was_changed_is_refused(run):
    run.record_command("triher run", {"seed": 1})
    text = run.record_file.read_text()
    run.record_file.write_text(text.replace('"seed": 1', '"seed": 2'))
    with pytest.raises(StopRun, match=r"run\.json differs from the hash that it carries") as caught:
        run.read_record()
    assert caught.value.code == "output_changed"
    without = {key: value for key, value in json.loads(text).items() if key != "sha256"}
    run.record_file.write_text(json.dumps(without))  # of an earlier version
    assert run.read_record()["config"] == {"seed": 1}


def test_a_table_that_is_not_as_its_stage_left_it(run):
    run.require_unchanged(run.predictions_file)  # which is not there
    run.predictions_file.write_text("a")
    run.require_unchanged(run.predictions_file)  # which no stage wrote
    run.record_stage("classify", "key", [run.predictions_file], 1.0)
    run.require_unchanged(run.predictions_file)
    run.predictions_file.write_text("b")
    with pytest.raises(StopRun, match=r"predictions\.csv is not as 'triher classify' left it") as caught:
        run.require_unchanged(run.predictions_file)
    assert caught.value.code == "output_changed"


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [(b"remedy", b"remedX", "column_missing"), (b"why", b"wh\xff", "encoding"), (b"why,", b"why", "csv_row")],
)
def test_a_damaged_list_of_who_was_left_out_is_refused_by_name(run, before, after, code):
    run.write_skipped("extract", [Skipped("P1", "A", "extract", "image_corrupt", "why", "what")])
    run.skipped_file.write_bytes(run.skipped_file.read_bytes().replace(before, after))
    with pytest.raises(StopRun, match=r"skipped\.csv") as caught:
        run.read_skipped()
    assert caught.value.code == code
