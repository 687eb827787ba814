"""N4: one field for all phases keeps enhancement, a field for each phase does not."""

import numpy as np
import pytest

from extract.n4 import correct_bias
from triher.config import read_config
from triher.errors import StopRun

SPACING = (2.5, 1.2, 1.2)


@pytest.fixture(scope="module")
def biased() -> np.ndarray:
    """Tissue under a coil's falling sensitivity; contrast arrives on one side."""
    rng = np.random.default_rng(0)
    slices, rows, cols = np.indices((16, 48, 48))
    tissue = (rows - 24) ** 2 + (cols - 24) ** 2 < 22**2
    bias = 0.7 + 0.7 * rows / 48
    enhancement = 1 + 1.5 * np.exp(-((cols - 36) ** 2 + (rows - 24) ** 2 + (slices - 8) ** 2) / 100)
    phases = np.stack([tissue * 300.0, tissue * 300 * enhancement])
    return np.rint(phases * bias + rng.normal(0, 3, phases.shape)).clip(0).astype(np.int16)


def ratios(voxels: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    return voxels[1][tissue] / voxels[0][tissue]


def test_enhancement_ratios_survive_a_shared_field_and_not_one_for_each_phase(biased):
    tissue = biased[0] > 150
    before = ratios(biased, tissue)
    shared, per_phase = (correct_bias(biased, SPACING, how) for how in ("shared", "per-phase"))
    np.testing.assert_allclose(ratios(shared, tissue), before, rtol=0.02)
    change = np.abs(ratios(per_phase, tissue) / before - 1)
    assert np.quantile(change, 0.5) > 0.02


# The shared field also follows some of the enhancement, as it is estimated on the mean.
@pytest.mark.parametrize(("how", "share"), [("shared", 0.9), ("per-phase", 0.5)])
def test_the_bias_becomes_smaller_and_the_type_stays(biased, how, share):
    corrected = correct_bias(biased, SPACING, how)
    assert corrected.dtype == np.int16
    tissue = biased[0] > 150
    spread = [phases[0][tissue].std() / phases[0][tissue].mean() for phases in (corrected, biased)]
    assert spread[0] < share * spread[1]
    as_floats = correct_bias(biased.astype(np.float32), SPACING, how)
    assert as_floats.dtype == np.float32
    np.testing.assert_allclose(as_floats, corrected, atol=0.51)


def test_none_gives_the_voxels_back(biased):
    assert correct_bias(biased, SPACING, "none") is biased


@pytest.mark.parametrize("value", ["true", "false", "both"])
def test_other_values_are_refused_with_those_that_are_known(tmp_path, value):
    path = tmp_path / "config.yaml"
    path.write_text(f"cohort: {{table: t.csv}}\nextract: {{n4: {value}}}\n")
    with pytest.raises(StopRun, match=r"extract\.n4: input should be 'none', 'shared' or 'per-phase', found"):
        read_config(path)
