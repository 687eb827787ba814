"""Whether hazards are proportional: the exact score test, as `cox.zph` in R's survival since version 3."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import chi2, rankdata

from analysis.survival.followup import Events, Months
from analysis.survival.partial_likelihood import Design, evaluate, information, residuals, risk_sets
from triher.errors import unknown_name

_SINGULAR = 1e-10
"""Smallest eigenvalue of the scaled information below which a column follows from others."""

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
    R used before version 3 and lifelines uses, can be far off. Ties after Efron. The score for the columns
    themselves is taken as 0, which it is at the maximum.

    Args:
        x: the model's columns.
        beta: its coefficients at the maximum of the partial likelihood.
        time: any unit.
        event: True for an event.
        strata: group of each patient.
        names: of the columns.
        transform: g(t): ``km`` (1 - Kaplan-Meier just before t), ``rank`` (among all times), ``identity`` or ``log``.

    Returns:
        One test a coefficient with 1 degree of freedom, then ``GLOBAL``; without those that the events leave no room
        for, as where all happen at one time.

    Raises:
        StopRun: ``unknown_name``.
    """
    times, g = _transformed(time, event, transform)
    k = x.shape[1]
    score, whole = np.zeros(2 * k), np.zeros((2 * k, 2 * k))
    scale = x.std(axis=0)  # which leaves the tests as they are, but for the rounding
    for state in evaluate(risk_sets(time, event, strata), (x - x.mean(axis=0)) / scale, beta * scale):
        at = g[np.searchsorted(times, state.stratum.times)]
        score[k:] += at @ residuals(state)
        moments = [information(state, at**power) for power in range(3)]
        whole += np.block([[moments[0], moments[1]], [moments[1], moments[2]]])
    asked = {name: [*range(k), k + j] for j, name in enumerate(names)} | {"GLOBAL": list(range(2 * k))}
    tests = (_test(name, score, whole, columns) for name, columns in asked.items())
    return tuple(test for test in tests if test is not None)


def _transformed(time: Months, event: Events, transform: str) -> tuple[Transform, Transform]:
    """The event times and g at each, centered (which changes nothing but the rounding)."""
    times, deaths = np.unique(time[event], return_counts=True)
    everyone = np.sort(time)
    if transform == "km":
        at_risk = len(time) - np.searchsorted(everyone, times, side="left")
        g = 1 - np.concatenate([[1.0], np.cumprod(1 - deaths / at_risk)[:-1]])
    elif transform == "rank":
        g = rankdata(everyone)[np.searchsorted(everyone, times)]
    elif transform in {"identity", "log"}:
        g = times.copy() if transform == "identity" else np.log(times)
    else:
        raise unknown_name("time transform", transform, ["km", "rank", "identity", "log"])
    return times, g - np.average(g, weights=deaths)


def _test(
    name: str,
    score: Float64[np.ndarray, " all"],
    information: Float64[np.ndarray, "all all"],
    columns: list[int],
) -> ProportionalityTest | None:
    """The score test of the time-dependent columns given the constant ones; None without information on them."""
    u, matrix = score[columns], information[np.ix_(columns, columns)]
    spread = np.sqrt(np.diag(matrix))
    if not spread.all() or np.linalg.eigvalsh(matrix / np.outer(spread, spread))[0] < _SINGULAR:
        return None
    chisq = float(u @ np.linalg.solve(matrix, u))
    df = len(columns) - len(score) // 2
    return ProportionalityTest(name, chisq, df, float(chi2.sf(chisq, df)))
