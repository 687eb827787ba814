"""Calibration curves of one class: shares in bins, a smooth curve with its band, and how far it is from the diagonal.

Austin & Steyerberg, The integrated calibration index, Stat Med 2019;38:4051.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from analysis.calibration.ece import draw_labels, yardstick
from analysis.inference.bootstrap import multiplicities
from analysis.inference.intervals import FEWEST, wilson, without_interval
from triher.estimate import Estimate, not_estimable

_PER_BIN = 10  # patients that a point of the reliability curve should rest on
_SPAN, _DEGREE = 0.75, 2  # of Austin & Steyerberg, and R's own
_FEWEST_VALUES = 10  # distinct predictions below which a local quadratic follows single patients
_GRID = 60  # points of the drawn curve
_MOST_DRAWS = 300  # a band is drawn, not tested: its ends need no more
_MOST_SIMULATED = 4000  # patients; the smoother's matrix has their square
_ALIKE = "the predictions are too few or too much alike for a smooth curve"

Condition = Bool[np.ndarray, " patient"]
Probability = Float64[np.ndarray, " patient"]
Grid = Float64[np.ndarray, " grid"]


@dataclass(frozen=True)
class Smooth:
    """A loess curve of the observed share over the predicted probability, with a 95 % bootstrap band."""

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Reliability:
    """The reliability curve of one class."""

    class_name: str
    predicted: tuple[float, ...]
    """Mean predicted probability of each bin; bins hold about equally many patients, ordered by prediction."""
    observed: tuple[Estimate, ...]
    """Share of the class in each bin, with Wilson limits."""
    smooth: Smooth | None = None
    """None where there are too few patients or predictions for it."""


def reliability(condition: Condition, p: Probability, class_name: str) -> Reliability:
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


@dataclass(frozen=True)
class CalibrationErrors:
    """Distances |prediction - smooth curve| over the patients."""

    ici: float
    """Their mean, the integrated calibration index."""
    e50: float
    e90: float
    emax: float


def calibration_errors(p: Probability, curve: Probability) -> CalibrationErrors:
    """Mean, median, 90 % quantile and maximum of the distances.

    >>> calibration_errors(np.array([0.2, 0.4]), np.array([0.2, 0.3])).ici.__round__(3)
    0.05
    """
    distance = np.abs(p - curve)
    e50, e90 = np.quantile(distance, [0.5, 0.9])
    return CalibrationErrors(float(distance.mean()), float(e50), float(e90), float(distance.max()))


def loess_curve(condition: Condition, p: Probability, at: Grid | None = None) -> Grid | Probability | None:
    """The observed share as a smooth function of the predicted probability: loess, degree 2, span 0.75, direct.

    The curve may leave 0 to 1 by a little; it is not cut, as in R.

    Args:
        condition: who is of the class.
        p: predicted probability.
        at: where to evaluate, within the range of `p`; at each patient when None.

    Returns:
        None where the predictions are too few or too much alike.
    """
    from skmisc.loess import loess

    if len(np.unique(p)) < _FEWEST_VALUES:
        return None
    try:
        model = loess(p, condition.astype(float), span=_SPAN, degree=_DEGREE, surface="direct")
        model.fit()
        return np.array(model.outputs.fitted_values if at is None else model.predict(at).values)
    except ValueError:  # singular: ties leave too few values in a neighborhood
        return None


def lowess_curve(condition: Condition, p: Probability) -> Probability:
    """The same by R's lowess (f = 2/3, no robustness, delta a hundredth of the range), as ``rms::val.prob`` does.

    Where two thirds of the predictions are equal, a neighborhood has no width, and each patient's own outcome stays,
    as in R.
    """
    from statsmodels.nonparametric.smoothers_lowess import lowess

    delta = 0.01 * float(np.ptp(p))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.array(lowess(condition.astype(float), p, frac=2 / 3, it=0, delta=delta, return_sorted=False))


def smooth_reliability(condition: Condition, p: Probability, *, resamples: int, seed: int) -> Smooth | None:
    """The loess curve between the lowest and the highest prediction, with a pointwise percentile band.

    Args:
        condition: who is of the class.
        p: predicted probability.
        resamples: of the patients within the class and within the rest; at most 300 are drawn. Their curves are
            interpolated between vertices, as R's are unless told otherwise.
        seed: of the resamples.

    Returns:
        None with fewer than 5 patients on a side, or where the predictions are too few or too much alike.
    """
    if min(int(condition.sum()), int((~condition).sum())) < FEWEST:
        return None
    grid = np.linspace(p.min(), p.max(), _GRID)
    curve = loess_curve(condition, p, grid)
    if curve is None:
        return None
    rng = np.random.default_rng(seed)
    counts = multiplicities(condition.astype(np.int64), min(resamples, _MOST_DRAWS), rng)
    draws = [_interpolated(np.repeat(condition, times), np.repeat(p, times), grid) for times in counts]
    low, high = _quantiles(np.array([draw for draw in draws if draw is not None]).reshape(-1, _GRID))
    return Smooth(*(tuple(np.clip(line, 0, 1).tolist()) for line in (grid, curve, low, high)))


def _interpolated(condition: Condition, p: Probability, grid: Grid) -> Grid | None:
    """The curve of one resample, NaN beyond its predictions; None where it has no curve."""
    from skmisc.loess import loess

    found = np.full(len(grid), np.nan)
    inside = (grid >= p.min()) & (grid <= p.max())
    try:
        model = loess(p, condition.astype(float), span=_SPAN, degree=_DEGREE)
        model.fit()
        found[inside] = model.predict(grid[inside]).values
    except ValueError:  # as in `loess_curve`
        return None
    return found


def _quantiles(draws: Float[np.ndarray, "draw grid"]) -> Float[np.ndarray, "2 grid"]:
    """2.5 and 97.5 % of each column, NaN where fewer than half of the resamples reach."""
    found = np.full((2, draws.shape[1]), np.nan)
    reached = np.isfinite(draws).sum(axis=0) >= max(1, len(draws) / 2)
    if reached.any():
        found[:, reached] = np.nanquantile(draws[:, reached], [0.025, 0.975], axis=0)
    return found


def smoother(p: Probability) -> Float64[np.ndarray, "patient patient"]:
    """The matrix S of the loess curve S y at the patients: local quadratics, tricube weights, span 0.75.

    Cleveland, J Am Stat Assoc 1979;74:829. It turns a thousand simulated outcomes of the same predictions into their
    curves at once; scikit-misc fits one outcome at a time, and gives the same curve (see the tests).

    Args:
        p: predictions for which `loess_curve` exists.
    """
    step = p[None, :] - p[:, None]
    distance = np.abs(step)
    nearest = int(np.floor(_SPAN * len(p) + 1e-5))
    reach = np.partition(distance, nearest - 1, axis=1)[:, nearest - 1 : nearest]
    scaled = step / reach
    weight = np.clip(1 - np.abs(scaled) ** 3, 0, None) ** 3
    powers = np.stack([(weight * scaled**k).sum(axis=1) for k in range(2 * _DEGREE + 1)])
    order = np.arange(_DEGREE + 1)
    moments = powers[order[:, None] + order[None, :]].transpose(2, 0, 1)
    first = np.linalg.solve(moments, np.eye(_DEGREE + 1)[:, :1])[..., 0]
    return weight * (first[:, :1] + first[:, 1:2] * scaled + first[:, 2:] * scaled**2)


def error_estimates(condition: Condition, p: Probability, few: str, *, draws: int, seed: int) -> dict[str, Estimate]:
    """ICI, E50, E90 and Emax by loess, each beside its value for a perfectly calibrated model of this n.

    Args:
        condition: who is of the class.
        p: predicted probability.
        few: why nothing can be estimated, or nothing.
        draws: simulated outcomes.
        seed: of the simulation.
    """
    n, how = len(p), "loess of degree 2, span 0.75"
    names = {"ici": f"ICI, {how}", "e50": f"E50, {how}", "e90": f"E90, {how}", "emax": f"Emax, {how}"}
    curve = None if few else loess_curve(condition, p)
    if curve is None:
        missing = {name: not_estimable(few or _ALIKE, n=n, method=what) for name, what in names.items()}
        return missing | {f"{name}_if_calibrated": estimate for name, estimate in missing.items()}
    found = calibration_errors(p, curve)
    estimates: dict[str, Estimate] = {}
    for name, what in names.items():
        method = f"{what}; no interval, but see {name}_if_calibrated"
        estimates[name] = without_interval(getattr(found, name), "", n=n, method=method)
    if n > _MOST_SIMULATED:
        reason = f"not simulated for more than {_MOST_SIMULATED} patients"
        return estimates | {f"{k}_if_calibrated": not_estimable(reason, n=n, method=w) for k, w in names.items()}
    labels = draw_labels(np.column_stack([1 - p, p]), draws, np.random.default_rng(seed))
    distance = np.abs(labels @ smoother(p).T - p)
    simulated = {
        "ici": distance.mean(axis=1),
        "e50": np.median(distance, axis=1),
        "e90": np.quantile(distance, 0.9, axis=1),
        "emax": distance.max(axis=1),
    }
    return estimates | {
        f"{name}_if_calibrated": yardstick(simulated[name], n=n, what=what) for name, what in names.items()
    }
