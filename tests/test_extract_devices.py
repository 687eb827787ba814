"""Several devices and several encoders in one pass: the same stores, one error for all, nobody waits for ever."""

import _thread
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from extract.cache import ensure_slab, read_slab
from extract.embedding import Embedder, Plan, SharedShards, embed_cohort
from extract.encoders import find_encoder
from extract.fusion import find_fusion
from extract.models import Encoder
from extract.normalization import find_normalization
from extract.pictures import Drawing, PictureRecipe, Prepared
from extract.recipe import SlabRecipe
from extract.shards import Job, Lane
from extract.slabbing import in_threads
from extract.stage import extract
from triher.config import read_config
from triher.errors import SkipPatient, Skipped
from triher.progress import Reporter
from triher.runfolder import RunFolder
from triher.settings import Config
from triher.store import Header, read_index
from triher.tables import write_table

QUIET = Reporter(quiet=True)
PHASES = ("pre", "early", "late")
RECIPE = PictureRecipe(
    find_normalization("clip98-volume"), tuple(find_fusion(f, PHASES) for f in ("rgb", "wash-in")), "all", 8
)
PLAN = Plan(batch_size=5, shard_patients=1, readers=2)
WAIT_S = 30


@pytest.fixture
def jobs(tmp_path, write_exam) -> list[Job]:
    found = []
    for i in range(8):
        patient = write_exam(f"P{i}", seed=i, shape=(26, 24, 8 + i % 3)).patient
        entry = ensure_slab(tmp_path / "slabs", patient, SlabRecipe("box", 5.0))
        found.append(Job(patient.patient_id, patient.cohort, entry.path, entry.sha256))
    return found


class Wrapped:
    """An encoder with hooks; the probe goes past them."""

    def __init__(self, name: str = "toy", *, before_prepare=None, before_embed=None, after_embed=None) -> None:
        self.inner = Encoder(find_encoder(name), Path("none"), torch.device("cpu"))
        self.name, self.remarks = name, []
        self.hooks = (before_prepare, before_embed, after_embed)
        self.n_prepared = self.n_embedded = 0
        self.lock = threading.Lock()

    def prepare(self, drawing: Drawing) -> Prepared:
        if self.hooks[0]:
            self.hooks[0](drawing)
        with self.lock:
            self.n_prepared += 1
        return self.inner.prepare(drawing)

    def embed(self, inputs, masks):
        self.n_embedded += 1
        if self.hooks[1]:
            self.hooks[1](self)
        rows = self.inner.embed(inputs, masks)
        return self.hooks[2](rows) if self.hooks[2] else rows

    def probe(self):
        return self.inner.probe()

    def memory_bytes(self, batch_size):
        return self.inner.memory_bytes(batch_size)


def lane_of(folder: Path, encoder: Wrapped) -> Lane:
    return Lane(folder / f"{encoder.name}.h5", Header(encoder.inner.spec.identity("0"), {}, {}, encoder.probe()))


def embed(jobs, folder: Path, *devices: list[Embedder], plan: Plan = PLAN) -> list[Skipped]:
    lanes = [lane_of(folder, encoder) for encoder in devices[0]]
    return embed_cohort(jobs, lanes, devices, RECIPE, plan, QUIET, 8)


@pytest.fixture
def stopped(monkeypatch) -> threading.Event:
    """Set when the devices have been told to stop."""
    told = threading.Event()
    stop = SharedShards.stop
    monkeypatch.setattr(SharedShards, "stop", lambda self: (stop(self), told.set()))
    return told


def test_the_first_error_stops_every_device_at_once_and_is_the_one_that_is_raised(
    tmp_path, toy_plugin, jobs, stopped
):
    def fail(_):
        raise ValueError("broken device")

    steady = Wrapped(before_embed=lambda _: stopped.wait(WAIT_S))
    with pytest.raises(ValueError, match="broken device"):
        embed(jobs, tmp_path, [steady], [Wrapped(before_embed=fail)])
    assert steady.n_embedded <= 4  # the batches of the patient it was at
    assert stopped.is_set()
    assert not (tmp_path / "toy.lock").exists()


@pytest.mark.fault("G18")
def test_an_interrupt_ends_all_devices_and_leaves_what_is_finished(tmp_path, toy_plugin, jobs, stopped):
    embed(jobs, tmp_path / "whole", [Wrapped()])

    def interrupt(encoder):
        if encoder.n_embedded == 4:
            _thread.interrupt_main()
        if encoder.n_embedded >= 4:
            assert stopped.wait(WAIT_S)

    with pytest.raises(KeyboardInterrupt):
        embed(jobs, tmp_path, [Wrapped(before_embed=interrupt)], [Wrapped(before_embed=interrupt)])
    assert list((tmp_path / "toy.shards").glob("*.h5"))
    embed(jobs, tmp_path, [Wrapped()])
    assert (tmp_path / "toy.h5").read_bytes() == (tmp_path / "whole" / "toy.h5").read_bytes()


def test_a_stopped_device_does_not_wait_for_a_whole_shard_of_slabs(tmp_path, toy_plugin, jobs, stopped):
    asked: list[Job] = []

    def slow_jobs() -> Iterator[Job]:
        for job in jobs:
            asked.append(job)
            if len(asked) == 4:
                assert stopped.wait(WAIT_S)
            yield job

    def fail(_):
        raise ValueError("broken device")

    # The first shard goes to one device and fails there, while the other waits for its slabs.
    plan = replace(PLAN, shard_patients=3)
    with pytest.raises(ValueError, match="broken device"):
        embed(slow_jobs(), tmp_path, [Wrapped(before_embed=fail)], [Wrapped(before_embed=fail)], plan=plan)
    assert len(asked) <= 5


def test_closing_gives_up_the_volumes_that_are_not_read_yet(write_exam):
    patient = write_exam().patient
    read: list[int] = []

    def make(_):
        time.sleep(0.01)
        read.append(1)
        return SkipPatient("mask_missing", "none")

    results = in_threads(2)(make, [patient] * 200)
    next(results)
    results.close()
    assert len(read) < 100


def test_the_first_patients_are_embedded_before_the_last_slab_is_made(tmp_path, toy_plugin, jobs):
    embedded = threading.Event()

    def slow_jobs() -> Iterator[Job]:
        yield from jobs[:-1]
        assert embedded.wait(WAIT_S)
        yield jobs[-1]

    assert embed(slow_jobs(), tmp_path, [Wrapped(before_embed=lambda _: embedded.set())]) == []
    assert len(read_index(tmp_path / "toy.h5").inputs) == 8


@pytest.mark.parametrize("readers", [1, 2])
def test_a_bounded_number_of_prepared_patients_waits(tmp_path, toy_plugin, jobs, readers):
    waiting: list[int] = []

    def look(encoder):
        # One batch a patient and view, of which two belong to the patient who is being packed.
        in_hand = (encoder.n_embedded + 1) // 2
        limit = time.monotonic() + WAIT_S
        while encoder.n_prepared < min(8, in_hand + 2 * readers) and time.monotonic() < limit:
            time.sleep(0.001)
        waiting.append(encoder.n_prepared - in_hand)

    recipe = replace(RECIPE, slice_policy="largest", n_slices=1)
    encoder = Wrapped(before_embed=look)
    plan = Plan(batch_size=1, shard_patients=8, readers=readers)
    embed_cohort(jobs, [lane_of(tmp_path, encoder)], [[encoder]], recipe, plan, QUIET, 8)
    assert max(waiting) == 2 * readers


def test_what_one_encoder_cannot_use_stays_in_the_store_of_the_other(tmp_path, toy_plugin, jobs):
    seen: list[int] = []

    def spoil(rows):
        seen.append(1)
        return rows * torch.nan if len(seen) == 1 else rows

    def refuse(drawing):
        if drawing.slab.first_slice == first:
            raise SkipPatient("mask_empty", "too small")

    embed(jobs, tmp_path / "alone", [Wrapped()])
    first = read_slab(jobs[0].slab).first_slice
    picky = Wrapped("toy-wide", before_prepare=refuse)
    skipped = embed(jobs, tmp_path, [Wrapped(), picky])
    refused = [job.patient_id for job in jobs if read_slab(job.slab).first_slice == first]
    assert [(row.patient_id, row.code) for row in skipped] == [(name, "mask_empty") for name in refused]
    assert {row.reason for row in skipped} == {"toy-wide: too small"}
    assert (tmp_path / "toy.h5").read_bytes() == (tmp_path / "alone" / "toy.h5").read_bytes()
    left = [job.patient_id for job in jobs if job.patient_id not in refused]
    assert list(read_index(tmp_path / "toy-wide.h5").inputs) == left

    skipped = embed(jobs, tmp_path / "nan", [Wrapped(), Wrapped("toy-wide", after_embed=spoil)])
    assert {row.code for row in skipped} == {"embedding_nonfinite"}
    assert all("toy-wide" in row.reason for row in skipped)
    assert (tmp_path / "nan" / "toy.h5").read_bytes() == (tmp_path / "alone" / "toy.h5").read_bytes()


def test_a_damaged_slab_is_one_row_whatever_the_number_of_encoders(tmp_path, toy_plugin, jobs):
    jobs[2].slab.write_bytes(b"damaged")
    skipped = embed(jobs, tmp_path, [Wrapped(), Wrapped("toy-wide")])
    assert [(row.patient_id, row.code) for row in skipped] == [("P2", "image_corrupt")]


@pytest.fixture
def cohort(tmp_path, write_exam) -> Path:
    rows = []
    for i in range(7):
        patient = write_exam(f"P{i}", seed=i, shape=(26, 24, 8 + i % 3)).patient
        rows.append([patient.patient_id, "A", *(str(p) for p in (*patient.phases.values(), patient.mask))])
    Path(rows[2][3]).unlink()
    write_table(tmp_path / "cohort.csv", ["patient_id", "site", "pre", "early", "late", "mask"], rows)
    (tmp_path / "config.yaml").write_text(
        "cohort: {table: cohort.csv}\nextract: {encoder: toy, batch_size: 7, shard_patients: 2}\n"
    )
    return tmp_path / "config.yaml"


def run(config_file: Path, folder: str, *overrides: str) -> RunFolder:
    config: Config = read_config(config_file, overrides)
    made = RunFolder(config_file.parent / folder)
    extract(config, made, QUIET)
    return made


def stores(folder: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.features.iterdir()}


def test_two_devices_give_the_store_of_one(cohort, toy_plugin):
    assert stores(run(cohort, "two", "extract.device=cpu,cpu")) == stores(run(cohort, "one"))


def test_encoders_in_one_pass_give_the_stores_that_each_gives_alone(cohort, toy_plugin, opened_sources):
    alone = stores(run(cohort, "one")) | stores(run(cohort, "other", "extract.encoder=toy-wide"))
    opened_sources.clear()
    together = run(cohort, "together", "extract.also=[toy-wide, toy]")
    assert stores(together) == alone
    assert len(opened_sources) == len(set(opened_sources)) == 6 * 4
    facts = together.read_record()["stages"]["extract"]
    assert (facts["n_patients"], facts["n_done"], facts["n_skipped"]) == (7, 6, 1)
    assert list(facts["also"]) == ["toy-wide"]


def test_a_second_encoder_opens_no_source_and_leaves_the_first_store_as_it_is(
    cohort, toy_plugin, opened_sources, monkeypatch
):
    alone = stores(run(cohort, "run"))
    opened_sources.clear()
    embedded: list[str] = []
    real = Encoder.embed

    def counting(self, inputs, masks=None):
        if len(inputs) != 4:  # the probe
            embedded.append(self.name)
        return real(self, inputs, masks)

    monkeypatch.setattr(Encoder, "embed", counting)
    both = stores(run(cohort, "run", "extract.also=[toy-wide]"))
    assert opened_sources == []
    assert set(embedded) == {"toy-wide"}
    assert {name: both[name] for name in alone} == alone
    assert len(both) == 2
