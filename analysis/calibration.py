"""Calibration: whether a predicted 30 % comes true in 30 of 100 patients."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from analysis.bootstrap import mean_losses
from analysis.discrimination import shortage
from analysis.intervals import FEWEST, wald, wilson, without_interval
from analysis.samples import class_label
from triher.estimate import Estimate, not_estimable
from triher.types import Labels, Probabilities

_LOGIT_CLIP = 1e-6  # logit(0) is infinite; stated in the method of every slope
_LOG_CLIP = 1e-15  # as scikit-learn's log_loss
_ECE_BINS = 10
_SIMULATIONS = 1000
_PER_BIN = 10  # patients that a point of the reliability curve should rest on
_STEPS = 50
_CONVERGED = 1e-10
_RUNAWAY = 10.0  # a standard error on the logit scale that betrays a missing maximum

Probability = Float64[np.ndarray, " patient"]


@dataclass(frozen=True)
class Reliability:
    """The reliability curve of one class: bins of about equally many patients, ordered by prediction."""

    class_name: str
    predicted: tuple[float, ...]
    """Mean predicted probability of each bin."""
    observed: tuple[Estimate, ...]
    """Share of the class in each bin, with Wilson limits."""


def reliability(condition: Bool[np.ndarray, " patient"], p: Probability, class_name: str) -> Reliability:
    """Group patients by predicted probability and compare with what was observed.

    Bins hold about equally many patients (at least 10 on average, at most 10 bins); equal predictions stay
    together.
    """
    if not len(p):
        return Reliability(class_name, (), ())
    n_bins = max(1, min(10, len(p) // _PER_BIN))
    edges = np.unique(np.quantile(p, np.linspace(0, 1, n_bins + 1)[1:-1]))
    bins = np.searchsorted(edges, p, side="right")
    members = [bins == b for b in np.unique(bins)]
    observed = [wilson(int(condition[m].sum()), int(m.sum()), of_what="patients") for m in members]
    return Reliability(class_name, tuple(float(p[m].mean()) for m in members), tuple(observed))


def slope_and_intercept(
    condition: Bool[np.ndarray, " patient"], p: Probability, class_name: str
) -> tuple[Estimate, Estimate]:
    """Calibration slope (ideal 1) and calibration-in-the-large (ideal 0) of one class against the rest.

    Logistic recalibration (Cox, Biometrika 1958;45:562): the slope of the condition on logit p, with free
    intercept; the intercept with the slope fixed at 1. Slope below 1: predictions too extreme. Intercept above
    0: the class is more frequent than predicted.
    """
    n = len(p)
    methods = (
        "calibration slope, logistic on logit p (clipped at 1e-6), Wald",
        "calibration in the large, logistic with offset logit p (clipped at 1e-6), Wald",
    )
    label = class_label(class_name)
    sides = {label: int(condition.sum()), f"other than {label}": int((~condition).sum())}
    few = shortage(sides, fewest=FEWEST)
    if few:
        return not_estimable(few, n=n, method=methods[0]), not_estimable(few, n=n, method=methods[1])
    clipped = np.clip(p, _LOGIT_CLIP, 1 - _LOGIT_CLIP)
    logit = np.log(clipped) - np.log1p(-clipped)
    ones = np.ones((n, 1))
    free = _logistic(np.column_stack([logit, ones]), condition, np.zeros(n))
    fixed = _logistic(ones, condition, logit)
    return _first(free, n, methods[0]), _first(fixed, n, methods[1])


def _first(fit: tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]] | None, n: int, method: str) -> Estimate:
    """The first coefficient as an estimate."""
    if fit is None or fit[1][0] > _RUNAWAY:
        return not_estimable("the likelihood has no maximum (perfect separation)", n=n, method=method)
    return wald(float(fit[0][0]), float(fit[1][0]), n=n, method=method, bounds=(-math.inf, math.inf))


def _logistic(
    x: Float64[np.ndarray, "patient k"], condition: Bool[np.ndarray, " patient"], offset: Probability
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]] | None:
    """Coefficients and standard errors by Newton's method; None when there is no finite maximum."""
    beta = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ beta + offset, -500, 500)))
        information = (x * (p * (1 - p))[:, None]).T @ x
        if np.linalg.cond(information) > 1 / np.finfo(float).eps:
            return None
        step = np.linalg.solve(information, x.T @ (condition - p))
        beta = beta + step
        if np.abs(step).max() < _CONVERGED:
            return beta, np.sqrt(np.diag(np.linalg.inv(information)))
    return None


def brier_and_log_loss(
    y: Labels, probabilities: Probabilities, *, resamples: int, seed: int
) -> tuple[Estimate, Estimate]:
    """Multi-class Brier score (sum over the classes, 0 to 2; Brier 1950) and log loss; lower is better."""
    truth = np.eye(probabilities.shape[1])[y]
    brier = ((probabilities - truth) ** 2).sum(axis=1)
    log_loss = -np.log(np.clip(probabilities[np.arange(len(y)), y], _LOG_CLIP, 1))
    interval = f"{resamples} stratified bootstrap resamples, percentile"
    methods = (f"Brier score summed over classes, {interval}", f"log loss (clipped at 1e-15), {interval}")
    losses = np.column_stack([brier, log_loss])
    first, second = mean_losses(y, losses, methods, resamples=resamples, seed=seed)
    return first, second


def ece(confidence: Probability, hit: Bool[np.ndarray, " patient"], n_bins: int = _ECE_BINS) -> float:
    """Expected calibration error over equal-width bins, closed on the left: [0, 0.1), ..., [0.9, 1].

    Other tools close the bins on the right, which differs where predictions lie on an edge.

    >>> ece(np.array([0.75, 0.75]), np.array([True, False]))
    0.25
    """
    gaps = _bin_gaps(confidence, hit[None, :].astype(float), n_bins)
    return float(gaps[0])


def _bin_gaps(
    confidence: Probability, hits: Float[np.ndarray, "draw patient"], n_bins: int
) -> Float[np.ndarray, " draw"]:
    """The ECE of several outcomes for the same predictions."""
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    member = np.eye(n_bins)[bins]
    return np.abs((hits - confidence) @ member).sum(axis=1) / len(confidence)


def ece_estimates(y: Labels, probabilities: Probabilities, *, seed: int) -> dict[str, Estimate]:
    """Top-label and classwise ECE, each beside what a perfectly calibrated model of this n would show.

    The ECE is never 0 in a finite sample (Roelofs et al., AISTATS 2022): labels are drawn from the predictions
    1000 times, and the mean and the 2.5 to 97.5 % range of their ECE are the yardstick. A resampling interval
    of the ECE itself would be biased upward, so there is none.
    """
    n = len(y)
    bins = f"{_ECE_BINS} equal-width bins closed on the left"
    names = ("ece_top_label", "ece_classwise")
    if n < FEWEST:
        reason = f"only {n} labeled patients" if n else "0 labeled patients"
        wanted = [*names, *(f"{name}_if_calibrated" for name in names)]
        return {name: not_estimable(reason, n=n, method=f"ECE, {bins}") for name in wanted}
    drawn = _draw_labels(probabilities, np.random.default_rng(seed))
    observed = _both_eces(y[None, :], probabilities)
    simulated = _both_eces(drawn, probabilities)
    found: dict[str, Estimate] = {}
    for name, value, draws in zip(names, observed, simulated, strict=True):
        method = f"ECE, {bins}; no interval, but see {name}_if_calibrated"
        found[name] = without_interval(float(value[0]), "", n=n, method=method)
        low, high = np.quantile(draws, [0.025, 0.975])
        method = f"mean ECE of {_SIMULATIONS} simulated perfectly calibrated outcomes, {bins}"
        found[f"{name}_if_calibrated"] = Estimate(float(draws.mean()), float(low), float(high), n, method)
    return found


def _draw_labels(probabilities: Probabilities, rng: np.random.Generator) -> Int[np.ndarray, "draw patient"]:
    """Outcomes of a world in which the predictions are exactly right."""
    edges = np.cumsum(probabilities, axis=1)[:, :-1]
    thrown = rng.random((_SIMULATIONS, len(probabilities), 1))
    return (thrown > edges).sum(axis=2)


def _both_eces(
    labels: Int[np.ndarray, "draw patient"], probabilities: Probabilities
) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, " draw"]]:
    """Top-label ECE, and the mean of the classes' ECEs."""
    likeliest = probabilities.argmax(axis=1)
    top = _bin_gaps(probabilities.max(axis=1), (labels == likeliest).astype(float), _ECE_BINS)
    each = [
        _bin_gaps(probabilities[:, c].copy(), (labels == c).astype(float), _ECE_BINS)
        for c in range(probabilities.shape[1])
    ]
    return top, np.mean(each, axis=0)
