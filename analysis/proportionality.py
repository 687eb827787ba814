"""Whether hazards are proportional: the exact score test, as `cox.zph` in R's survival since version 3."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import chi2, rankdata

from analysis.followup import Events, Months
from triher.errors import unknown_name

Design = Float64[np.ndarray, "patient covariate"]
Transform = Float64[np.ndarray, " event"]


@dataclass(frozen=True)
class ProportionalityTest:
    """Chi-square and p of one coefficient, or of all together (``GLOBAL``)."""

    name: str
    chisq: float
    df: int
    p: float


def proportionality_tests(
    x: Design,
    beta: Float64[np.ndarray, " covariate"],
    time: Months,
    event: Events,
    strata: tuple[str, ...],
    names: tuple[str, ...],
    transform: str = "km",
) -> tuple[ProportionalityTest, ...]:
    """Score tests of adding x * g(t) to a Cox model (Grambsch & Therneau, Biometrika 1994;81:515).

    The information matrix is computed at every event time; the approximation that takes it as constant, which
    R used before version 3 and lifelines uses, can be far off. Ties after Efron.

    Args:
        x: the model's columns.
        beta: its coefficients at the maximum of the partial likelihood.
        time: any unit.
        event: True for an event.
        strata: group of each patient.
        names: of the columns.
        transform: g(t): ``km`` (1 - Kaplan-Meier just before t), ``rank`` (among all times), ``identity`` or ``log``.

    Returns:
        One test a coefficient with 1 degree of freedom, then ``GLOBAL``.

    Raises:
        StopRun: ``unknown_name``.
    """
    g = dict(zip(*_transformed(time, event, transform), strict=True))
    k = x.shape[1]
    score, information = np.zeros(2 * k), np.zeros((2 * k, 2 * k))
    weight = np.exp((x - x.mean(axis=0)) @ beta)
    groups = np.array(strata, dtype=str)
    for stratum in np.unique(groups):
        inside = groups == stratum
        for t in np.unique(time[inside & event]):
            residual, variance = _event_time(x[inside], weight[inside], time[inside], event[inside], t)
            both = np.array([1.0, g[t]])
            score += np.kron(both, residual)
            information += np.kron(np.outer(both, both), variance)
    score[:k] = 0  # zero at the maximum, but for rounding
    tests = [_test(name, score, information, [*range(k), k + j]) for j, name in enumerate(names)]
    return (*tests, _test("GLOBAL", score, information, list(range(2 * k))))


def _event_time(
    x: Design, weight: Float64[np.ndarray, " patient"], time: Months, event: Events, t: float
) -> tuple[Float64[np.ndarray, " covariate"], Float64[np.ndarray, "covariate covariate"]]:
    """Sum of the Schoenfeld residuals and of the variances of x at one event time (Efron's ties)."""
    at_risk = time >= t
    dying = event & (time == t)
    n_dying = int(dying.sum())
    residual = x[dying].sum(axis=0)
    variance = np.zeros((x.shape[1], x.shape[1]))
    for j in range(n_dying):
        w = weight * at_risk * (1 - dying * j / n_dying)
        w = w / w.sum()
        mean = w @ x
        centered = x - mean
        residual = residual - mean
        variance += (centered * w[:, None]).T @ centered
    return residual, variance


def _transformed(time: Months, event: Events, transform: str) -> tuple[list[float], Transform]:
    """The event times and g at each, centered (which changes nothing but the rounding)."""
    times, deaths = np.unique(time[event], return_counts=True)
    if transform == "km":
        at_risk = np.array([(time >= t).sum() for t in times])
        g = 1 - np.concatenate([[1.0], np.cumprod(1 - deaths / at_risk)[:-1]])
    elif transform == "rank":
        ranks = dict(zip(time.tolist(), rankdata(time), strict=True))
        g = np.array([ranks[t] for t in times.tolist()])
    elif transform in {"identity", "log"}:
        g = times.copy() if transform == "identity" else np.log(times)
    else:
        raise unknown_name("time transform", transform, ["km", "rank", "identity", "log"])
    return times.tolist(), g - np.average(g, weights=deaths)


def _test(
    name: str,
    score: Float64[np.ndarray, " all"],
    information: Float64[np.ndarray, "all all"],
    columns: list[int],
) -> ProportionalityTest:
    """The score test of the time-dependent columns given the constant ones."""
    u = score[columns]
    chisq = float(u @ np.linalg.solve(information[np.ix_(columns, columns)], u))
    df = len(columns) - len(score) // 2
    return ProportionalityTest(name, chisq, df, float(chi2.sf(chisq, df)))
