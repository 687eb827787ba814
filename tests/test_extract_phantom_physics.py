"""Contrast agent and signal of the phantom against numerical convolution and limiting cases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extract.phantom.physics import (
    DOSE_MMOL_PER_KG,
    SCANNERS,
    Tissue,
    acquire,
    add_rician_noise,
    image,
    plasma_mmol_per_l,
    receive_field,
    spoiled_gradient_echo,
    tofts,
)


def test_plasma_starts_at_the_published_amplitudes_and_decays() -> None:
    """Weinmann 1984: 3.99 + 4.78 kg/l for a dose of 0.1 mmol/kg."""
    assert plasma_mmol_per_l(0.0) == pytest.approx(DOSE_MMOL_PER_KG * (3.99 + 4.78))
    assert plasma_mmol_per_l(-0.1) == 0.0
    assert plasma_mmol_per_l(60.0) == pytest.approx(0.1 * (3.99 * math.exp(-8.64) + 4.78 * math.exp(-0.666)))


@pytest.mark.parametrize(("ktrans", "ve"), [(0.05, 0.5), (0.2, 0.4), (0.8, 0.2), (0.0144, 0.1), (0.0111, 1.0)])
def test_tofts_equals_numerical_convolution(ktrans: float, ve: float) -> None:
    """Also where Ktrans / ve meets a decay rate of the input, where the closed form is 0 / 0."""
    for minutes in (0.5, 1.5, 7.0):
        times = np.linspace(0, minutes, 4_001)
        plasma = np.array([plasma_mmol_per_l(t) for t in times])
        expected = np.trapezoid(ktrans * plasma * np.exp(-ktrans / ve * (minutes - times)), times)
        assert tofts(minutes, np.array([ktrans]), np.array([ve]))[0] == pytest.approx(expected, rel=1e-5)


def test_tofts_in_single_precision_is_smooth_where_the_rates_meet() -> None:
    rates = np.linspace(0.1439, 0.1441, 201)
    exact = tofts(6.0, 0.3 * rates, np.full(201, 0.3))
    single = tofts(6.0, (0.3 * rates).astype(np.float32), np.full(201, 0.3, np.float32))
    np.testing.assert_allclose(single, exact, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 2.0), st.floats(0.05, 0.9), st.floats(0.0, 10.0))
def test_tofts_is_never_negative_nor_above_the_plasma_taken_up(ktrans: float, ve: float, minutes: float) -> None:
    agent = tofts(minutes, np.array([ktrans]), np.array([ve]))[0]
    assert 0 <= agent <= ktrans * minutes * plasma_mmol_per_l(0.0) + 1e-12


def test_no_agent_before_injection() -> None:
    assert not tofts(-1.0, np.array([0.3]), np.array([0.4])).any()


def test_signal_has_its_limits() -> None:
    """Fully relaxed: sin(a); long T1 vanishes; the Ernst angle is the best one (Ernst & Anderson 1966)."""
    t1 = np.array([1000.0])
    relaxed = spoiled_gradient_echo(t1, repetition_ms=1e5, flip_deg=30.0)
    assert relaxed[0] == pytest.approx(0.5)
    assert spoiled_gradient_echo(np.array([1e9]), repetition_ms=5.0, flip_deg=12.0)[0] == pytest.approx(0, abs=1e-6)
    ernst = math.degrees(math.acos(math.exp(-5 / 1000)))
    at = {d: spoiled_gradient_echo(t1, repetition_ms=5.0, flip_deg=ernst + d)[0] for d in (-0.5, 0, 0.5)}
    assert at[0] > max(at[-0.5], at[0.5])
    e = math.exp(-5 / 1000)
    assert at[0] == pytest.approx(math.sqrt((1 - e) / (1 + e)))


def test_noise_is_rician() -> None:
    """Without signal the mean is sd sqrt(pi/2) (Rayleigh); far above the noise it is the signal."""
    rng = np.random.default_rng(0)
    shape = (20, 100, 100)
    dark = add_rician_noise(np.zeros(shape, np.float32), 2.0, rng)
    bright = add_rician_noise(np.full(shape, 200, np.float32), 2.0, rng)
    assert dark.mean() == pytest.approx(2 * math.sqrt(math.pi / 2), rel=0.01)
    assert bright.mean() == pytest.approx(200, rel=0.001)
    assert bright.std() == pytest.approx(2, rel=0.02)


def test_receive_field_has_the_strength_asked_for() -> None:
    field = receive_field((12, 40, 40), 0.2, np.random.default_rng(3))
    assert np.log(field).std() == pytest.approx(0.2, rel=1e-4)
    assert np.abs(np.diff(np.log(field), axis=2)).max() < 0.1


def _uniform(ktrans: float, plasma: float = 0.0) -> Tissue:
    one = np.ones((6, 24, 24), np.float32)
    return Tissue(0.8 * one, 1266 * one, ktrans * one, 0.4 * one, plasma * one)


@pytest.mark.parametrize("site", sorted(SCANNERS))
def test_faster_uptake_is_brighter_early(site: str) -> None:
    scanner = SCANNERS[site]
    early = [image(_uniform(k), scanner, scanner.early_s).mean() for k in (0.0, 0.1, 0.3)]
    assert early == sorted(early)
    assert early[2] > 1.3 * early[0]
    blood = image(_uniform(0.0, 0.58), scanner, scanner.early_s).mean()
    assert blood > early[2]


def test_acquisition_follows_the_seed() -> None:
    runs = [
        acquire(_uniform(0.2), SCANNERS["A"], (2.4, 1.25, 1.25), gain=16_000.0, rng=np.random.default_rng(seed))
        for seed in (5, 5, 6)
    ]
    assert all((a == b).all() for a, b in zip(runs[0], runs[1], strict=True))
    assert (runs[0][0] != runs[2][0]).any()
    assert [phase.dtype for phase in runs[0]] == [np.int16] * 3
