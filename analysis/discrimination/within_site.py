"""Discrimination among patients of the same site, which neither the sites' class shares nor their models can lift.

Pooled scores of several models, or of sites with other class shares, rank sites as well as patients: a site's
patients may all score higher because its model, or its scanner, does. Pairs within a site are free of that
(within-cluster concordance, van Klaveren et al., BMC Med Res Methodol 2014;14:5; pooled scores of folds, Parker et
al., BMC Bioinformatics 2007;8:326).
"""

import numpy as np
from jaxtyping import Float

from analysis.discrimination.auc_kernel import Multiplicities, Ranking, among, concordance, rank
from analysis.discrimination.aucs import shortage
from analysis.inference.bootstrap import percentile, resampled
from analysis.inference.intervals import FEWEST, without_interval
from analysis.patients.samples import class_label
from triher.estimate import Estimate, not_estimable
from triher.types import Labels, Probabilities

_MOST_WITHOUT = 0.05  # share of resamples without a pair above which the others no longer show the spread


def within_site_auc(
    y: Labels, probabilities: Probabilities, place: Labels, classes: tuple[str, ...], *, resamples: int, seed: int
) -> Estimate:
    """The macro one-vs-rest AUC over pairs of patients of the same site.

    For each class the pairs of all sites are counted together, so that a site weighs as much as it has pairs.
    The interval resamples patients within each class over all sites: sites grow and shrink as in a new sample of
    patients. Resampling within class and site takes a patient who is alone there for one without spread, and sites
    are too few to be resampled: in simulated cohorts of 2 to 25 sites and 50 to 5 patients each, 95 % intervals of
    this kind held the truth in 94 to 99.7 % (the most where a class had one or two patients a site), those within
    class and site in 82 to 95 %, those over sites in 54 to 92 %. It says nothing about other sites.

    Args:
        y: position of each patient's class.
        probabilities: scores of the classes.
        place: number of each patient's site.
        classes: of the scheme.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        The AUC; ``n`` counts the patients at sites with two classes or more, as the others form no pair.
    """
    method = f"macro one-vs-rest AUC within sites, {resamples} bootstrap resamples stratified by class, percentile"
    paired = _has_other_class(y, place)
    y, probabilities, place = y[paired], probabilities[paired], place[paired]
    n = len(y)
    missing = shortage({class_label(name): int(np.sum(y == c)) for c, name in enumerate(classes)}, fewest=1)
    if missing:
        return not_estimable(f"{missing} at sites with another class", n=n, method=method)

    rankings = _rankings(y, probabilities, place)

    def areas(weights: Multiplicities) -> Float[np.ndarray, "resample statistic"]:
        return _macro_within(rankings, weights)[:, None]

    value = float(areas(np.ones((1, n), np.int32))[0, 0])
    few = shortage(_fewest_in_pairs(y, place, classes), fewest=FEWEST)
    if few:
        return without_interval(value, f"{few} at sites with another class", n=n, method=method)
    draws = resampled(y, areas, resamples=resamples, seed=seed)[:, 0]
    without = int(np.sum(~np.isfinite(draws)))
    if without > _MOST_WITHOUT * resamples:
        reason = f"in {without} of {resamples} resamples a class has no pair within a site"
        return without_interval(value, reason, n=n, method=method)
    return percentile(value, draws, n=n, method=method)


def _has_other_class(y: Labels, place: Labels) -> np.ndarray:
    """Who is at a site with two classes or more."""
    mixed = [site for site in np.unique(place) if len(np.unique(y[place == site])) > 1]
    return np.isin(place, mixed)


def _fewest_in_pairs(y: Labels, place: Labels, classes: tuple[str, ...]) -> dict[str, int]:
    """Of each class and of its counterpart, how many meet somebody of the other side at their site."""
    counts: dict[str, int] = {}
    for c, name in enumerate(classes):
        label = class_label(name)
        counts[label] = int(np.sum(y == c))
        counts[f"other than {label}"] = int(np.sum((y != c) & np.isin(place, place[y == c])))
    return counts


def _rankings(y: Labels, probabilities: Probabilities, place: Labels) -> list[list[Ranking]]:
    """For each class its ranking within each site."""
    members = [np.flatnonzero(place == site) for site in np.unique(place)]
    return [
        [among(rank(y[at] == c, probabilities[at, c]), at) for at in members] for c in range(probabilities.shape[1])
    ]


def _macro_within(rankings: list[list[Ranking]], weights: Multiplicities) -> Float[np.ndarray, " resample"]:
    """The mean over the classes of concordant pairs by all pairs; NaN where a class has none."""
    areas = []
    for of_class in rankings:
        parts = [concordance(ranking, weights) for ranking in of_class]
        concordant, pairs = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
        areas.append(np.divide(concordant, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))
    return np.mean(areas, axis=0)
