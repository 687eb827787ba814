"""Radiomics stands in the place of an encoder: views of a slab, names, identity and probe."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from extract.cache import Slab
from extract.encoders import find_encoder
from extract.fusion import find_fusion
from extract.histograms import count
from extract.lanes import RadiomicsChoice
from extract.normalization import find_normalization
from extract.pictures import Drawing, PictureRecipe
from extract.radiomics.embedder import RadiomicsEmbedder
from extract.radiomics.features import channel_names, feature_names, radiomics_features
from extract.radiomics.settings import RadiomicsSettings
from extract.radiomics.shape import SHAPE_NAMES
from extract.radiomics.views import (
    PROBE_SPACING_MM,
    embed_slab,
    probe,
    probe_lesion,
    view_names,
)
from triher.errors import SkipPatient
from triher.store import Header

# MIRP 2.7.0 on the lesion of the probe: trilinear interpolation without anti-aliasing, 32 bins. Written with its
# extract_features for a NIfTI image; mirp_tag is the middle of its column's name.
MIRP = pd.read_csv(Path(__file__).parent / "data" / "radiomics_mirp.csv", index_col="feature")
PHASES = ("pre", "early", "late")
SETTINGS = RadiomicsSettings()
RGB, EARLY, WASH_IN = (find_fusion(name, PHASES) for name in ("rgb", "early", "wash-in"))


@pytest.fixture
def slab() -> Slab:
    rng = np.random.default_rng(0)
    mask = np.zeros((5, 14, 12), bool)
    mask[1:4, 3:9, 3:10] = True
    mask[2, 9:11, 4:8] = True
    voxels = rng.integers(0, 60_000, (3, *mask.shape)).astype(np.uint16)
    volumes = tuple(count(phase) for phase in voxels)
    return Slab(PHASES, voxels, mask, volumes, (), 30, (2.0, 0.8, 0.8), "axial", (60, 256, 256))


def test_a_view_is_shape_and_its_channels(slab):
    views = embed_slab(slab, [RGB, EARLY], SETTINGS)
    alone = [radiomics_features(phase, slab.mask, slab.spacing_mm, SETTINGS) for phase in slab.voxels]
    n = len(SHAPE_NAMES)
    assert np.array_equal(views["rgb"][0], np.concatenate([alone[0], alone[1][n:], alone[2][n:]]))
    assert np.array_equal(views["early"][0], alone[1])
    assert {name: rows.shape for name, rows in views.items()} == {"rgb": (1, 300), "early": (1, 110)}


def test_differences_are_taken_in_units_of_the_scanner(slab):
    found = embed_slab(slab, [WASH_IN], SETTINGS)["wash-in"][0]
    difference = slab.voxels[1].astype(int) - slab.voxels[0]
    assert difference[slab.mask].min() < 0
    assert np.array_equal(found, radiomics_features(difference, slab.mask, slab.spacing_mm, SETTINGS))


@pytest.mark.parametrize("fusion", [RGB, EARLY, WASH_IN, find_fusion("pre,pre,late-early", PHASES)])
@pytest.mark.parametrize("settings", [SETTINGS, RadiomicsSettings(filters=("original", "log-2mm"))])
def test_every_feature_has_one_name(slab, fusion, settings):
    names = view_names(fusion, settings)
    assert len(set(names)) == len(names) == embed_slab(slab, [fusion], settings)[fusion.name].shape[1]


def test_names_say_phase_and_feature():
    names = view_names(find_fusion("pre,pre,late-early", PHASES), SETTINGS)
    n = len(channel_names(SETTINGS))
    assert names[15] == "pre:intensity_mean"
    assert names[15 + n] == "late-early:intensity_mean"
    assert len(names) == 15 + 2 * n


def test_the_largest_slice_stands_for_the_lesion(slab):
    recipe = PictureRecipe(find_normalization("clip98-volume"), (RGB, EARLY), "all", 8)
    prepared = RadiomicsEmbedder(SETTINGS).prepare(Drawing(slab, recipe))
    assert (prepared.slices.index.tolist(), prepared.slices.area_mm2.tolist()) == ([32], [pytest.approx(50 * 0.64)])
    assert {name: rows.shape for name, rows in prepared.views.items()} == {"rgb": (1, 300), "early": (1, 110)}


def test_a_lesion_of_one_voxel_is_left_out(slab):
    mask = np.zeros_like(slab.mask)
    mask[2, 5, 5] = True
    tiny = Slab(PHASES, slab.voxels, mask, (), (), 30, (1.0, 1.0, 1.0), "axial", (60, 256, 256))
    with pytest.raises(SkipPatient, match=r"\[radiomics_undefined\] -> look at the mask"):
        embed_slab(tiny, [RGB], SETTINGS)


def identity(settings: RadiomicsSettings) -> dict:
    return RadiomicsChoice(find_encoder("radiomics"), settings).facts()


def test_identity_changes_with_every_setting():
    others = [
        RadiomicsSettings(resample_mm=None),
        RadiomicsSettings(bin_count=64),
        RadiomicsSettings(bin_count=None, bin_width=25.0),
        RadiomicsSettings(filters=("log-2mm",)),
        RadiomicsSettings(dimensions=2),
        RadiomicsSettings(merged=False),
    ]
    texts = {json.dumps(identity(how), sort_keys=True) for how in (SETTINGS, *others)}
    assert len(texts) == 7
    assert identity(SETTINGS)["model"] == "ibsi-1-v1"
    assert json.loads(json.dumps(identity(SETTINGS))) == identity(SETTINGS)


def test_the_probe_shows_drift_in_any_feature():
    first = probe(SETTINGS)
    assert first.shape == (1, 110)
    assert np.array_equal(first, probe(SETTINGS))
    header = Header({}, {}, {}, first)
    assert header.resembles(Header({}, {}, {}, first))
    for feature in range(110):
        changed = first.copy()
        changed[0, feature] = np.arcsinh(np.sinh(np.float64(first[0, feature])) * 1.05)
        same = header.resembles(Header({}, {}, {}, changed))
        assert not same, feature


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("resample_mm", [None, 1.0])
def test_the_probe_has_the_features_of_mirp(resample_mm, merged):
    settings = RadiomicsSettings(resample_mm=resample_mm, merged=merged)
    found = radiomics_features(*probe_lesion(), PROBE_SPACING_MM, settings)
    column = ("resampled_" if resample_mm else "") + ("merged" if merged else "averaged")
    assert tuple(MIRP.index) == feature_names(settings)
    # MIRP interpolates in single precision.
    assert found == pytest.approx(MIRP[column].to_numpy(), rel=5e-5)
