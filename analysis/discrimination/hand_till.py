"""The multi-class AUC of Hand and Till, which the classes' shares do not move."""

from itertools import combinations

import numpy as np
from jaxtyping import Float

from analysis.discrimination.auc_kernel import Multiplicities, Ranking, among, rank
from analysis.inference.bootstrap import class_estimates, mean_area, without_variation
from analysis.patients.samples import class_label
from triher.estimate import Estimate
from triher.types import Labels, Probabilities


def hand_till(
    y: Labels,
    probabilities: Probabilities,
    classes: tuple[str, ...],
    *,
    resamples: int,
    seed: int,
    strata: Labels | None = None,
) -> Estimate:
    """M, the mean over all pairs of classes of the AUC of each against the other.

    A(i|j) ranks the patients of the classes i and j by the probability of i; M is the mean of A(i|j) and A(j|i) over
    all pairs. Where a class has no patient M is not estimable. Source: Hand & Till, Mach Learn 2001;45:171.

    Args:
        y: position of each patient's class.
        probabilities: scores of the classes.
        classes: of the scheme.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        strata: within which patients are drawn; their classes when None.
    """
    rankings = _rankings(y, probabilities)

    def found(weights: Multiplicities) -> Float[np.ndarray, "resample statistic"]:
        return mean_area(rankings, weights)[:, None]

    names, labels = ("Hand and Till's M",), tuple(map(class_label, classes))
    [mean] = class_estimates(y, found, labels, names, resamples=resamples, seed=seed, strata=strata)
    sizes = np.bincount(y, minlength=len(classes)).tolist()
    return without_variation(mean, probabilities, [min(pair) for pair in combinations(sizes, 2)])


def _rankings(y: Labels, probabilities: Probabilities) -> list[Ranking]:
    """Both directions of every pair of classes."""
    rankings = []
    for pair in combinations(range(probabilities.shape[1]), 2):
        members = np.flatnonzero(np.isin(y, pair))
        rankings += [among(rank(y[members] == c, probabilities[members, c]), members) for c in pair]
    return rankings
