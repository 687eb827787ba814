"""Net benefit: what deciding by the model gains over treating everybody or nobody.

NB(t) = TP/n - FP/n t/(1 - t), where t is the probability of benefit from which on one would treat (Vickers & Elkin,
Med Decis Making 2006;26:565). A net benefit of 0.1 is worth as much as 10 patients rightly treated in 100, with
nobody treated in vain.

The share of those who benefit is a part of the net benefit, and in a cohort it is estimated like all else, so the
intervals resample patients freely, not within their classes. Where the class shares are given, they are known and the
shares treated within each class are estimated, so patients are resampled within classes, as for case-control studies
(Pfeiffer & Gail, Biom J 2020;62:764).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Real

from analysis.calibration.recalibration import stated_shares
from analysis.decisions.actions import Action, benefit_score, benefits_label, who_benefits
from analysis.discrimination.auc_kernel import Multiplicities
from analysis.discrimination.aucs import shortage
from analysis.inference.bootstrap import NO_VARIATION, resampled
from analysis.inference.intervals import FEWEST, without_interval
from analysis.patients.samples import DECIMALS, class_label
from triher.estimate import Estimate, not_estimable
from triher.types import Labels, Probabilities, Scores

_PER = 100  # patients, for the interventions avoided
_QUANTITIES = (
    "net_benefit", "net_benefit_all", "net_benefit_lead", "standardized_net_benefit", "interventions_avoided",
)  # fmt: skip
_BESIDE = ("net_benefit_baseline", "net_benefit_ahead")

Thresholds = Float64[np.ndarray, " threshold"]
Weights = Real[np.ndarray, "resample patient"]
Benefits = Float[np.ndarray, "resample threshold"]

THRESHOLDS: Thresholds = np.round(np.arange(0.01, 0.995, 0.01), 2)
"""Of the curves."""
TOLD = (0.05, 0.8)
"""The thresholds that the report speaks of; beyond them single patients decide."""


@dataclass(frozen=True)
class Curve:
    """One action's net benefit over the thresholds."""

    action: Action
    thresholds: tuple[float, ...]
    n: int
    given: bool
    """Whether the class shares are given, and not those of the cohort."""
    share: float
    """Of those who benefit."""
    quantities: Mapping[str, tuple[Estimate, ...]]
    """Quantity -> an estimate for each threshold: ``net_benefit`` of the model, ``net_benefit_all`` of treating
    everybody, ``net_benefit_lead`` of the model over the better one of treating everybody and nobody,
    ``standardized_net_benefit`` (by the share of those who benefit, so that 1 is perfect; Kerr et al., J Clin Oncol
    2016;34:2534), ``interventions_avoided`` in 100 patients beside treating everybody.
    With a baseline also ``net_benefit_baseline`` and ``net_benefit_ahead`` (model minus baseline)."""

    def at(self, quantity: str, threshold: float) -> Estimate:
        """The estimate of a quantity at one of the thresholds."""
        return self.quantities[quantity][self.thresholds.index(threshold)]


def net_benefit(
    benefits: Bool[np.ndarray, " patient"], score: Scores, thresholds: Thresholds, weights: Weights
) -> Benefits:
    """The net benefit of treating from a threshold on, in every resample at once.

    Args:
        benefits: who would benefit.
        score: predicted probability of benefit.
        thresholds: in [0, 1); at 1 a treatment in vain would weigh infinitely much.
        weights: how much each patient counts, a row for each resample.

    Raises:
        ValueError: when a threshold lies outside [0, 1).

    >>> y, p = np.array([True, False, False, True]), np.array([0.9, 0.6, 0.1, 0.3])
    >>> net_benefit(y, p, np.array([0.0, 0.2, 0.5]), np.ones((1, 4)))
    array([[0.5   , 0.4375, 0.    ]])
    """
    if not np.all((thresholds >= 0) & (thresholds < 1)):
        raise ValueError(f"thresholds must lie in [0, 1), found {thresholds.min():g} to {thresholds.max():g}")
    odds = thresholds / (1 - thresholds)
    gained = np.where(benefits[:, None], 1.0, -odds) * (score[:, None] >= thresholds)
    return weights @ gained / weights.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class _Question:
    """What one curve is computed from."""

    benefits: Bool[np.ndarray, " patient"]
    score: Scores
    baseline: Scores | None
    worth: Float64[np.ndarray, " patient"]
    """How much each patient counts, so that the classes have their shares."""
    thresholds: Thresholds

    def answers(self, counts: Weights) -> dict[str, Benefits]:
        """All quantities in every resample."""
        weights = counts * self.worth
        model = net_benefit(self.benefits, self.score, self.thresholds, weights)
        share = (weights @ self.benefits / weights.sum(axis=1))[:, None]
        odds = self.thresholds / (1 - self.thresholds)
        everybody = share - (1 - share) * odds
        found = {
            "net_benefit": model,
            "net_benefit_all": everybody,
            "net_benefit_lead": model - np.maximum(everybody, 0),
            "standardized_net_benefit": np.divide(model, share, out=np.full_like(model, np.nan), where=share > 0),
            "interventions_avoided": _PER * (model - everybody) / odds,
        }
        if self.baseline is not None:
            found["net_benefit_baseline"] = net_benefit(self.benefits, self.baseline, self.thresholds, weights)
            found["net_benefit_ahead"] = model - found["net_benefit_baseline"]
        return {quantity: np.round(values, DECIMALS) for quantity, values in found.items()}


def decision_curve(
    y: Labels,
    probabilities: Probabilities,
    classes: tuple[str, ...],
    action: Action,
    *,
    resamples: int,
    seed: int,
    baseline: Probabilities | None = None,
    shares: Float64[np.ndarray, " class"] | None = None,
    thresholds: Thresholds = THRESHOLDS,
) -> Curve:
    """Judge one action with pointwise percentile intervals; all strategies see the same resamples.

    The lead is over the default that is better in each resample, which is a little stricter than over one that was
    chosen beforehand.

    Args:
        y: position of each patient's class.
        probabilities: of the model.
        classes: of the scheme.
        action: who is treated and who benefits.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        baseline: another model's probabilities of the same patients.
        shares: of the classes where the model is to be used; those of the cohort when None. The predictions stay as
            they are.
        thresholds: in (0, 1).
    """
    benefits, n = who_benefits(y, classes, action), len(y)
    how = "patients resampled freely" if shares is None else "class shares given, resampled within classes"
    method = f"{resamples} bootstrap resamples, {how}, percentile"
    place = (action, tuple(thresholds.tolist()), n, shares is not None)
    missing = _shortage(y, classes, action, shares, fewest=1)
    if missing:
        names = [*_QUANTITIES, *([] if baseline is None else _BESIDE)]
        nothing = {q: (not_estimable(missing, n=n, method=_method(q, method)),) * len(thresholds) for q in names}
        return Curve(*place, float(benefits.mean()) if n else math.nan, nothing)
    question = _Question(
        benefits,
        benefit_score(probabilities, classes, action),
        None if baseline is None else benefit_score(baseline, classes, action),
        np.ones(n) if shares is None else class_weights(y, shares),
        thresholds,
    )
    values = question.answers(np.ones((1, n)))
    few = _shortage(y, classes, action, shares, fewest=FEWEST)
    draws = {} if few else _draws(question, np.zeros(n, np.int64) if shares is None else y, resamples, seed)
    found = {q: _estimates(values[q][0], draws.get(q), n=n, method=_method(q, method), reason=few) for q in values}
    return Curve(*place, float(np.average(benefits, weights=question.worth)), found)


def _draws(question: _Question, strata: Labels, resamples: int, seed: int) -> dict[str, Benefits]:
    """All quantities in resamples that keep the size of each stratum."""
    names: list[str] = []

    def statistic(counts: Multiplicities) -> Float[np.ndarray, "resample statistic"]:
        found = question.answers(counts)
        names[:] = found
        return np.concatenate(list(found.values()), axis=1)

    drawn = resampled(strata, statistic, resamples=resamples, seed=seed)
    return dict(zip(names, np.split(drawn, len(names), axis=1), strict=True))


def _estimates(
    values: Float[np.ndarray, " threshold"], draws: Benefits | None, *, n: int, method: str, reason: str
) -> tuple[Estimate, ...]:
    """Each value with its interval, or with the reason why there is none."""
    if draws is None:
        return tuple(without_interval(float(value), reason, n=n, method=method) for value in values)
    usable = np.isfinite(draws).all(axis=1)
    if not usable.all():
        method += f", {int(np.sum(~usable))} of them without anybody who benefits and left out"
    kept = draws[usable]
    limits = np.quantile(kept, [0.025, 0.975], axis=0).T.tolist()
    moving = np.ptp(kept, axis=0) > 0
    return tuple(
        Estimate(value, low, high, n, method) if moves else without_interval(value, NO_VARIATION, n=n, method=method)
        for value, (low, high), moves in zip(values.tolist(), limits, moving.tolist(), strict=True)
    )


def class_weights(y: Labels, shares: Float64[np.ndarray, " class"]) -> Float64[np.ndarray, " patient"]:
    """Weights that give every class its share, with mean 1.

    >>> class_weights(np.array([0, 0, 0, 1]), np.array([0.5, 0.5])).round(2)
    array([0.67, 0.67, 0.67, 2.  ])
    """
    counts = np.bincount(y, minlength=len(shares))
    return (shares / np.maximum(1, counts))[y] * len(y)


def given_shares(prevalence: Mapping[str, float], classes: tuple[str, ...]) -> Float64[np.ndarray, " class"] | None:
    """The class shares of ``analysis.prevalence`` in the order of the scheme; None where none are given.

    Raises:
        StopRun: as `analysis.calibration.recalibration.stated_shares`.
    """
    return stated_shares(prevalence, classes) if prevalence else None


def _shortage(
    y: Labels, classes: tuple[str, ...], action: Action, shares: Float64[np.ndarray, " class"] | None, *, fewest: int
) -> str:
    """Which groups are too small: both sides, and every class where the shares are given."""
    if shares is not None:
        return shortage({class_label(name): int(np.sum(y == c)) for c, name in enumerate(classes)}, fewest=fewest)
    benefits, label = who_benefits(y, classes, action), benefits_label(action)
    return shortage({label: int(benefits.sum()), f"other than {label}": int((~benefits).sum())}, fewest=fewest)


def _method(quantity: str, method: str) -> str:
    """How a quantity was had."""
    return f"{quantity.replace('_', ' ')}, {method}"
