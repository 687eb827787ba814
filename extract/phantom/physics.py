"""How contrast agent and scanner turn tissue into the phantom's picture.

Sources: two-compartment uptake, Tofts & Kermode, Magn Reson Med 1991;17:357; its arterial input, Weinmann et
al., Physiol Chem Phys Med NMR 1984;16:167; relaxivity of gadopentetate in plasma at 37 C, Rohrer et al.,
Invest Radiol 2005;40:715; spoiled gradient echo, Ernst & Anderson, Rev Sci Instrum 1966;37:93; magnitude noise,
Gudbjartsson & Patz, Magn Reson Med 1995;34:910.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int16
from numpy.random import Generator
from scipy.ndimage import gaussian_filter
from scipy.special import exprel

DOSE_MMOL_PER_KG = 0.1
ARTERIAL_INPUT = ((3.99, 0.144), (4.78, 0.0111))
"""Amplitude in kg/l and decay rate per minute of the plasma's two exponentials (Weinmann 1984)."""
RELAXIVITY_L_PER_MMOL_S = {1.5: 4.1, 3.0: 3.7}  # field in tesla -> r1 (Rohrer 2005)


@dataclass(frozen=True)
class Scanner:
    """What a site does differently: the phantom's site effects, all named."""

    field_t: float
    repetition_ms: float
    flip_deg: float
    early_s: float
    """Centre of k-space of the first post-contrast phase, seconds after injection."""
    late_s: float
    in_plane_mm: float
    slice_mm: float
    blur_mm: float
    """SD of the in-plane point spread."""
    gain: float
    """Stored units per unit of signal."""
    bias_log_sd: float
    """SD of the logarithm of the receive field over the volume."""
    noise_sd: float
    """SD of the noise in a channel, in units of the signal of fully relaxed water."""
    fat_left_fraction: float
    """Part of the fat's signal that fat suppression leaves."""


SCANNERS = {
    "A": Scanner(
        field_t=1.5,
        repetition_ms=5.2,
        flip_deg=12.0,
        early_s=90.0,
        late_s=390.0,
        in_plane_mm=1.25,
        slice_mm=2.4,
        blur_mm=0.7,
        gain=16000.0,
        bias_log_sd=0.08,
        noise_sd=0.0013,
        fat_left_fraction=0.15,
    ),
    "B": Scanner(
        field_t=3.0,
        repetition_ms=4.6,
        flip_deg=12.0,
        early_s=96.0,
        late_s=410.0,
        in_plane_mm=1.4,
        slice_mm=2.6,
        blur_mm=0.85,
        gain=30000.0,
        bias_log_sd=0.13,
        noise_sd=0.001,
        fat_left_fraction=0.1,
    ),
    "C": Scanner(
        field_t=1.5,
        repetition_ms=6.0,
        flip_deg=14.0,
        early_s=84.0,
        late_s=370.0,
        in_plane_mm=1.32,
        slice_mm=2.2,
        blur_mm=0.75,
        gain=9000.0,
        bias_log_sd=0.1,
        noise_sd=0.0016,
        fat_left_fraction=0.19,
    ),
}

_SHIFTED_S = (30.0, 75.0)
_SHIFTED_NOISE = 5.0


def shifted(scanner: Scanner) -> Scanner:
    """A site whose exams went wrong: both phases too soon after the injection, and five times the noise.

    In the early phase its lesions hold half of the agent that they should, in the late one three fifths. So its
    pictures tell the classes apart less well, and to a model of other sites its lesions look like those of little
    uptake.
    """
    early_s, late_s = _SHIFTED_S
    return replace(scanner, early_s=early_s, late_s=late_s, noise_sd=_SHIFTED_NOISE * scanner.noise_sd)


@dataclass(frozen=True)
class Tissue:
    """What every voxel is made of."""

    proton_density: Float[np.ndarray, "slice row col"]
    """0 to 1, relative to water."""
    t1_ms: Float[np.ndarray, "slice row col"]
    ktrans_per_min: Float[np.ndarray, "slice row col"]
    ve: Float[np.ndarray, "slice row col"]
    """Extravascular extracellular part of the volume, above 0 and below 1."""
    plasma: Float[np.ndarray, "slice row col"]
    """Part of the voxel that is plasma: 0 in tissue (Tofts & Kermode), 1 - hematocrit in the blood pool."""


def plasma_mmol_per_l(time_min: float) -> float:
    """Concentration of the agent in plasma, `time_min` minutes after a bolus; 0 before it (Weinmann 1984).

    >>> round(plasma_mmol_per_l(0.0), 3)
    0.877
    """
    if time_min < 0:
        return 0.0
    return DOSE_MMOL_PER_KG * sum(a * math.exp(-m * time_min) for a, m in ARTERIAL_INPUT)


def tofts(
    time_min: float, ktrans_per_min: Float[np.ndarray, "*any"], ve: Float[np.ndarray, "*any"]
) -> Float[np.ndarray, "*any"]:
    """Concentration of the agent in tissue in mmol/l (Tofts & Kermode 1991), in closed form.

    ``C(t) = D Ktrans sum_i a_i (exp(-m_i t) - exp(-k t)) / (k - m_i)`` with ``k = Ktrans / ve``, which is
    the arterial input convolved with ``Ktrans exp(-k t)``. Written with ``exprel(x) = (exp(x) - 1) / x``, which has
    the limit 1 where ``k`` meets ``m_i``.

    Args:
        time_min: minutes after the bolus; the concentration is 0 before it.
        ktrans_per_min: transfer constant, 0 or more.
        ve: extravascular extracellular part of the volume, above 0.
    """
    if time_min < 0:
        return np.zeros_like(ktrans_per_min)
    rate = ktrans_per_min / ve
    shape = sum(
        amplitude * math.exp(-decay * time_min) * exprel((decay - rate) * time_min)
        for amplitude, decay in ARTERIAL_INPUT
    )
    return DOSE_MMOL_PER_KG * time_min * ktrans_per_min * shape


def spoiled_gradient_echo(
    t1_ms: Float[np.ndarray, "*any"], *, repetition_ms: float, flip_deg: float
) -> Float[np.ndarray, "*any"]:
    """Steady-state signal for unit proton density (Ernst & Anderson 1966); echo time near 0.

    ``S = sin(a) (1 - E) / (1 - E cos(a))`` with ``E = exp(-TR / T1)``.
    """
    flip = math.radians(flip_deg)
    recovered = -np.expm1(-repetition_ms / t1_ms)
    return math.sin(flip) * recovered / (1 - math.cos(flip) * (1 - recovered))


def image(tissue: Tissue, scanner: Scanner, time_s: float) -> Float[np.ndarray, "slice row col"]:
    """Noise-free signal at a time after injection (negative: before), per unit gain."""
    minutes = time_s / 60
    agent = tofts(minutes, tissue.ktrans_per_min, tissue.ve) + tissue.plasma * plasma_mmol_per_l(minutes)
    rate = 1 / tissue.t1_ms + RELAXIVITY_L_PER_MMOL_S[scanner.field_t] / 1000 * agent
    signal = spoiled_gradient_echo(1 / rate, repetition_ms=scanner.repetition_ms, flip_deg=scanner.flip_deg)
    return tissue.proton_density * signal


def receive_field(shape: tuple[int, int, int], strength: float, rng: Generator) -> Float[np.ndarray, "slice row col"]:
    """A smooth multiplicative field: exp of random low-order cosines, SD of its logarithm = `strength`."""
    log_field = np.zeros(shape, np.float32)
    for order in ((0, 1, 0), (0, 0, 1), (0, 1, 1), (0, 2, 0), (0, 0, 2), (1, 0, 0)):
        waves = [np.cos(np.pi * k * (np.arange(n) + 0.5) / n) for k, n in zip(order, shape, strict=True)]
        plane = waves[0][:, None, None] * waves[1][:, None] * waves[2]
        log_field += (rng.normal() * plane).astype(np.float32)
    return np.exp(log_field * (strength / max(float(log_field.std()), 1e-6)))


def add_rician_noise(
    signal: Float[np.ndarray, "slice row col"], sd: float, rng: Generator
) -> Float[np.ndarray, "slice row col"]:
    """Magnitude of the signal with Gaussian noise of `sd` in both channels (Gudbjartsson & Patz 1995)."""
    real = signal + sd * rng.standard_normal(signal.shape, np.float32)
    imaginary = sd * rng.standard_normal(signal.shape, np.float32)
    return np.hypot(real, imaginary)


def acquire(
    tissue: Tissue, scanner: Scanner, spacing_mm: tuple[float, float, float], *, gain: float, rng: Generator
) -> list[Int16[np.ndarray, "slice row col"]]:
    """The three phases as they come from a scanner: pre, early and late, stored as whole numbers.

    Args:
        tissue: what is in the field of view.
        scanner: the site's protocol.
        spacing_mm: distance of the voxels along slice, row and col.
        gain: of this examination, stored units per unit of signal.
        rng: draws the receive field and the noise.
    """
    field = receive_field(tissue.t1_ms.shape, scanner.bias_log_sd, rng)
    point_spread = (0.0, scanner.blur_mm / spacing_mm[1], scanner.blur_mm / spacing_mm[2])
    phases = []
    for time_s in (-1.0, scanner.early_s, scanner.late_s):
        seen = gaussian_filter(image(tissue, scanner, time_s) * field, point_spread, truncate=3.0)
        stored = gain * add_rician_noise(seen, scanner.noise_sd, rng)
        phases.append(np.rint(np.minimum(stored, np.iinfo(np.int16).max)).astype(np.int16))
    return phases
