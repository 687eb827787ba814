"""The commands about cohorts, in process: exit codes, what they print, what they write."""

from pathlib import Path

import pytest

from triher.cli import main
from triher.tables import read_own_table


def triher(*arguments: str | Path) -> int:
    """Run a command and return its exit code."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.fixture
def clinic(write_exam, tmp_path, monkeypatch) -> Path:
    """Three exams and a table that calls its columns in its own way; the third patient has no mask."""
    for seed, patient_id in enumerate(("P1", "P2", "P3")):
        write_exam(patient_id, seed=seed)
    (tmp_path / "images/P3_mask.nii.gz").unlink()
    (tmp_path / "list.csv").write_text("MRN;IHC;FISH\nP1;3+;\nP2;2+;\nP3;0;\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


IMPORT = (
    *("cohort", "import", "table", "list.csv", "--out", "c.csv"),
    *("--option", "map:patient_id=MRN", "--option", "map:ihc=IHC", "--option", "map:ish=FISH"),
    *("--option", "phase:pre=images/{MRN}_pre.nii.gz", "--option", "phase:early=images/{MRN}_early.nii.gz"),
    *("--option", "phase:late=images/{MRN}_late.nii.gz"),
    *("--option", "mask=images/{MRN}_mask.nii.gz"),
)


@pytest.mark.parametrize("command", ["check", "labels", "import", "layouts", "fetch"])
def test_every_command_has_help(capsys, command):
    assert triher("cohort", command, "--help") == 0
    assert "Usage" in capsys.readouterr().out


def test_import_check_and_labels_one_after_the_other(clinic, capsys):
    assert triher(*IMPORT) == 3
    out = capsys.readouterr().out
    assert "3 patients found, 2 imported, left out: 1 mask_missing" in out
    assert "next: triher cohort check c.yaml" in out
    assert read_own_table(clinic / "c.skipped.csv")["patient_id"].tolist() == ["P3"]
    assert triher("cohort", "labels", "c.yaml", "--out", "audit.csv") == 0
    out = capsys.readouterr().out
    assert "classes: positive 1" in out
    assert "left out: 1 x 2+ without ISH" in out
    assert len(read_own_table(clinic / "audit.csv")) == 2
    assert triher("cohort", "check", "c.yaml", "--no-cost", "--quiet", "--out", "problems.csv") == 3
    out = capsys.readouterr().out
    assert "2 patients: 1 can be used, 1 would be left out" in out
    assert "training needs 3 patients of every class; there are 0 zero, 0 low, 1 positive" in out
    assert read_own_table(clinic / "problems.csv")["code"].tolist() == ["her2_unknown", "no_label"]


def test_check_says_what_a_run_will_cost(clinic, capsys):
    triher(*IMPORT)
    capsys.readouterr()
    triher("cohort", "check", "c.yaml", "--quiet")
    out = capsys.readouterr().out
    for what in ("reading volumes and cutting slabs", "disk: slab cache", "disk: feature store", "memory of cpu"):
        assert what in " ".join(out.split())


def test_check_reads_voxels_on_request(clinic, capsys):
    triher(*IMPORT)
    path = clinic / "images/P1_late.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])
    capsys.readouterr()
    assert triher("cohort", "check", "c.yaml", "--no-cost", "--quiet") == 3
    assert "image_truncated" not in capsys.readouterr().out
    assert triher("cohort", "check", "c.yaml", "--no-cost", "--quiet", "--voxels") == 3
    assert "image_truncated" in capsys.readouterr().out


def test_a_cohort_that_shares_a_person_with_another_stops(clinic, capsys):
    for name in ("train", "test"):
        (clinic / f"{name}.csv").write_text(
            "patient_id,pre,early,late,mask\nISPY2_100899,a,b,c,d\n", encoding="utf-8"
        )
    assert triher("cohort", "check", "train.csv", "test.csv", "--quiet") == 2
    assert "patient_leak" in capsys.readouterr().out


def test_layouts_are_listed_and_one_is_described(capsys):
    assert triher("cohort", "layouts") == 0
    assert "Annotation_Boxes.xlsx" in capsys.readouterr().out
    assert triher("cohort", "layouts", "duke") == 0
    assert "--option endpoint=..." in capsys.readouterr().out
    assert triher("cohort", "layouts", "duk") == 2
    assert "did you mean 'duke'" in capsys.readouterr().err


def test_fetch_shows_the_license_before_anything_else(tmp_path, capsys):
    assert triher("cohort", "fetch", "mama-mia", "--out", tmp_path / "x", "--accept-license") == 2
    text = capsys.readouterr().err
    assert text.index("CC BY-NC 4.0") < text.index("fetch_manual")
    assert "synapse get" in text
    assert text.count("license:") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [("scheme", "--option expects KEY=VALUE"), ("shceme=binary", "did you mean 'scheme'"), ("name=", "")],
)
def test_options_of_a_layout(clinic, capsys, option, message):
    code = triher(*IMPORT, "--option", option)
    assert code == (2 if message else 3)
    assert message in " ".join(capsys.readouterr().err.split())


def test_files_of_an_earlier_import_are_replaced_and_others_are_not(clinic, capsys):
    assert triher(*IMPORT) == 3
    assert triher(*IMPORT) == 3
    (clinic / "c.csv").write_text("my own work\n", encoding="utf-8")
    assert triher(*IMPORT) == 2
    assert "was changed since it was imported" in " ".join(capsys.readouterr().err.split())
    assert triher(*IMPORT, "--overwrite") == 3
