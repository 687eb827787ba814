"""Embedding a cohort: nothing twice, nobody lost, and a killed run ends as an uninterrupted one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from extract.builders import Network
from extract.cache import Slab, cut_slab, ensure_slab, read_slab
from extract.embedding import Plan, embed_cohort
from extract.encoder_spec import EncoderSpec
from extract.exam import read_exam
from extract.fusion import find_fusion
from extract.models import Encoder
from extract.normalization import find_normalization
from extract.pictures import Drawing, PictureRecipe, Prepared
from extract.recipe import SlabRecipe
from extract.shards import Job, Lane, cut_shards, writing
from triher.errors import Skipped, StopRun
from triher.progress import Reporter
from triher.store import Header, read_store

QUIET = Reporter(quiet=True)
PHASES = ("pre", "early", "late")
RECIPE = PictureRecipe(
    find_normalization("clip98-volume"), tuple(find_fusion(f, PHASES) for f in ("rgb", "wash-in")), "all", 8
)
SPEC = EncoderSpec("toy", "toy:build", "toy", "file:none", 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "MIT", "none")
PLAN = Plan(batch_size=5, shard_patients=3, readers=2)


class ToyModule:
    """A small convolutional encoder with fixed weights."""

    @staticmethod
    def build(spec, weights):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 5, stride=3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2))
        return Network(net, lambda batch, _masks: net(batch).flatten(1), None, is_convolutional=True)


@pytest.fixture
def toy(monkeypatch) -> Encoder:
    monkeypatch.setattr("extract.builders.import_module", lambda _: ToyModule)
    return Encoder(SPEC, Path("none"), torch.device("cpu"))


@pytest.fixture
def jobs(tmp_path, write_exam) -> list[Job]:
    found = []
    for i in range(8):
        patient = write_exam(f"P{i}", seed=i, shape=(30, 28, 8 + i)).patient
        entry = ensure_slab(tmp_path / "slabs", patient, SlabRecipe("box", 5.0))
        found.append(Job(patient.patient_id, patient.cohort, entry.path, entry.sha256))
    return found


def header(encoder: Encoder) -> Header:
    return Header(encoder.spec.identity("0" * 64), {"test": 1}, {}, encoder.probe())


def embed_with(jobs: list[Job], encoder: Encoder, made: Header, target: Path, plan: Plan = PLAN) -> list[Skipped]:
    return embed_cohort(jobs, [Lane(target, made)], [[encoder]], RECIPE, plan, QUIET, len(jobs))


def embed(jobs: list[Job], encoder: Encoder, target: Path, plan: Plan = PLAN) -> Path:
    assert embed_with(jobs, encoder, header(encoder), target, plan) == []
    return target


def prepared(job: Job) -> Prepared:
    return Drawing(read_slab(job.slab), RECIPE).pictures(SPEC.input_size)


def first_shard(jobs: list[Job], target: Path, encoder: Encoder) -> tuple[Path, tuple[Job, ...]]:
    shard = next(cut_shards(jobs, [Lane(target, header(encoder))], PLAN.shard_patients))
    return shard.paths[0], shard.jobs


def test_the_store_holds_what_a_plain_loop_gives(tmp_path, toy, jobs):
    features = read_store(embed(jobs, toy, tmp_path / "a.h5"))[1]
    assert features.patient_id == tuple(job.patient_id for job in jobs)
    for i, job in enumerate(jobs):
        given, rows = prepared(job), features.rows(i)
        np.testing.assert_array_equal(features.slice_index[rows], given.slices.index)
        for name, pictures in given.views.items():
            np.testing.assert_allclose(features.views[name][rows], toy.embed(pictures), atol=1e-6)


def test_equal_work_gives_equal_bytes(tmp_path, toy, jobs):
    first, second = embed(jobs, toy, tmp_path / "a.h5"), embed(jobs, toy, tmp_path / "b.h5")
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["a.h5", "b.h5"]


@pytest.mark.parametrize("dies_at", [1, 4, 9])
def test_a_run_that_dies_goes_on_and_gives_the_same_bytes(tmp_path, toy, jobs, monkeypatch, dies_at):
    whole = embed(jobs, toy, tmp_path / "whole.h5").read_bytes()
    target = tmp_path / "killed.h5"
    batches: list[int] = []
    real = toy.embed

    def dying(pictures, masks):
        batches.append(len(pictures))
        if len(batches) == dies_at:
            raise KeyboardInterrupt
        return real(pictures, masks)

    made = header(toy)
    monkeypatch.setattr(toy, "embed", dying)
    with pytest.raises(KeyboardInterrupt):
        embed_with(jobs, toy, made, target)
    assert not target.exists()
    kept = len(list(target.with_suffix(".shards").glob("*.h5")))
    monkeypatch.setattr(toy, "embed", real)
    embed(jobs, toy, target)
    assert target.read_bytes() == whole
    assert kept <= 3
    assert not target.with_suffix(".shards").exists()


def counted(encoder: Encoder, monkeypatch) -> list[int]:
    pictures: list[int] = []
    real: Callable = encoder.embed
    monkeypatch.setattr(encoder, "embed", lambda batch, masks: pictures.append(len(batch)) or real(batch, masks))
    return pictures


def test_finished_shards_are_not_embedded_again(tmp_path, toy, jobs, monkeypatch):
    target = tmp_path / "a.h5"
    made = header(toy)
    reference = embed(jobs, toy, tmp_path / "whole.h5").read_bytes()
    path, first = first_shard(jobs, target, toy)
    part = embed(list(first), toy, tmp_path / "part.h5")
    path.parent.mkdir()
    part.rename(path)
    pictures = counted(toy, monkeypatch)
    embed_with(jobs, toy, made, target)
    assert target.read_bytes() == reference
    slices = np.diff(read_store(target)[1].indptr)
    assert sum(pictures) == 2 * slices[3:].sum()


def test_a_new_patient_costs_only_her_own_embedding(tmp_path, toy, jobs, monkeypatch):
    target = embed(jobs[:-1], toy, tmp_path / "a.h5")
    made = header(toy)
    pictures = counted(toy, monkeypatch)
    embed_with(jobs, toy, made, target)
    features = read_store(target)[1]
    assert sum(pictures) == 2 * (features.indptr[-1] - features.indptr[-2])
    monkeypatch.undo()
    fresh = read_store(embed_again(jobs, tmp_path, monkeypatch))[1]
    for name in features.views:
        np.testing.assert_allclose(features.views[name], fresh.views[name], atol=1e-6)


def embed_again(jobs: list[Job], folder: Path, monkeypatch) -> Path:
    monkeypatch.setattr("extract.builders.import_module", lambda _: ToyModule)
    return embed(jobs, Encoder(SPEC, Path("none"), torch.device("cpu")), folder / "fresh.h5")


@pytest.mark.fault("D12")
def test_a_store_of_other_weights_under_the_name_is_left_alone(tmp_path, toy, jobs, monkeypatch):
    target = embed(jobs, toy, tmp_path / "a.h5")
    before = target.read_bytes()
    other = replace(header(toy), encoder=toy.spec.identity("1" * 64))
    pictures = counted(toy, monkeypatch)
    with pytest.raises(StopRun, match=r"a\.h5 was made with other choices: encoder\.sha256: 0+ -> 1+") as caught:
        embed_with(jobs, toy, other, target)
    assert caught.value.code == "store_stale"
    assert (target.read_bytes(), pictures) == (before, [])


@pytest.mark.fault("D12")
def test_shards_of_other_weights_are_embedded_again(tmp_path, toy, jobs, monkeypatch):
    whole = embed(jobs, toy, tmp_path / "whole.h5").read_bytes()
    target = tmp_path / "a.h5"
    other = replace(header(toy), encoder=toy.spec.identity("1" * 64))
    path, first = first_shard(jobs, target, toy)
    embed_with(list(first), toy, other, tmp_path / "part.h5")
    path.parent.mkdir()
    (tmp_path / "part.h5").rename(path)
    assert embed(jobs, toy, target).read_bytes() == whole


@pytest.mark.fault("D1")
def test_a_shard_that_vanishes_stops_the_run_and_loses_nobody(tmp_path, toy, jobs, monkeypatch):
    real, target = Lane.join, tmp_path / "a.h5"

    def losing(lane, paths, patients):
        paths[1].unlink()
        real(lane, paths, patients)

    monkeypatch.setattr(Lane, "join", losing)
    with pytest.raises(StopRun, match=r"vanished while it was made, with 3 patients: P3, P4, P5") as caught:
        embed(jobs, toy, target)
    assert caught.value.code == "store_corrupt"
    monkeypatch.undo()
    assert not target.exists()

    assert read_store(embed(jobs, toy, target))[1].patient_id == tuple(job.patient_id for job in jobs)


@pytest.mark.fault("D15")
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_a_patient_with_nan_or_infinity_is_named_and_the_others_are_done(tmp_path, toy, jobs, monkeypatch, bad):
    real, made, seen = toy.embed, header(toy), []

    def spoiling(pictures, masks):
        rows = real(pictures, masks).clone()
        if not seen:
            rows[0, 0] = bad
        seen.append(1)
        return rows

    monkeypatch.setattr(toy, "embed", spoiling)
    skipped = embed_with(jobs, toy, made, tmp_path / "a.h5")
    assert [(row.patient_id, row.code) for row in skipped] == [("P0", "embedding_nonfinite")]
    assert read_store(tmp_path / "a.h5")[1].patient_id == tuple(f"P{i}" for i in range(1, 8))


def test_a_damaged_slab_is_a_named_skip(tmp_path, toy, jobs):
    jobs[2].slab.write_bytes(b"damaged")
    skipped = embed_with(jobs, toy, header(toy), tmp_path / "a.h5")
    assert [(row.patient_id, row.code) for row in skipped] == [("P2", "image_corrupt")]


def test_nobody_left_is_a_stop(tmp_path, toy, jobs):
    jobs[0].slab.write_bytes(b"damaged")
    with pytest.raises(StopRun, match="no patient could be embedded"):
        embed_with(jobs[:1], toy, header(toy), tmp_path / "a.h5")


def test_a_second_writer_is_refused(tmp_path):
    with writing([tmp_path / "a.h5"]), pytest.raises(StopRun, match="holds") as caught, writing([tmp_path / "a.h5"]):
        pass
    assert caught.value.code == "store_locked"


def test_slabs_carry_no_patient(write_exam):
    slab: Slab = cut_slab(read_exam(write_exam("SECRET").patient), SlabRecipe("box", 5.0))
    assert "SECRET" not in repr(slab.acquisition())


def test_a_patient_skipped_before_a_kill_is_named_or_done_after_it(tmp_path, toy, jobs):
    target = tmp_path / "a.h5"
    path, first = first_shard(jobs, target, toy)
    part = embed([job for job in first if job.patient_id != "P1"], toy, tmp_path / "part.h5")
    path.parent.mkdir()
    part.rename(path)
    embed(jobs, toy, target)
    assert read_store(target)[1].patient_id == tuple(job.patient_id for job in jobs)


def test_embeddings_of_drifted_libraries_are_not_kept(tmp_path, toy, jobs, monkeypatch):
    target = embed(jobs[:-1], toy, tmp_path / "a.h5")
    drifted = replace(header(toy), probe=header(toy).probe * 1.5)
    pictures = counted(toy, monkeypatch)
    embed_with(jobs, toy, drifted, target)
    assert sum(pictures) == 2 * len(read_store(target)[1].slice_index)
