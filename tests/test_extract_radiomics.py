"""Radiomics features agree with other implementations, do not depend on where a lesion lies, and are never NaN."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.ndimage import label
from skimage.feature import graycomatrix, graycoprops

from extract.radiomics.features import feature_names, radiomics_features
from extract.radiomics.neighbors import cooccurrences, lay_out, runs, zones
from extract.radiomics.region import discretize, filtered, prepare
from extract.radiomics.settings import RadiomicsSettings
from triher.errors import SkipPatient, StopRun

SPACING_MM = (1.5, 0.8, 0.7)
AS_SCANNED = RadiomicsSettings(resample_mm=None)
SETTINGS = {
    "resampled": RadiomicsSettings(),
    "as scanned": AS_SCANNED,
    "averaged": RadiomicsSettings(resample_mm=None, merged=False),
    "in the plane": RadiomicsSettings(dimensions=2),
    "filtered": RadiomicsSettings(filters=("original", "log-1.5mm")),
}


def ellipsoid(shape: tuple[int, int, int]) -> np.ndarray:
    center = (np.array(shape) - 1) / 2
    radius = np.moveaxis(np.indices(shape), 0, -1) - center
    return ((radius / (center + 0.5)) ** 2).sum(axis=-1) <= 1


def lesion(shape: tuple[int, int, int] = (7, 12, 10), margin: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """Noise with an ellipsoid, all of it with a margin of noise."""
    mask = np.pad(ellipsoid(shape), margin)
    voxels = np.random.default_rng(3).integers(100, 900, mask.shape).astype(np.int16)
    return voxels, mask


def features(voxels, mask, spacing_mm=SPACING_MM, how=AS_SCANNED) -> dict[str, float]:
    found = radiomics_features(voxels, mask, spacing_mm, how)
    assert found.dtype == np.float32
    return dict(zip(feature_names(how), found.tolist(), strict=True))


def assert_equal(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found.keys() == expected.keys()
    odd = {
        name: (found[name], expected[name]) for name in found if found[name] != pytest.approx(expected[name], 2e-4)
    }
    assert odd == {}


def test_moments_are_those_of_scipy():
    voxels, mask = lesion()
    values = voxels[mask].astype(float)
    found = features(voxels, mask)
    assert found["intensity_mean"] == pytest.approx(values.mean())
    assert found["intensity_variance"] == pytest.approx(values.var())
    assert found["intensity_skewness"] == pytest.approx(stats.skew(values), rel=1e-5)
    assert found["intensity_excess_kurtosis"] == pytest.approx(stats.kurtosis(values), rel=1e-5)
    assert found["intensity_percentile_90"] == pytest.approx(np.percentile(values, 90))
    assert found["intensity_interquartile_range"] == pytest.approx(stats.iqr(values))
    share = np.bincount(discretize(values, AS_SCANNED)) / len(values)
    assert found["histogram_entropy"] == pytest.approx(stats.entropy(share, base=2))


def test_cooccurrences_are_those_of_scikit_image():
    levels = np.random.default_rng(0).integers(1, 9, (1, 14, 17))
    ours = cooccurrences(lay_out(levels, 2))
    theirs = graycomatrix(levels[0].astype(np.uint8), [1], np.deg2rad([0, 45, 90, 135]), levels=9, symmetric=True)
    assert len(ours) == 4
    for matrix in ours:
        assert any(np.array_equal(matrix, theirs[1:, 1:, 0, angle]) for angle in range(4))


def test_texture_is_that_of_scikit_image():
    voxels = np.random.default_rng(0).integers(1, 9, (1, 14, 17))
    how = RadiomicsSettings(resample_mm=None, bin_count=None, bin_width=1.0, dimensions=2, merged=False)
    found = features(voxels, np.ones(voxels.shape, bool), how=how)
    matrices = graycomatrix(voxels[0].astype(np.uint8), [1], np.deg2rad([0, 45, 90, 135]), levels=9, symmetric=True)
    for ours, theirs in {
        "contrast": "contrast",
        "difference_average": "dissimilarity",
        "inverse_difference_moment": "homogeneity",
        "angular_second_moment": "ASM",
        "correlation": "correlation",
    }.items():
        # scikit-image normalizes each direction by itself.
        props = graycoprops(matrices / matrices.sum(axis=(0, 1)), theirs)
        assert found[f"glcm_{ours}"] == pytest.approx(props.mean(), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(arrays(np.int64, (3, 5, 4), elements=st.integers(0, 3)))
def test_zones_are_those_of_labeling(levels):
    if not levels.any():
        return
    found = zones(lay_out(levels, 3))
    for level in range(1, int(levels.max()) + 1):
        parts, _ = label(levels == level, np.ones((3, 3, 3)))
        sizes = np.bincount(parts.reshape(-1))[1:]
        assert np.array_equal(found[level - 1], np.bincount(sizes, minlength=found.shape[1] + 1)[1:])


@settings(max_examples=30, deadline=None)
@given(arrays(np.int64, (3, 5, 4), elements=st.integers(0, 3)))
def test_runs_hold_every_voxel_once(levels):
    if not levels.any():
        return
    matrices = runs(lay_out(levels, 3))
    assert len(matrices) == 13
    for matrix in matrices:
        assert np.array_equal(matrix @ np.arange(1, matrix.shape[1] + 1), np.bincount(levels[levels > 0])[1:])


def test_runs_along_a_row():
    levels = np.array([[[2, 2, 2, 1, 0, 1, 1, 2]]])
    along_row = next(matrix for matrix in runs(lay_out(levels, 3)) if matrix.shape[1] == 3)
    assert along_row.tolist() == [[1, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize("spacing_mm", [(2.0, 1.0, 1.0), (0.5, 0.25, 0.75)])
def test_a_box_has_its_size(spacing_mm):
    mask = np.pad(np.ones((6, 10, 8), bool), 2)
    sides = np.array([6, 10, 8]) * spacing_mm
    found = features(np.random.default_rng(0).normal(size=mask.shape), mask, spacing_mm)
    assert found["shape_voxel_volume_mm3"] == pytest.approx(np.prod(sides))
    # The mesh cuts off the corners and edges of the box.
    assert 0.95 < found["shape_mesh_volume_mm3"] / np.prod(sides) < 1
    assert found["shape_box_volume_density"] == pytest.approx(found["shape_mesh_volume_mm3"] / np.prod(sides))
    lengths = [found[f"shape_{name}_axis_length_mm"] for name in ("least", "minor", "major")]
    # Variance of equidistant points on a line, 4 standard deviations.
    n, step = np.array([6, 10, 8]), np.array(spacing_mm)
    expected = 4 * np.sqrt((n**2 - 1) / 12 * step**2 * 480 / 479)
    assert lengths == pytest.approx(sorted(expected.tolist()), rel=1e-5)


def test_a_ball_has_its_size():
    side_mm, radius_mm = 0.5, 12.0
    position = np.moveaxis(np.indices((55, 55, 55)), 0, -1) - 27
    mask = np.linalg.norm(position, axis=-1) * side_mm <= radius_mm
    found = features(position[..., 0], mask, (side_mm,) * 3)
    volume = 4 / 3 * np.pi * radius_mm**3
    assert found["shape_mesh_volume_mm3"] == pytest.approx(volume, rel=0.01)
    assert found["shape_voxel_volume_mm3"] == pytest.approx(volume, rel=0.01)
    assert found["shape_maximum_diameter_mm"] == pytest.approx(2 * radius_mm, rel=0.03)
    # The stairs of the surface add to its area.
    assert 0.9 < found["shape_sphericity"] < 1
    # A ball's variance along an axis is a fifth of its squared radius.
    assert found["shape_major_axis_length_mm"] == pytest.approx(4 * radius_mm / np.sqrt(5), rel=0.01)
    assert found["shape_elongation"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("how", SETTINGS.values(), ids=SETTINGS)
def test_the_place_of_the_lesion_does_not_matter(how):
    voxels, mask = lesion()
    moved = [np.roll(array, (1, 2, -2), axis=(0, 1, 2)) for array in (voxels, mask)]
    assert_equal(features(*moved, how=how), features(voxels, mask, how=how))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("how", SETTINGS.values(), ids=SETTINGS)
def test_mirrored_lesions_are_alike(how, axis):
    voxels, mask = lesion()
    assert_equal(features(np.flip(voxels, axis), np.flip(mask, axis), how=how), features(voxels, mask, how=how))


@pytest.mark.parametrize("averaged", [False, True])
def test_voxels_outside_the_lesion_do_not_matter(averaged):
    how = RadiomicsSettings(resample_mm=None, merged=not averaged)
    voxels, mask = lesion()
    tight = mask.any(axis=(1, 2)), mask.any(axis=(0, 2)), mask.any(axis=(0, 1))
    cut = np.ix_(*tight)
    assert np.array_equal(
        radiomics_features(np.where(mask, voxels, -999), mask, SPACING_MM, how),
        radiomics_features(voxels[cut], mask[cut], SPACING_MM, how),
    )


def test_bin_counts_do_not_see_the_scanner_s_scale():
    voxels, mask = lesion()
    found, scaled = features(voxels, mask), features(3.0 * voxels - 50, mask)
    kept = [name for name in found if not name.startswith("intensity")]
    assert len(kept) == 92
    assert_equal({name: scaled[name] for name in kept}, {name: found[name] for name in kept})


def test_resampling_to_the_same_spacing_changes_nothing():
    voxels, mask = lesion()
    how = RadiomicsSettings(resample_mm=0.8)
    assert_equal(features(voxels, mask, (0.8, 0.8, 0.8), how), features(voxels, mask, (0.8, 0.8, 0.8)))


@pytest.mark.parametrize("side_mm", [0.5, 1.0, 1.3])
def test_resampling_keeps_size_and_gradients(side_mm):
    mask = np.pad(ellipsoid((13, 26, 24)), 2)
    # In millimeters along the rows: linear interpolation is exact.
    voxels = np.indices(mask.shape)[1] * SPACING_MM[1]
    before = features(voxels, mask)
    after = features(voxels, mask, how=RadiomicsSettings(resample_mm=side_mm))
    assert after["shape_voxel_volume_mm3"] == pytest.approx(before["shape_voxel_volume_mm3"], rel=0.06)
    assert after["intensity_mean"] == pytest.approx(before["intensity_mean"], abs=0.01)
    assert after["intensity_variance"] == pytest.approx(before["intensity_variance"], rel=0.05)


def test_planar_resampling_keeps_the_slices():
    voxels, mask = lesion()
    assert prepare(voxels, mask, SPACING_MM, RadiomicsSettings(dimensions=2)).spacing_mm == (1.5, 1.0, 1.0)
    assert prepare(voxels, mask, SPACING_MM, RadiomicsSettings()).spacing_mm == (1.0, 1.0, 1.0)


def test_a_filter_shows_curvature():
    mask = np.pad(ellipsoid((9, 9, 9)), 12)
    along = np.indices(mask.shape)[2] * 0.8 - 12
    how = RadiomicsSettings(resample_mm=0.8, filters=("log-1.6mm",))
    region = prepare(along**2, mask, (0.8, 0.8, 0.8), how)
    # The second derivative of x^2 is 2; the filter counts in voxels.
    assert filtered(region, "log-1.6mm", how)[region.mask] == pytest.approx(2 * 0.8**2, rel=0.02)
    assert feature_names(how)[15] == "log-1.6mm_intensity_mean"


def line(n: int) -> np.ndarray:
    mask = np.zeros((5, 9, 9), bool)
    mask[2, 4, 2 : 2 + n] = True
    return mask


SMALL = {
    "two voxels": line(2),
    "three voxels": line(3),
    "a corner to a corner": np.eye(3, dtype=bool)[None] & np.eye(3, dtype=bool)[:, None],
    "one slice": np.pad(ellipsoid((1, 6, 7)), 2),
    "a voxel and a pair": line(2) | np.roll(line(1), 2, axis=0),
}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("name", [name for name in SMALL if name != "a corner to a corner"])
def test_small_lesions_have_finite_features(name, constant, dimensions):
    mask = SMALL[name]
    voxels = np.full(mask.shape, 7) if constant else np.arange(mask.size).reshape(mask.shape) % 11
    for merged in (True, False):
        how = RadiomicsSettings(resample_mm=None, dimensions=dimensions, merged=merged)
        assert np.isfinite(list(features(voxels, mask, how=how).values())).all()


def test_a_constant_lesion_has_the_values_of_ibsi():
    found = features(np.full((5, 9, 9), 7), SMALL["three voxels"])
    assert found["ngtdm_coarseness"] == 1e6
    assert found["glcm_correlation"] == 1
    for name in ("intensity_skewness", "intensity_excess_kurtosis", "histogram_entropy", "ngtdm_contrast"):
        assert found[name] == 0


def test_a_mean_of_zero_leaves_no_coefficient_of_variation():
    found = features(np.resize([-1, 1], (4, 5, 6)), np.ones((4, 5, 6), bool))
    assert found["intensity_coefficient_of_variation"] == found["intensity_quartile_coefficient_of_dispersion"] == 0


@pytest.mark.parametrize("mask", [line(1), line(1) | np.roll(line(1), 2, axis=2)])
def test_voxels_that_do_not_touch_are_left_out(mask):
    with pytest.raises(SkipPatient, match=r"no two of the lesion's voxels touch.*\[radiomics_undefined\]"):
        features(np.arange(mask.size).reshape(mask.shape), mask)


def test_slices_do_not_touch_in_two_dimensions():
    mask = SMALL["a corner to a corner"]
    voxels = np.arange(mask.size).reshape(mask.shape)
    assert np.isfinite(list(features(voxels, mask).values())).all()
    with pytest.raises(SkipPatient, match="no two of the lesion's voxels touch"):
        features(voxels, mask, how=RadiomicsSettings(resample_mm=None, dimensions=2))


def test_a_lesion_that_resampling_loses_is_left_out():
    mask = line(1) | np.roll(line(1), 2, axis=2)
    with pytest.raises(
        SkipPatient, match=r"nothing is left of the lesion's 2 voxels at 6 mm \[radiomics_undefined\]"
    ):
        features(np.ones(mask.shape), mask, (1.0, 1.0, 1.0), RadiomicsSettings(resample_mm=6.0))


def test_an_empty_mask_is_left_out():
    with pytest.raises(SkipPatient, match="mask_empty"):
        features(np.ones((3, 3, 3)), np.zeros((3, 3, 3), bool))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_intensities_that_are_no_numbers_are_left_out(value):
    voxels, mask = lesion()
    broken = voxels.astype(float)
    broken[tuple(np.argwhere(mask)[5])] = value
    with pytest.raises(SkipPatient, match=r"NaN or infinity \[embedding_nonfinite\]"):
        features(broken, mask)


def test_numbers_too_large_for_the_store_are_named():
    voxels, mask = lesion()
    with pytest.raises(SkipPatient, match=r"not a finite number: intensity_variance, .*\[embedding_nonfinite\]"):
        features(voxels * 1e25, mask)


def test_too_many_gray_levels_are_refused():
    voxels, mask = lesion()
    how = RadiomicsSettings(resample_mm=None, bin_count=None, bin_width=0.5)
    with pytest.raises(SkipPatient, match=r"bin_width: 0.5 makes more than 1024 gray levels.*choose a larger"):
        features(voxels, mask, how=how)


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.bool_, (3, 4, 4)),
    arrays(np.int16, (3, 4, 4), elements=st.integers(-3, 3)),
    st.sampled_from(list(SETTINGS.values())),
)
def test_features_are_finite_or_the_patient_is_named(mask, voxels, how):
    try:
        found = features(voxels, mask, how=how)
        code = ""
    except SkipPatient as reason:
        found, code = {}, reason.code
    assert np.isfinite(list(found.values())).all()
    assert code in ("", "mask_empty", "radiomics_undefined")


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"bin_width": 5.0}, "give one of bin_count and bin_width"),
        ({"bin_count": None}, "give one of bin_count and bin_width"),
        ({"bin_count": 1}, "bin_count: 1 is not between 2 and 1024"),
        ({"bin_count": None, "bin_width": 0.0}, "bin_width: 0.0 is not above 0"),
        ({"resample_mm": -1.0}, "resample_mm: -1.0 is not above 0"),
        ({"dimensions": 4}, "dimensions: 4 is neither 2 nor 3"),
        ({"filters": ()}, "name at least one filter"),
        ({"filters": ("original", "original")}, "name at least one filter, and each once"),
        ({"filters": ("wavelet",)}, "'wavelet' is neither original nor like log-2mm"),
        ({"filters": ("log-0mm",)}, "'log-0mm' is neither original nor like log-2mm"),
    ],
)
def test_settings_without_meaning_are_refused(wrong, text):
    with pytest.raises(StopRun, match=rf"{text}.*\[config_value\]"):
        RadiomicsSettings(**wrong)
