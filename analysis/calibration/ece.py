"""The expected calibration error, beside what a perfectly calibrated model of the same size would show."""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from analysis.inference.intervals import FEWEST, without_interval
from triher.estimate import Estimate, not_estimable
from triher.types import Labels, Probabilities

N_BINS = 10
SIMULATIONS = 1000
_PORTION = 2_000_000  # drawn labels held at once

Probability = Float64[np.ndarray, " patient"]
Outcomes = Float[np.ndarray, "draw patient"]
Binning = Literal["width", "mass"]
Closed = Literal["left", "right"]

_BINNINGS: dict[Binning, str] = {
    "width": f"{N_BINS} equal-width bins closed on the left",
    "mass": f"at most {N_BINS} bins of equally many patients, equal predictions together",
}
_NAMES: dict[Binning, tuple[str, str]] = {
    "width": ("ece_top_label", "ece_classwise"),
    "mass": ("ece_top_label_equal_mass", "ece_classwise_equal_mass"),
}


def ece(
    confidence: Probability,
    hit: Bool[np.ndarray, " patient"],
    n_bins: int = N_BINS,
    *,
    binning: Binning = "width",
    closed: Closed = "left",
) -> float:
    """Mean distance of predicted and observed share over bins, weighted by their patients.

    Args:
        confidence: predicted probability, 0 to 1.
        hit: whether it came true.
        n_bins: at most this many.
        binning: bins of equal ``width``, [0, 0.1), ..., [0.9, 1], or of equally many patients (``mass``).
        closed: where bins of equal width are closed. ``right`` makes (0.1, 0.2] of them, as Guo et al. (ICML 2017)
            and torchmetrics, which differs where predictions lie on an edge.

    >>> ece(np.array([0.75, 0.75]), np.array([True, False]))
    0.25
    """
    member = _members(confidence, n_bins, binning, closed)
    return float(_gaps(confidence, hit[None, :].astype(float), member)[0])


def _members(
    confidence: Probability, n_bins: int, binning: Binning, closed: Closed = "left"
) -> Float64[np.ndarray, "patient bin"]:
    """1 where a patient is in a bin."""
    if binning == "mass":
        edges = np.unique(np.quantile(confidence, np.linspace(0, 1, n_bins + 1)[1:-1]))
        return np.eye(len(edges) + 1)[np.searchsorted(edges, confidence, side="right")]
    scaled = confidence * n_bins
    bins = np.floor(scaled) if closed == "left" else np.ceil(scaled) - 1
    return np.eye(n_bins)[np.clip(bins, 0, n_bins - 1).astype(int)]


def _gaps(
    confidence: Probability, hits: Outcomes, member: Float64[np.ndarray, "patient bin"]
) -> Float[np.ndarray, " draw"]:
    """The error of several outcomes of the same predictions."""
    return np.abs((hits - confidence) @ member).sum(axis=1) / len(confidence)


def ece_estimates(y: Labels, probabilities: Probabilities, *, seed: int) -> dict[str, Estimate]:
    """Top-label and classwise error in both kinds of bins, each beside its value for a perfect model of this n.

    The error is never 0 in a finite sample (Roelofs et al., AISTATS 2022): labels are drawn from the predictions
    1000 times, and the mean and the 2.5 to 97.5 % range of their errors are the yardstick. A resampling interval
    of the error itself would be biased upward, so there is none.
    """
    n = len(y)
    found: dict[str, Estimate] = {}
    if n < FEWEST:
        reason = f"only {n} labeled patients" if n else "0 labeled patients"
        for binning, names in _NAMES.items():
            missing = not_estimable(reason, n=n, method=f"ECE, {_BINNINGS[binning]}")
            found |= {name: missing for stem in names for name in (stem, f"{stem}_if_calibrated")}
        return found
    drawn = draw_labels(probabilities, SIMULATIONS, np.random.default_rng(seed))
    for binning, names in _NAMES.items():
        observed = _both(y[None, :], probabilities, binning)
        simulated = _both(drawn, probabilities, binning)
        for name, value, draws in zip(names, observed, simulated, strict=True):
            method = f"ECE, {_BINNINGS[binning]}; no interval, but see {name}_if_calibrated"
            found[name] = without_interval(float(value[0]), "", n=n, method=method)
            found[f"{name}_if_calibrated"] = yardstick(draws, n=n, what=f"ECE, {_BINNINGS[binning]}")
    return found


def yardstick(draws: Float[np.ndarray, " draw"], *, n: int, what: str) -> Estimate:
    """Mean and 95 % range of a measure over simulated worlds in which the predictions are right."""
    low, high = np.quantile(draws, [0.025, 0.975])
    method = f"mean over {len(draws)} simulated perfectly calibrated outcomes: {what}"
    return Estimate(float(draws.mean()), float(low), float(high), n, method)


def draw_labels(
    probabilities: Probabilities, draws: int, rng: np.random.Generator
) -> Int[np.ndarray, "draw patient"]:
    """Outcomes of worlds in which the predictions are exactly right.

    >>> draw_labels(np.array([[1.0, 0.0], [0.0, 1.0]]), 2, np.random.default_rng(0)).tolist()
    [[0, 1], [0, 1]]
    """
    edges = np.cumsum(probabilities, axis=1)[:, :-1]
    portion = max(1, _PORTION // max(1, len(probabilities)))
    sizes = [min(portion, draws - start) for start in range(0, draws, portion)]
    return np.concatenate([(rng.random((size, len(probabilities), 1)) > edges).sum(axis=2) for size in sizes])


def _both(
    labels: Int[np.ndarray, "draw patient"], probabilities: Probabilities, binning: Binning
) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, " draw"]]:
    """Top-label error, and the mean of the classes' errors."""
    columns = [probabilities.max(axis=1), *(probabilities[:, c].copy() for c in range(probabilities.shape[1]))]
    classes = [probabilities.argmax(axis=1), *range(probabilities.shape[1])]
    top, *each = (
        _gaps(column, (labels == wanted).astype(float), _members(column, N_BINS, binning))
        for column, wanted in zip(columns, classes, strict=True)
    )
    return top, np.mean(each, axis=0)
