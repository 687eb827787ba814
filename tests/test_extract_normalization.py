"""Normalizing the slab equals normalizing the volume, to the bit, for every entry of the table."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.exposure import equalize_adapthist

from extract.cache import cut_slab
from extract.exam import read_exam
from extract.histograms import Histogram, count
from extract.landmarks import PERCENTILES, StandardScale, fit_standard_scale, foreground_landmarks, standardize
from extract.normalization import NORMALIZATIONS, find_normalization, normalize
from extract.recipe import SlabRecipe
from extract.regions import lesion_box
from extract.scaling import scale
from triher.errors import StopRun

RECIPE = SlabRecipe("box", 5.0)
INTERVALS = sorted(name for name, how in NORMALIZATIONS.items() if how.method != "nyul")


@pytest.fixture
def exam(write_exam):
    return read_exam(write_exam().patient)


@pytest.fixture
def slab(exam):
    return cut_slab(exam, RECIPE)


@pytest.mark.parametrize("name", INTERVALS)
def test_normalizing_the_slab_equals_normalizing_the_volume_to_the_bit(exam, slab, name):
    method, scope = name.split("-", 1)
    chosen = np.array([0, 2, 3])
    box = lesion_box(exam.mask, exam.spacing_mm, RECIPE.margin_mm)
    expected = np.empty((3, 3, *slab.voxels.shape[2:]), np.uint8)
    for phase in range(3):
        for position, index in enumerate(chosen + box.slices[0]):
            source = reference_voxels(exam, phase, index, scope)
            low, high = reference_interval(source, method)
            inside = exam.voxels[phase, index][box.index()[1:]].astype(np.float64)
            picture = np.rint(255 * np.clip((inside - low) / (high - low), 0, 1)).astype(np.uint8)
            if method == "clahe":
                picture = np.rint(255 * equalize_adapthist(picture)).astype(np.uint8)
            expected[phase, position] = picture
    found = normalize(slab, find_normalization(name), chosen)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(normalize(slab, find_normalization(name), chosen), found)


def reference_voxels(exam, phase: int, index: int, scope: str) -> np.ndarray:
    voxels = exam.voxels
    return {
        "slice": voxels[phase, index],
        "volume": voxels[phase],
        "joint": voxels,
        "pre": voxels[0],
        "mask": voxels[phase][exam.mask],
        "mask-joint": voxels[:, exam.mask],
    }[scope]


def reference_interval(source: np.ndarray, method: str) -> tuple[float, float]:
    if method == "zscore":
        # moments are summed value by value, so the last bits depend on the order of summation
        values, counts = np.unique(source, return_counts=True)
        mean = (values.astype(float) * counts).sum() / counts.sum()
        deviation = np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum())
        np.testing.assert_allclose((mean, deviation), (source.mean(), source.std()), rtol=1e-12)
        return mean - 3 * deviation, mean + 3 * deviation
    quantiles = {
        "minmax": (0, 1), "clip95": (0, 0.95), "clip98": (0, 0.98), "clip99": (0, 0.99), "clip995": (0, 0.995),
        "percentile99": (1 - 0.99, 0.99), "percentile995": (1 - 0.995, 0.995), "clahe": (1 - 0.995, 0.995),
    }  # fmt: skip
    low, high = np.quantile(source, quantiles[method])
    return float(low), float(high)


@settings(max_examples=60, deadline=None)
@given(arrays(np.int16, (2, 3, 2, 4)), st.floats(-4e4, 4e4), st.floats(0, 7e4))
def test_scaling_is_that_of_numpy_to_the_bit(voxels, low, width):
    intervals = np.full((2, 2, 2), low) + np.array([0, width])
    found = scale(voxels, np.array([2, 0]), intervals)
    high = intervals[0, 0, 1]
    for phase in range(2):
        for position, index in enumerate((2, 0)):
            share = np.zeros((2, 4))
            if high > low:
                with np.errstate(over="ignore"):  # infinity is clipped, too
                    share = np.clip((voxels[phase, index].astype(float) - low) / (high - low), 0, 1)
            np.testing.assert_array_equal(found[phase, position], np.rint(255 * share))


def test_what_the_phases_keep_depends_on_the_scope(slab):
    everything = np.arange(slab.voxels.shape[1])
    for name in ("minmax-joint", "zscore-joint", "clip995-pre", "minmax-mask-joint"):
        scaled = normalize(slab, find_normalization(name), everything)
        pre, early, late = (float(phase[slab.mask].mean()) for phase in scaled)
        assert pre < late <= early
    by_mask = normalize(slab, find_normalization("minmax-mask"), everything)
    assert [(phase[slab.mask].min(), phase[slab.mask].max()) for phase in by_mask] == [(0, 255)] * 3


def test_a_constant_slice_is_black_whatever_the_method(slab):
    flat = replace(slab, slice_histograms=tuple((count(np.zeros(9, np.int16)),) for _ in range(3)))
    for name in ("minmax-slice", "zscore-slice", "clahe-slice"):
        assert not normalize(flat, find_normalization(name), np.array([0])).any()


@pytest.mark.parametrize("shape", [(2, 2), (3, 9), (5, 4), (17, 6)])
def test_clahe_takes_regions_of_any_size(slab, shape):
    voxels = np.random.default_rng(0).integers(0, 900, (3, 1, *shape)).astype(np.int16)
    small = replace(slab, voxels=voxels, mask=np.ones((1, *shape), bool))
    found = normalize(small, find_normalization("clahe-mask"), np.array([0]))
    assert found.shape == voxels.shape
    assert found.any()


def test_an_unknown_normalization_lists_the_nearest():
    with pytest.raises(StopRun, match="did you mean 'clip98-volume'"):
        find_normalization("clip98_volume")


# Nyul's standard scale

volumes = st.lists(
    arrays(np.int16, st.integers(20, 200)).filter(lambda a: len(np.unique(a)) > 5), min_size=2, max_size=6
)


def reference_landmarks(volume: np.ndarray) -> np.ndarray:
    return np.percentile(volume[volume > volume.mean()].astype(float), PERCENTILES)


def test_landmarks_are_percentiles_of_the_voxels_above_the_mean():
    volume = np.random.default_rng(0).gamma(2, 100, (9, 30, 30)).astype(np.int16)
    np.testing.assert_allclose(foreground_landmarks(count(volume)), reference_landmarks(volume), atol=1e-9)


def test_the_standard_scale_is_the_mean_of_all_volumes_brought_to_one_range():
    rng = np.random.default_rng(0)
    images = [[rng.gamma(k, 100 * k, 4000).astype(np.int16) for _ in range(3)] for k in (1, 2, 3)]
    places = []
    for volume in (v for phases in images for v in phases):
        marks = reference_landmarks(volume)
        places.append(np.interp(marks, marks[[0, -1]], [25.5, 229.5]))
    found = fit_standard_scale([[count(v) for v in phases] for phases in images])
    np.testing.assert_allclose(found.landmarks, np.mean(places, axis=0), atol=1e-9)
    assert StandardScale(tuple(json.loads(json.dumps(found.landmarks)))) == found


@settings(max_examples=40, deadline=None)
@given(volumes, st.randoms())
def test_the_order_of_patients_does_not_matter(images, random):
    patients = [[count(image)] for image in images]
    try:
        first = fit_standard_scale(patients)
    except StopRun:
        return
    random.shuffle(patients)
    assert fit_standard_scale(patients) == first


@settings(max_examples=40, deadline=None)
@given(arrays(np.int16, st.integers(20, 300)).filter(np.ptp))
def test_standardizing_keeps_the_order_of_brightness(image):
    standard = StandardScale(tuple(float(place) for place in range(20, 240, 20)))
    mapped = standardize(image, count(image), standard)
    assert (np.diff(mapped[np.argsort(image, kind="stable")].astype(int)) >= 0).all()
    as_floats = standardize(image.astype(np.float32), count(image.astype(np.float32)), standard)
    np.testing.assert_array_equal(as_floats, mapped)


def test_landmarks_arrive_where_the_standard_scale_has_them_and_lines_go_on_outside():
    image = np.arange(1001, dtype=np.int16)
    standard = StandardScale((30.0, 50.0, 60.0, 70.0, 80.0, 100.0, 120.0, 140.0, 160.0, 180.0, 230.0))
    marks = foreground_landmarks(count(image))
    np.testing.assert_allclose(marks[[0, 5, 10]], np.percentile(np.arange(501, 1001), [1, 50, 99]))
    mapped = standardize(image, count(image), standard)
    assert mapped[round(marks[5])] == 100
    slope = (50 - 30) / (marks[1] - marks[0])
    assert mapped[480] == round(30 + (480 - marks[0]) * slope)
    assert mapped[1000] == round(230 + (1000 - marks[10]) * (230 - 180) / (marks[10] - marks[9]))
    assert mapped[0] == 0


def test_gain_and_offset_of_a_scanner_vanish(slab):
    standard = fit_standard_scale([slab.volume_histograms])
    other = replace(
        slab,
        voxels=slab.voxels * 3 + 70,
        volume_histograms=tuple(Histogram(h.values * 3 + 70, h.counts) for h in slab.volume_histograms),
    )
    how, chosen = find_normalization("nyul-volume"), np.arange(4)
    found, expected = (normalize(s, how, chosen, standard).astype(int) for s in (other, slab))
    assert np.abs(found - expected).max() <= 1


def test_nyul_without_a_standard_scale_says_what_to_do(slab):
    with pytest.raises(StopRun, match=r"fit it on the training patients") as caught:
        normalize(slab, find_normalization("nyul-volume"), np.array([0]))
    assert caught.value.code == "scale_missing"
    with pytest.raises(StopRun, match="no training patient"):
        fit_standard_scale([])


@pytest.mark.parametrize("landmarks", [(1.0, 2.0), tuple(float(i) for i in range(11, 0, -1)), (float("nan"),) * 11])
def test_what_is_no_standard_scale_is_refused(landmarks):
    with pytest.raises(StopRun, match=r"extract\.standard_scale: 11 ascending numbers"):
        StandardScale(landmarks)
