"""The commands about bundles, in process: exit codes, what they print, what they write."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from classify.bundle import read_bundle
from classify.manifest import VERSION
from classify.stage import classify
from triher.cli import main
from triher.files import sha256_of_json


def triher(*arguments: str | Path) -> int:
    """Run a command and return its exit code."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.fixture(autouse=True)
def wide(monkeypatch) -> None:
    """A terminal in which no cell is folded."""
    monkeypatch.setenv("COLUMNS", "250")


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Where the one trained bundle of these tests lies."""
    return tmp_path_factory.mktemp("kept") / "bundle"


@pytest.fixture
def bundle(make_study, kept, tmp_path) -> Path:
    """A bundle to change; it is trained once and copied."""
    if not kept.exists():
        made = make_study(n=24)
        assert classify(*made)
        shutil.copytree(made.run.bundle, kept)
    return Path(shutil.copytree(kept, tmp_path / "bundle"))


def forge(folder: Path, **changes) -> None:
    """Change the manifest and give it a new hash of itself."""
    path = folder / "manifest.json"
    tree = json.loads(path.read_text())
    tree.pop("sha256")
    tree |= changes
    path.write_text(json.dumps({**tree, "sha256": sha256_of_json(tree)}))


@pytest.mark.parametrize("command", ["info", "card", "pack"])
def test_every_command_has_help_with_an_example(capsys, command):
    assert triher("bundle", command, "--help") == 0
    assert f"Example: triher bundle {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["info"], ["card"], ["card", "--out", "x.md"], ["pack", "x.zip"]], ids=str)
def test_a_bundle_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    assert triher("bundle", command[0], "none", *command[1:]) == 2
    text = capsys.readouterr().err
    assert "cannot read none" in text
    assert "[bundle_corrupt]" in text
    assert text.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_info_says_what_a_bundle_is_and_that_it_works(bundle, capsys):
    assert triher("bundle", "info", bundle) == 0
    text = capsys.readouterr().out
    for expected in (
        f"triher-bundle version {VERSION}",
        "24 patients: 8 zero, 8 low, 8 positive",
        "toy",
        "logistic: C ",
        "24: mean of rgb",
        "threshold: zero vs low+positive",
        "spacing_row_mm 0.6",
        "reproduced, within 1e-05",
        "as at the training",
        f"{len(list(bundle.iterdir()))} files, 0.0",
    ):
        assert expected in text
    assert "NEGATIVE CONTROL" not in text


def test_info_stops_at_a_bundle_that_predicts_something_else(bundle, capsys):
    forge(bundle, temperature=3.0)
    assert triher("bundle", "info", bundle) == 2
    assert "[bundle_drift]" in capsys.readouterr().err


@pytest.mark.fault("G7")
def test_info_names_libraries_that_changed(bundle, capsys):
    versions = json.loads((bundle / "manifest.json").read_text())["versions"]
    forge(bundle, versions=versions | {"xgboost": "1.7.6"})
    assert triher("bundle", "info", bundle) == 0
    assert f"xgboost 1.7.6, here {versions['xgboost']}" in capsys.readouterr().out


def test_a_negative_control_says_so(bundle, capsys):
    training = json.loads((bundle / "manifest.json").read_text())["training"]
    forge(bundle, training=training | {"labels_shuffled": True})
    assert triher("bundle", "info", bundle) == 0
    assert "NEGATIVE CONTROL" in capsys.readouterr().out


def test_the_card_is_printed_or_written_and_replaces_nothing(bundle, tmp_path, capsys):
    assert triher("bundle", "card", bundle) == 0
    text = capsys.readouterr().out
    assert text.startswith("# Model card")
    out = tmp_path / "MODEL_CARD.md"
    assert triher("bundle", "card", bundle, "--out", out) == 0
    assert out.read_text(encoding="utf-8") == text
    out.write_text("mine")
    assert triher("bundle", "card", bundle, "--out", out) == 2
    assert "already there" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert triher("bundle", "card", bundle, "--out", out, "--overwrite") == 0
    assert out.read_text(encoding="utf-8") == text


def test_pack_writes_one_zip_and_replaces_nothing(bundle, tmp_path, capsys):
    out = tmp_path / "her2.zip"
    assert triher("bundle", "pack", bundle, out) == 0
    assert f"{len(list(bundle.iterdir()))} files" in capsys.readouterr().out
    with zipfile.ZipFile(out) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            path.name: path.read_bytes() for path in bundle.iterdir()
        }
    before = out.read_bytes()
    assert triher("bundle", "pack", bundle, out) == 2
    assert "already there" in capsys.readouterr().err
    assert triher("bundle", "pack", bundle, out, "--overwrite") == 0
    assert out.read_bytes() == before
    assert triher("bundle", "pack", bundle, tmp_path / "her2") == 2
    assert "ends in .zip" in capsys.readouterr().err


def test_a_zip_is_a_bundle_wherever_a_folder_is_one(bundle, tmp_path, capsys):
    zipped, again = tmp_path / "her2.zip", tmp_path / "again.zip"
    assert triher("bundle", "pack", bundle, zipped) == 0
    assert triher("bundle", "pack", zipped, again) == 0
    assert again.read_bytes() == zipped.read_bytes()
    capsys.readouterr()
    outputs = []
    for path in (bundle, zipped):
        assert triher("bundle", "info", path) == 0
        assert triher("bundle", "card", path) == 0
        outputs.append(capsys.readouterr().out.replace(str(path), "").split())
    assert outputs[0] == outputs[1]
    folder, file = read_bundle(bundle), read_bundle(zipped)
    assert folder.training == file.training
    assert folder.model.fitted.to_bytes() == file.model.fitted.to_bytes()


def test_a_damaged_bundle_is_not_packed(bundle, tmp_path, capsys):
    path = bundle / "probe.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert triher("bundle", "pack", bundle, tmp_path / "her2.zip") == 2
    assert "[bundle_tampered]" in capsys.readouterr().err
    assert not (tmp_path / "her2.zip").exists()


def test_a_bundles_text_is_never_read_as_markup(bundle, capsys):
    forge(bundle, encoder={"name": "[red]toy[/red]"})
    assert triher("bundle", "info", bundle) == 0
    assert "[red]toy[/red]" in capsys.readouterr().out
