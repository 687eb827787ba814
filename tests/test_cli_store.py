"""The commands about feature stores, in process: exit codes, what they print, what they write."""

import dataclasses
import json
import os
import socket
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from triher.cli import main
from triher.cli_store import FORMATS
from triher.owners import this_process
from triher.store import Features, Header, read_index, write_store

HEADER = Header(
    {"name": "toy", "sha256": "ab" * 32, "license": "MIT", "citation": "arXiv 1905.11946", "input_size": 32},
    {"slices": {"n": 8}},
    {"numpy": "2.4"},
    np.ones((2, 4), np.float32),
)


def triher(*arguments: str | Path) -> int:
    """Run a command and return its exit code."""
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


@pytest.fixture(autouse=True)
def wide(monkeypatch) -> None:
    """A terminal in which no cell is folded."""
    monkeypatch.setenv("COLUMNS", "250")


@pytest.fixture
def features(make_features) -> Features:
    return make_features(n=6, views=("pre", "rgb"))


@pytest.fixture
def store(features, tmp_path) -> Path:
    return write(tmp_path / "a.h5", features)


def write(path: Path, content: Features, header: Header = HEADER) -> Path:
    write_store(path, header, [content], n_slices=len(content.slice_index))
    return path


@pytest.mark.parametrize("command", ["info", "verify", "repair", "diff", "merge", "export"])
def test_every_command_has_help_with_an_example(capsys, command):
    assert triher("store", command, "--help") == 0
    assert f"Example: triher store {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "none.h5"],
        ["verify", "none.h5"],
        ["repair", "none.h5"],
        ["diff", "none.h5", "none.h5"],
        ["merge", "out.h5", "none.h5", "none2.h5"],
        ["export", "none.h5", "--to", "parquet", "--out", "x.parquet"],
        ["export", "none.h5", "--to", "clam", "--out", "bags"],
    ],
    ids=lambda arguments: " ".join(arguments[:1]),
)
def test_a_file_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert triher("store", *arguments) == 2
    text = capsys.readouterr().err
    assert "there is no file none.h5 [file_unreadable]" in text
    assert text.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_of_a_folder_its_stores_are_named(store, capsys):
    assert triher("store", "info", store.parent) == 2
    text = capsys.readouterr().err
    assert "is a folder, no feature store" in text
    assert str(store) in text


def test_info_says_all_that_a_store_says_of_itself(store, features, capsys):
    assert triher("store", "info", store) == 0
    text = capsys.readouterr().out
    lengths = np.diff(features.indptr)
    for expected in (
        f"{lengths.min()} to {lengths.max()}, median {np.median(lengths):g}",
        "pre, rgb",
        "n_slices, spacing_row_mm",
        "MB",
        "MIT",
        "arXiv 1905.11946",
        "'n': 8",
        "numpy 2.4",
        HEADER.identity,
        read_index(store).content,
    ):
        assert expected in text


def test_verify_shows_remarks_and_half_precision(store, features, capsys):
    def halve(file):
        rows = file["views/rgb/embeddings"][:]
        rows[features.rows(2).start] = 0
        del file["views/rgb/embeddings"]
        file["views/rgb/embeddings"] = rows.astype("<f2")

    with h5py.File(store, "r+") as file:
        halve(file)
    assert triher("store", "info", store) == 0
    assert "rgb (float16)" in capsys.readouterr().out
    assert triher("store", "verify", store) == 2  # float16 of numbers that were float32
    text = capsys.readouterr()
    assert "store_half" in text.out
    assert "6 of 6 patients differ from their checksums" in text.err


@pytest.mark.fault("D20")
def test_a_newer_store_says_what_to_do(store, capsys):
    with h5py.File(store, "r+") as file:
        file.attrs["version"] = 2
    assert triher("store", "verify", store) == 2
    assert "has version 2; this TriHER reads up to 1 [store_version] -> update TriHER" in capsys.readouterr().err


def test_diff_ends_like_diff(store, features, tmp_path, capsys):
    assert triher("store", "diff", store, store) == 0
    assert capsys.readouterr().out.endswith("equal\n")
    views = {name: rows * np.float32(1 + 1e-4) for name, rows in features.views.items()}
    other = write(tmp_path / "b.h5", dataclasses.replace(features, views=views).select(range(5)))
    assert triher("store", "diff", store, other) == 1
    text = capsys.readouterr().out
    assert "only in A: 1" in text
    assert "other embeddings: 5" in text
    assert "largest relative difference 0.0001, least cosine 1.000000" in text
    assert triher("store", "diff", store, write(tmp_path / "c.h5", dataclasses.replace(features, views=views))) == 1
    assert triher("store", "diff", store, tmp_path / "c.h5", "--tolerance", "1e-3") == 0


def test_merge_writes_one_store_and_replaces_nothing(store, features, tmp_path, capsys):
    out = tmp_path / "all.h5"
    more = write(tmp_path / "b.h5", dataclasses.replace(features.select([0]), patient_id=("NEW",)))
    assert triher("store", "merge", out, store, more) == 0
    text = capsys.readouterr().out
    assert "7 patients" in text
    assert "SUBJECT-000 and NEW have the same images" in text
    before = out.read_bytes()
    assert triher("store", "merge", out, store, store) == 2
    assert "already there" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert triher("store", "merge", out, store, store, "--overwrite") == 0
    assert "kept once: SUBJECT-000, SUBJECT-001" in capsys.readouterr().out
    assert out.read_bytes() == store.read_bytes()
    assert triher("store", "merge", tmp_path / "x.h5", store) == 2


@pytest.mark.fault("D13")
def test_mixed_stores_name_what_differs(store, features, tmp_path, capsys):
    other = dataclasses.replace(HEADER, recipe={"slices": {"n": 2}})
    mixed = write(tmp_path / "b.h5", features, other)
    assert triher("store", "merge", tmp_path / "all.h5", store, mixed) == 2
    text = capsys.readouterr().err
    assert "recipe.slices.n: 8 -> 2 [store_mixed] -> extract all of them with one configuration" in text


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_written(store, tmp_path, capsys, form):
    out = tmp_path / "out"
    assert triher("store", "export", store, "--to", form, "--out", out, "--view", "rgb") == 0
    assert str(out) in capsys.readouterr().out
    assert out.exists()
    if form in ("parquet", "h5ad"):
        before = out.read_bytes()
        assert triher("store", "export", store, "--to", form, "--out", out) == 2
        assert out.read_bytes() == before
        assert triher("store", "export", store, "--to", form, "--out", out, "--overwrite") == 0


def test_an_unknown_format_names_the_nearest(store, tmp_path, capsys):
    assert triher("store", "export", store, "--to", "parket", "--out", tmp_path / "x") == 2
    assert "unknown format 'parket'; did you mean 'parquet'" in capsys.readouterr().err


def test_a_missing_library_names_the_extra(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("triher.cli_store.find_spec", lambda _: None)
    assert triher("store", "export", store, "--to", "h5ad", "--out", tmp_path / "x") == 2
    assert "pip install 'triher[export]'" in capsys.readouterr().err


@pytest.mark.fault("D7", "D8")
def test_repair_waits_for_nobody_and_takes_over_from_the_dead(store, capsys):
    lock = store.with_suffix(".lock")
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    assert triher("store", "repair", store) == 2
    text = capsys.readouterr().err
    assert f"process {os.getpid()} on host {socket.gethostname()} holds {lock} [store_locked]" in text
    assert f"remove {lock}" in text
    lock.write_text(json.dumps(asdict(replace(this_process(), pid=2**22 + 1))))
    assert triher("store", "repair", store) == 0
    assert not lock.exists()


def test_a_commands_text_is_never_read_as_markup(features, tmp_path, capsys):
    odd = dataclasses.replace(HEADER, encoder=HEADER.encoder | {"name": "[red]toy[/red]"})
    assert triher("store", "info", write(tmp_path / "a.h5", features, odd)) == 0
    assert "[red]toy[/red]" in capsys.readouterr().out
