"""Every picture comes once an epoch, or every class alike, and what reaches the device is what lies on the host."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extract.training.feeding import Feed, OnDevice, OnHost, place
from extract.training.material import Lesson, Material
from extract.training.orders import cut, epoch_order, slices_of

CPU = torch.device("cpu")
N_SLICES = (1, 2, 6, 3, 1, 9, 2, 2, 4, 5)  # of each patient
Y = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])


def make_material(side=4) -> Material:
    patient = np.repeat(np.arange(10), N_SLICES)
    pixels = np.random.default_rng(0).integers(0, 256, (len(patient), 3, side, side), dtype=np.uint8)
    return Material(pixels, patient, Y, np.stack([Y - 1, Y % 2], axis=1))


LESSON = Lesson("one", np.array([0, 2, 3, 5, 6, 8]), np.array([1, 9]), 5)


def test_every_picture_comes_once_and_each_epoch_has_its_own_order():
    material = make_material()
    orders = [epoch_order(material, LESSON, epoch, balanced=False) for epoch in (1, 2)]
    own = slices_of(material, LESSON.train)
    assert own.tolist() == [0, *range(3, 12), *range(13, 24), *range(26, 30)]
    assert all(np.array_equal(np.sort(order), own) for order in orders)
    assert not np.array_equal(*orders)
    assert np.array_equal(epoch_order(material, LESSON, 2, balanced=False), orders[1])
    assert not np.array_equal(epoch_order(material, replace(LESSON, seed=6), 1, balanced=False), orders[0])


def test_balanced_draws_bring_classes_alike_and_patients_alike_within_them():
    material = make_material()
    drawn = [epoch_order(material, LESSON, epoch, balanced=True) for epoch in range(1, 401)]
    assert {len(order) for order in drawn} == {25}
    pictures = np.concatenate(drawn)
    patients = material.patient[pictures]
    n = len(patients)
    expected = {0: 1 / 9, 2: 1 / 9, 3: 1 / 9, 5: 1 / 6, 6: 1 / 6, 8: 1 / 3}
    assert set(patients.tolist()) == set(expected)
    for patient, share in expected.items():
        assert np.mean(patients == patient) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / n))
        own = np.flatnonzero(material.patient == patient)
        counts = np.array([np.sum(pictures == one) for one in own])
        assert counts.std() < 4 * np.sqrt(counts.mean())


@settings(deadline=None, max_examples=50)
@given(n=st.integers(1, 200), size=st.integers(1, 40), world=st.integers(1, 4))
def test_batches_are_even_and_the_devices_share_each(n, size, world):
    ranks = [cut(np.arange(n), size, rank, world) for rank in range(world)]
    whole = cut(np.arange(n), size)
    lengths = [len(part.slices) for part in whole]
    assert sum(lengths) == n
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1
    for batch, shares in zip(whole, zip(*ranks, strict=True), strict=True):
        assert sorted(np.concatenate([share.slices for share in shares])) == batch.slices.tolist()
        # The mean over the devices of weight x mean is the mean of the batch.
        means = [share.weight * share.slices.mean() for share in shares if len(share.slices)]
        assert sum(means) / world == pytest.approx(batch.slices.mean())


@pytest.mark.parametrize("resident", ["auto", "device", "host"])
def test_what_reaches_the_device_is_what_lies_on_the_host(resident, tmp_path):
    material = make_material()
    np.save(tmp_path / "pixels.npy", material.pixels)
    mapped = replace(material, pixels=np.load(tmp_path / "pixels.npy", mmap_mode="r"))
    pictures = place(mapped.pixels, CPU, resident, 4)
    assert isinstance(pictures, OnDevice if resident == "device" else OnHost)

    def parts(epoch):
        return cut(epoch_order(material, LESSON, epoch, balanced=False), 4)

    feed = Feed(pictures, mapped, CPU, parts)
    assert len(feed) == 7
    for epoch in (1, 2):
        feed.epoch = epoch
        for step, (batch, part) in enumerate(zip(feed, parts(epoch), strict=True)):
            assert batch.step == step
            assert np.array_equal(batch.pictures.numpy(), material.pixels[part.slices])
            assert np.array_equal(batch.y.numpy(), Y[material.patient[part.slices]])
            assert np.array_equal(batch.tasks.numpy(), material.tasks[material.patient[part.slices]])


def test_an_epoch_that_is_given_up_leaves_no_thread_behind():
    material = make_material()
    feed = Feed(place(material.pixels, CPU, "host", 2), material, CPU, lambda _: cut(np.arange(30), 2))
    batches = iter(feed)
    first = next(batches)
    assert len(first.pictures) == 2
    batches.close()
    assert len(list(feed)) == 15
