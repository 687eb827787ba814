"""Batches, shards and readers change nothing that matters: a property, for random cohorts."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extract.builders import Network
from extract.cache import Slab, write_slab
from extract.embedding import Plan, embed_cohort
from extract.encoder_spec import EncoderSpec
from extract.fusion import find_fusion
from extract.histograms import count
from extract.models import Encoder
from extract.normalization import find_normalization
from extract.pictures import PictureRecipe
from extract.shards import Job, Lane
from triher.progress import Reporter
from triher.store import Features, Header, read_store

PHASES = ("pre", "early", "late")
RECIPE = PictureRecipe(
    find_normalization("clip98-volume"), tuple(find_fusion(f, PHASES) for f in ("rgb", "late-pre")), "all", 8
)
SPEC = EncoderSpec("toy", "toy:build", "toy", "file:none", 16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "MIT", "none")
MOST_SLICES = 9
plans = st.builds(Plan, st.integers(1, 20), st.integers(1, 7), st.integers(1, 3))


@pytest.fixture(scope="module")
def slabs(tmp_path_factory) -> dict[int, Path]:
    """For each number of slices a slab with lesion in all of them."""
    rng = np.random.default_rng(0)
    made = {}
    for n in range(1, MOST_SLICES + 1):
        voxels = rng.integers(0, 1000, (3, n, 11, 8)).astype(np.int16)
        mask = np.zeros((n, 11, 8), bool)
        mask[:, 3:7, 2 : 3 + n % 5] = True
        volumes = tuple(count(phase) for phase in voxels)
        slices = tuple([count(part) for part in phase] for phase in voxels)
        slab = Slab(PHASES, voxels, mask, volumes, slices, n, (2.0, 0.9, 1.1), "axial", (20, 40, 40))
        made[n] = tmp_path_factory.mktemp("slabs") / f"{n}.safetensors"
        write_slab(made[n], slab)
    return made


@cache
def encoder() -> Encoder:
    """A small convolutional network."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 5, stride=3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1))
    network = Network(net, lambda batch, _masks: net(batch).flatten(1), None, is_convolutional=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("extract.models.build", lambda _spec, _weights: network)
        return Encoder(SPEC, Path("none"), torch.device("cpu"))


def embed(slabs: dict[int, Path], lengths: list[int], plan: Plan, folder: Path) -> Path:
    jobs = [Job(f"P{i}", "A", slabs[n], f"{i:064d}") for i, n in enumerate(lengths)]
    target = folder / "store.h5"
    lane = Lane(target, Header(SPEC.identity("0"), {}, {}, encoder().probe()))
    assert embed_cohort(jobs, [lane], [[encoder()]], RECIPE, plan, Reporter(quiet=True), len(jobs)) == []
    return target


def features(path: Path) -> Features:
    return read_store(path)[1]


@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(1, MOST_SLICES), min_size=1, max_size=9), plan=plans)
def test_the_store_is_that_of_single_pictures_and_equal_plans_give_equal_bytes(slabs, lengths, plan):
    with TemporaryDirectory() as name:
        folder = Path(name)
        first = embed(slabs, lengths, plan, folder / "first")
        again = embed(slabs, lengths, plan, folder / "again")
        readers = embed(slabs, lengths, Plan(plan.batch_size, plan.shard_patients, 4 - plan.readers), folder / "more")
        assert first.read_bytes() == again.read_bytes() == readers.read_bytes()
        found, single = features(first), features(embed(slabs, lengths, Plan(1, 1, 1), folder / "single"))
    assert found.patient_id == single.patient_id == tuple(f"P{i}" for i in range(len(lengths)))
    np.testing.assert_array_equal(np.diff(found.indptr), lengths)
    np.testing.assert_array_equal(found.slice_index, single.slice_index)
    for view in ("rgb", "late-pre"):
        np.testing.assert_allclose(found.views[view], single.views[view], atol=1e-6)
