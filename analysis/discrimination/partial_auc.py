"""The AUC where few patients are called positive by mistake: specificity of at least 90 %."""

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float64
from sklearn.metrics import roc_auc_score

from analysis.discrimination.auc_kernel import Multiplicities, Ranking, rank
from analysis.discrimination.aucs import SEPARATED, shortage
from analysis.inference.bootstrap import NO_VARIATION, percentile, resampled
from analysis.inference.intervals import FEWEST, without_interval
from triher.estimate import Estimate, not_estimable
from triher.types import Labels, Scores

MOST_FALSE = 0.1
"""The largest false positive rate that counts."""


def partial_auc(
    condition: Bool[np.ndarray, " patient"],
    score: Scores,
    *,
    names: tuple[str, str],
    resamples: int,
    seed: int,
    strata: Labels | None = None,
) -> Estimate:
    """The area under the ROC curve up to a false positive rate of 10 %, standardized as McClish does.

    0.5 is guessing, 1 is perfect (McClish, Med Decis Making 1989;9:190). The interval is of a stratified bootstrap.

    Args:
        condition: who has the condition.
        score: higher means likelier.
        names: what those with and those without it are called, for the reason when one side is empty.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        strata: within which patients are drawn; the two sides when None.
    """
    n = len(score)
    method = f"partial AUC, McClish, {resamples} stratified bootstrap resamples, percentile"
    counts = dict(zip(names, (int(condition.sum()), int((~condition).sum())), strict=True))
    missing = shortage(counts, fewest=1)
    if missing:
        return not_estimable(missing, n=n, method=method)
    value = float(roc_auc_score(condition, score, max_fpr=MOST_FALSE))
    few = shortage(counts, fewest=FEWEST)
    if few:
        return without_interval(value, few, n=n, method=method)
    ranking = rank(condition, score)
    groups = condition.astype(np.int64) if strata is None else strata
    draws = resampled(groups, lambda w: weighted_partial_auc(ranking, w)[:, None], resamples=resamples, seed=seed)
    found = percentile(value, draws[:, 0], n=n, method=method)
    perfect = math.isclose(value, 1.0) and found.reason == NO_VARIATION
    return replace(found, reason=SEPARATED) if perfect else found


def weighted_partial_auc(ranking: Ranking, weights: Multiplicities) -> Float64[np.ndarray, " resample"]:
    """The standardized partial AUC in every resample; each side must keep a patient in each."""
    weights, condition = weights[:, ranking.order[::-1]], ranking.condition[::-1]
    ends = np.roll(ranking.closes, 1)[::-1]  # from the highest score, a group ends where it began
    true = np.cumsum(weights * condition, axis=1)[:, ends]
    false = np.cumsum(weights * ~condition, axis=1)[:, ends]
    true, false = (np.pad(side / side[:, -1:], ((0, 0), (1, 0))) for side in (true, false))
    width, height = np.diff(false, axis=1), np.diff(true, axis=1)
    inside = np.diff(np.minimum(false, MOST_FALSE), axis=1)
    share = np.divide(inside, width, out=np.zeros_like(width), where=width > 0)
    area = (inside * (true[:, :-1] + height * share / 2)).sum(axis=1)
    least = MOST_FALSE**2 / 2
    return (1 + (area - least) / (MOST_FALSE - least)) / 2
