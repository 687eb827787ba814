"""Whether prediction sets hold the true class as often as promised, by class, cohort and site.

The sets are those that the model gave with its predictions (`classify.conformal`); where a table has none, they are
made by cross-conformal prediction (Vovk, Ann Math Artif Intell 2015;74:9): the patients of each fold by quantiles of
the others.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped
from scipy.stats import binomtest

from analysis.inference.corrected_p import corrected_estimates
from analysis.inference.intervals import wald, wilson
from analysis.patients.samples import class_label
from classify.conformal import fit_conformal, prediction_sets
from triher.errors import unknown_name
from triher.estimate import Estimate, not_estimable
from triher.labels import scheme_classes
from triher.prediction_cells import classes_of_set
from triher.predictions import probability_columns
from triher.types import Labels, Names, Probabilities

GIVEN = "as the model gave them"
_ROUNDING = 1e-9
_P_METHOD = "exact one-sided binomial test of coverage below the promise"


@dataclass(frozen=True)
class Sets:
    """The prediction sets of the labeled patients of one split, ordered by patient."""

    split: str
    y: Labels
    members: Bool[np.ndarray, "patient class"]
    cohort: Names
    site: Names
    patient_id: tuple[str, ...]
    origin: str
    """How the sets came about, in words."""


@dataclass(frozen=True)
class Coverage:
    """How often the sets of one group of patients hold the true class."""

    cohort: str
    site: str
    class_name: str
    """Empty for all classes."""
    covered: Estimate
    sizes: Mapping[str, Estimate]
    """As `set_sizes` gives them."""
    p: Estimate | None = None
    """Of coverage below the promise; None where it was not tested."""
    p_adjusted: Estimate | None = None
    """The same after Benjamini and Hochberg over all tests of the split."""


def fewest_calibration(alpha: float) -> int:
    """How many patients must calibrate a class before a set can leave it out.

    >>> fewest_calibration(0.1), fewest_calibration(0.05)
    (9, 19)
    """
    return math.ceil(1 / alpha - 1 - _ROUNDING)


def split_sets(frame: pd.DataFrame, scheme: str, split: str, alpha: float) -> Sets | str:
    """The sets of a split, or the reason why there are none.

    Where cross-validation was repeated, the first repeat counts, so that each patient counts once.

    Args:
        frame: the prediction table.
        scheme: its label scheme.
        split: which rows.
        alpha: promised error rate, for sets that must be made.

    Raises:
        StopRun: ``unknown_name`` when a set holds a name that is no class.
    """
    classes, rows = scheme_classes(scheme), _first_repeat(frame, split)
    known = rows[rows["y"].notna()]
    if known.empty:
        return "0 labeled patients"
    y = known["y"].to_numpy(float).astype(np.int64)
    if "set" in known and known["set"].notna().all():
        members, origin = read_sets(known["set"].tolist(), classes), GIVEN
    else:
        made = _made_sets(known, y, _first_repeat(frame, "oof"), scheme, alpha)
        if made is None:
            return "the table has no column `set`, and no other fold to calibrate on"
        members, origin = made
    place = [known[name].to_numpy(dtype=str) for name in ("cohort", "site")]
    return Sets(split, y, members, place[0], place[1], tuple(map(str, known["patient_id"])), origin)


def _first_repeat(frame: pd.DataFrame, split: str) -> pd.DataFrame:
    """One row a patient, ordered by id."""
    rows = frame[frame["split"] == split].sort_values(["patient_id", "repeat"], kind="stable")
    return rows.drop_duplicates("patient_id")


def read_sets(texts: Sequence[str], classes: tuple[str, ...]) -> Bool[np.ndarray, "patient class"]:
    """Sets from their text, as `classify.conformal.name_sets` writes them.

    Raises:
        StopRun: ``unknown_name``.

    >>> read_sets(["low|positive", ""], ("zero", "low", "positive"))
    array([[False,  True,  True],
           [False, False, False]])
    """
    found = [set(classes_of_set(text)) for text in texts]
    for name in set().union(*found) - set(classes):
        raise unknown_name("class in the column set", name, classes)
    return np.array([[name in names for name in classes] for names in found])


def _made_sets(
    known: pd.DataFrame, y: Labels, development: pd.DataFrame, scheme: str, alpha: float
) -> tuple[Bool[np.ndarray, "patient class"], str] | None:
    """Sets by the other folds of the split, or where it has one fold, by the development patients."""
    columns = probability_columns(scheme)
    p = known[columns].to_numpy(np.float64)
    if len(known["fold"].unique()) > 1:
        origin = "made by cross-conformal prediction: the patients of each fold by quantiles of the other folds"
        return cross_conformal(p, y, known["fold"].to_numpy(), alpha), origin
    other = development[development["y"].notna() & ~development["patient_id"].isin(known["patient_id"])]
    if other.empty:
        return None
    fitted = fit_conformal(other[columns].to_numpy(np.float64), other["y"].to_numpy(float).astype(np.int64), alpha)
    return prediction_sets(p, fitted), "made by quantiles of the development patients' out-of-fold predictions"


def cross_conformal(
    p: Probabilities, y: Labels, fold: Shaped[np.ndarray, " patient"], alpha: float
) -> Bool[np.ndarray, "patient class"]:
    """The set of each patient by class-conditional quantiles of the patients of other folds."""
    members = np.zeros(p.shape, dtype=bool)
    for name in np.unique(fold):
        out = fold == name
        members[out] = prediction_sets(p[out], fit_conformal(p[~out], y[~out], alpha))
    return members


def judge_coverage(sets: Sets, classes: tuple[str, ...], alpha: float) -> tuple[Coverage, ...]:
    """Coverage of all patients and of each class, then by cohort and by site where there are several.

    Tested is whether these sets, as they were calibrated, cover less than promised: overall, in each class and at
    each place. The p value takes the quantiles as they are; with few calibration patients they may have come out too
    narrow by chance, so a small one shows a broken promise, not its cause.

    Args:
        sets: of one split.
        classes: of the scheme.
        alpha: promised error rate.
    """
    everybody = np.ones(len(sets.y), dtype=bool)
    rows = [_coverage(sets, everybody, classes, None, ("", ""), alpha)]
    rows += [_coverage(sets, everybody, classes, c, ("", ""), alpha) for c in range(len(classes))]
    for place, members in places(sets).items():
        rows.append(_coverage(sets, members, classes, None, place, alpha))
        rows += [_coverage(sets, members, classes, c, place, None) for c in range(len(classes))]
    return _adjusted(rows)


def places(sets: Sets) -> dict[tuple[str, str], Bool[np.ndarray, " patient"]]:
    """Cohort and site -> who is there; cohorts and sites only where there are several."""
    cohorts, sites = np.unique(sets.cohort).tolist(), sorted(set(zip(sets.cohort, sets.site, strict=True)))
    found = {(name, ""): sets.cohort == name for name in cohorts} if len(cohorts) > 1 else {}
    if len(sites) > 1 and sites != [(name, name) for name in cohorts]:
        found |= {(str(c), str(s)): (sets.cohort == c) & (sets.site == s) for c, s in sites}
    return found


def _coverage(
    sets: Sets,
    group: Bool[np.ndarray, " patient"],
    classes: tuple[str, ...],
    label: int | None,
    place: tuple[str, str],
    alpha: float | None,
) -> Coverage:
    """One group; tested against the promise where alpha is given."""
    chosen = group if label is None else group & (sets.y == label)
    hits, n = int(sets.members[chosen, sets.y[chosen]].sum()), int(chosen.sum())
    name = "" if label is None else classes[label]
    covered = wilson(hits, n, of_what=class_label(name) if name else "labeled patients")
    p = None if alpha is None else coverage_p(hits, n, alpha, of_what=class_label(name) if name else "patients")
    return Coverage(*place, name, covered, set_sizes(sets.members[chosen]), p)


def coverage_p(hits: int, n: int, alpha: float, *, of_what: str) -> Estimate:
    """The chance of covering so few, or fewer, if each set holds the true class with probability 1 - alpha.

    >>> round(coverage_p(7, 10, 0.1, of_what="patients").value, 4)
    0.0702
    """
    if n == 0:
        return not_estimable(f"0 {of_what}", n=0, method=_P_METHOD)
    p = float(binomtest(hits, n, 1 - alpha, alternative="less").pvalue)
    return Estimate(p, math.nan, math.nan, n, _P_METHOD)


def _adjusted(rows: Sequence[Coverage]) -> tuple[Coverage, ...]:
    """Correct the p values of a split after Benjamini and Hochberg."""
    tested = [i for i, row in enumerate(rows) if row.p is not None and math.isfinite(row.p.value)]
    found = dict(zip(tested, corrected_estimates([p for i in tested if (p := rows[i].p) is not None]), strict=True))
    return tuple(replace(row, p_adjusted=found[i]) if i in found else row for i, row in enumerate(rows))


def set_sizes(members: Bool[np.ndarray, "patient class"]) -> dict[str, Estimate]:
    """Mean size of the sets (Wald limits), and the shares that are empty, of one class, and of all classes."""
    n, sizes = len(members), members.sum(axis=1)
    method = "mean number of classes in a set, Wald"
    if n < 2:
        mean = not_estimable(f"only {n} labeled patient" if n else "0 labeled patients", n=n, method=method)
    else:
        error = float(sizes.std(ddof=1)) / math.sqrt(n)
        mean = wald(float(sizes.mean()), error, n=n, method=method, bounds=(0.0, float(members.shape[1])))
    counts = {"sets_empty": 0, "sets_single": 1, "sets_full": members.shape[1]}
    shares = {name: wilson(int((sizes == k).sum()), n, of_what="labeled patients") for name, k in counts.items()}
    return {"set_size": mean, **shares}


def always_in(members: Bool[np.ndarray, "patient class"], classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes that no set leaves out, so that their coverage is no achievement."""
    return tuple(name for name, column in zip(classes, members.T, strict=True) if column.all())
