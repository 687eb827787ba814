"""Drift of an encoder: weights, libraries, transform and what it gives are told apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from extract.builders import Network
from extract.drift import measure_drift
from extract.encoders import ENCODERS, EncoderSpec
from extract.models import Encoder
from triher.cli import main
from triher.errors import StopRun
from triher.files import sha256_of_file
from triher.runfolder import library_versions
from triher.store import Header, write_store

HALF = (0.5, 0.5, 0.5)


class ToyModule:
    """A small encoder whose weights are scaled by what the file of weights says."""

    @staticmethod
    def build(spec, weights):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 5, stride=3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2))
        scale = float(weights.read_text())
        return Network(net, lambda batch, _masks: scale * net(batch).flatten(1), None, is_convolutional=True)


@pytest.fixture
def spec(tmp_path, monkeypatch) -> EncoderSpec:
    weights = tmp_path / "toy.bin"
    weights.write_text("1.0")
    spec = EncoderSpec("toy", "toy:build", "toy", f"file:{weights}", 32, HALF, HALF, "MIT", "none")
    monkeypatch.setitem(ENCODERS, "toy", spec)
    monkeypatch.setattr("extract.builders.import_module", lambda _: ToyModule)
    return spec


@pytest.fixture
def header(spec) -> Header:
    weights = Path(spec.weights.removeprefix("file:"))
    facts = spec.identity(sha256_of_file(weights))
    return Header(facts, {"n": 1}, library_versions(), Encoder(spec, weights, torch.device("cpu")).probe())


def test_the_same_machine_does_not_drift(header):
    found = measure_drift(header, device="cpu")
    assert (found.weights, found.transform, found.cosmetic, found.libraries) == ((), (), (), ())
    assert (found.probe.largest, found.probe.cosine) == (0, 1)
    assert found.is_within_tolerance
    assert found.verdict == "equal to the bit"


def test_other_weights_libraries_and_transforms_are_named(header, spec, monkeypatch, tmp_path):
    (tmp_path / "toy.bin").write_text("1.1")
    monkeypatch.setitem(ENCODERS, "toy", replace(spec, mean=(0.4, 0.5, 0.5), license="GPL"))
    found = measure_drift(replace(header, versions=header.versions | {"numpy": "1.0"}), device="cpu")
    assert found.weights[0].startswith("sha256: ")
    assert found.transform == ("mean: [0.5, 0.5, 0.5] -> [0.4, 0.5, 0.5]",)
    assert found.cosmetic == ("license: MIT -> GPL",)
    assert found.libraries == (f"numpy: 1.0 -> {np.__version__}",)
    assert 0.01 < found.probe.largest < 0.5
    assert not found.is_within_tolerance


def test_scaled_weights_drift_by_their_scale(header, tmp_path):
    (tmp_path / "toy.bin").write_text("1.25")
    found = measure_drift(header, device="cpu")
    assert found.probe.largest == pytest.approx(0.2, abs=1e-5)  # 0.25 of 1, seen from the larger
    assert found.probe.cosine == pytest.approx(1)
    assert "drifted" in found.verdict


def test_a_placed_file_of_weights_is_taken(header, tmp_path):
    folder = tmp_path / "placed"
    folder.mkdir()
    (folder / "toy.pt").write_text("1.00001")
    found = measure_drift(header, weights_dir=folder, device="cpu")
    assert found.weights
    assert found.is_within_tolerance
    assert "described differently" in found.verdict


def test_an_encoder_that_is_not_known_here(header):
    with pytest.raises(StopRun, match="unknown encoder 'toi'; did you mean 'toy'"):
        measure_drift(replace(header, encoder=header.encoder | {"name": "toi"}))


def triher(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return int(left.value.code or 0)


def test_the_command_ends_with_2_on_drift(header, make_features, tmp_path, capsys):
    content = make_features()
    write_store(tmp_path / "a.h5", header, [content], n_slices=len(content.slice_index))
    assert triher("store", "verify", tmp_path / "a.h5", "--probe", "--device", "cpu") == 0
    assert "equal to the bit" in capsys.readouterr().out
    (tmp_path / "toy.bin").write_text("2.0")
    assert triher("store", "verify", tmp_path / "a.h5", "--probe", "--device", "cpu") == 2
    text = capsys.readouterr()
    assert "sha256" in text.out
    assert "transform_drift" in text.err
