"""Intervals of cross-validated estimates, widened for what the models of the folds have in common.

An interval from pooled out-of-fold scores takes each patient's score as given. But each patient also trained the
models of others, and they the one that judged this patient: what a sample happens to favor is learned and then found
again. Nadeau & Bengio (Mach Learn 2003;52:239) correct for it: the mean of J test parts of n2 patients, each judged
by a model of n1 others, has the variance (1/J + n2/n1) S^2, S^2 that of one test part, in place of S^2 / J. For k
folds with all patients judged together the standard error grows by sqrt(1 + k/(k - 1)): 1.5 for five folds.

Their J counts repeats of the folds. Ours does not: drawing folds again draws no patients again, and the interval of
averaged scores is no narrower. Where there is nothing to learn, each pair of patients counts twice, as training and
test patient and the other way round; that doubles the variance (factor 1.41) for any number of folds and of repeats.

In 18 simulated settings of three classes (`benchmarks/coverage.py`, figures in ``docs/heads.md``) plain 95 %
intervals held the true AUC of the folds' models in 80 to 95 % of the cohorts (mean 86), widened ones in 94 to 100 %
(mean 97); with repeats counted as in the paper, three gave 89 to 98 %. The correction is too cautious where the
signal is strong for the number of patients. The AUC of the model of all patients, a little better than those of the
folds, was held in 92 to 100 %.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from analysis.metrics import Metric
from triher.estimate import Estimate

_AREAS = (
    "auc_macro", "auc_micro", "auc_hand_till", "auc_within_site", "auc", "auc_partial", "auc_zero_vs_rest",
    "auc_low_vs_positive",
)  # fmt: skip
_SEVERAL = 2


@dataclass(frozen=True)
class Folds:
    """How some patients were predicted."""

    n: int
    """Models a repeat."""
    share: float = 1.0
    """Those judged, as a share of all labeled patients whom these models predicted."""


def folds_of(frame: pd.DataFrame, split: str, *, cohort: str = "", site: str = "") -> Folds | None:
    """Read from a prediction table how the labeled patients of a place were predicted.

    Args:
        frame: a prediction table as `triher.predictions.read_predictions` gives it.
        split: of that table.
        cohort: all when empty.
        site: all when empty.

    Returns:
        None where one model predicted them all, or there is nobody.
    """
    rows = frame[(frame["split"] == split) & frame["y"].notna()]
    here = rows
    for column, name in (("cohort", cohort), ("site", site)):
        here = here[here[column] == name] if name else here
    if _models(here) < _SEVERAL:
        return None
    return Folds(_models(rows), len(here["patient_id"].unique()) / len(rows["patient_id"].unique()))


def _models(rows: pd.DataFrame) -> int:
    """How many models predicted some rows of a split within one repeat, at most."""
    return int(rows.groupby("repeat")["fold"].nunique().max()) if len(rows) else 0


def widening(folds: Folds | None) -> float:
    """Nadeau & Bengio's factor for such scores; 1 where one model gave them.

    >>> widening(Folds(5)), widening(None)
    (1.5, 1.0)
    """
    return 1.0 if folds is None else math.sqrt(1 + folds.share * folds.n / (folds.n - 1))


def widened(estimate: Estimate, folds: Folds, *, bounds: tuple[float, float]) -> Estimate:
    """Widen both sides of an interval about the value by Nadeau & Bengio's factor.

    Args:
        estimate: with an interval from pooled out-of-fold scores; returned as it is when there is none.
        folds: how its patients were predicted. Of a part of the patients only that share was found again by what
            was learned from the same part, which n2 and n1 of the correction say, too.
        bounds: of the scale, where the interval is cut.

    >>> print(widened(Estimate(0.7, 0.66, 0.74, 300, "AUC"), Folds(5), bounds=(0.0, 1.0)))
    0.700 (0.640 to 0.760)
    """
    if not math.isfinite(estimate.low):
        return estimate
    factor = widening(folds)
    low = max(bounds[0], estimate.value - factor * (estimate.value - estimate.low))
    high = min(bounds[1], estimate.value + factor * (estimate.high - estimate.value))
    method = f"{estimate.method}, widened by {factor:.2f} for {folds.n} folds (Nadeau & Bengio 2003)"
    return replace(estimate, low=low, high=high, method=method)


def honest(metrics: Iterable[Metric], frame: pd.DataFrame) -> list[Metric]:
    """Widen the intervals of the AUCs wherever several models gave the scores.

    Args:
        metrics: rows of ``metrics.csv``; other quantities stay as they are.
        frame: the prediction table that they were computed from, with all repeats.
    """
    known: dict[tuple[str, str, str], Folds | None] = {}
    found = []
    for metric in metrics:
        place = (metric.split, metric.cohort, metric.site)
        if place not in known:
            known[place] = folds_of(frame, metric.split, cohort=metric.cohort, site=metric.site)
        folds = known[place]
        if metric.quantity in _AREAS and folds is not None:
            found.append(replace(metric, estimate=widened(metric.estimate, folds, bounds=(0.0, 1.0))))
        else:
            found.append(metric)
    return found
