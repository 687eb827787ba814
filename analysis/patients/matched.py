"""Matched cases: pairs of a HER2-zero and a HER2-low patient with the same clinicopathology, told apart or not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float64

from analysis.discrimination.aucs import auc, conditional, shortage
from analysis.inference.cross_validation import Folds, widened
from analysis.inference.intervals import wilson
from analysis.patients.matching import Criterion, criteria, match
from analysis.patients.samples import DECIMALS, Sample, class_label, split_samples
from triher.cohort import Cohort, Patient
from triher.estimate import Estimate, not_estimable
from triher.labels import scheme_classes
from triher.predictions import OUT_OF_SAMPLE
from triher.settings import ExplainConfig
from triher.types import Probabilities

_ZERO, _LOW = "zero", "low"


@dataclass(frozen=True)
class Member:
    """One of a pair."""

    patient: Patient
    probabilities: tuple[float, ...]
    """In the order of the scheme."""
    score: float
    """P(low | zero or low)."""
    gets_own_class: bool
    """Whether the true class is the likeliest of all."""


@dataclass(frozen=True)
class Pair:
    """Two patients who agree in what they were matched on, one HER2-zero and one HER2-low by pathology."""

    zero: Member
    low: Member
    distance: float
    """Of the covariates, in standard deviations."""

    @property
    def margin(self) -> float:
        """How far the model puts the low patient above the zero one; below 0 the pair is told apart wrongly."""
        return self.low.score - self.zero.score

    @property
    def is_right(self) -> float:
        """1 when the low patient is ranked above the zero one, one half when they are equal."""
        return float(np.sign(self.margin) + 1) / 2

    @property
    def is_strictly_right(self) -> bool:
        """Whether both members get their own class."""
        return self.zero.gets_own_class and self.low.gets_own_class

    @property
    def one_site(self) -> bool:
        """Whether both come from one cohort and site."""
        a, b = self.zero.patient, self.low.patient
        return (a.cohort, a.site) == (b.cohort, b.site)


@dataclass(frozen=True)
class Unmatched:
    """A patient of either class who is in no pair."""

    patient_id: str
    class_name: str
    reason: str


@dataclass(frozen=True)
class Matched:
    """The pairs of one split; nobody is in two of them."""

    split: str
    on: tuple[Criterion, ...]
    pairs: tuple[Pair, ...]
    unmatched: tuple[Unmatched, ...]
    sample: Sample | None = None
    """All labeled patients of the split."""
    reason: str = ""
    """Why there are no pairs."""


def matched_pairs(frame: pd.DataFrame, cohort: Cohort, config: ExplainConfig, scheme: str) -> Matched:
    """Find the pairs of a split; the predictions are looked at when the pairs are made.

    Both members are HER2-negative in the binary sense. In the scheme ``ultralow`` patients of that class are left
    aside: the pairs are of zero and low.

    Args:
        frame: rows of one split of a prediction table, as `triher.predictions.read_predictions` gives them.
        cohort: covariates and groups.
        config: ``match_on`` and ``calipers``.
        scheme: of the probability columns.

    Raises:
        ValueError: when the rows are of several splits, or of patients whom the model was trained on.
        StopRun: as `analysis.patients.matching.criteria`.
    """
    splits = set(frame["split"])
    if len(splits) != 1 or not splits <= set(OUT_OF_SAMPLE):
        raise ValueError(f"pairs are made of one split out of {OUT_OF_SAMPLE}, not of {sorted(splits)}")
    split, classes = str(next(iter(splits))), scheme_classes(scheme)
    if not {_ZERO, _LOW} <= set(classes):
        return Matched(split, (), (), (), reason=f"the scheme '{scheme}' does not tell HER2-zero from HER2-low")
    sample = split_samples(frame, scheme)[0]
    zero, low = (_patients(sample, cohort, classes.index(name)) for name in (_ZERO, _LOW))
    on = criteria(config, zero, low)
    found = match(zero, low, on)
    score = dict(zip(sample.patient_id, low_scores(sample.probabilities, classes).tolist(), strict=True))
    rows = {name: row for row, name in enumerate(sample.patient_id)}

    def member(patient: Patient) -> Member:
        row = rows[patient.patient_id]
        p = sample.probabilities[row]
        own = bool(p.argmax() == sample.y[row])
        return Member(patient, tuple(p.tolist()), score[patient.patient_id], own)

    pairs = [Pair(member(zero[m.left]), member(low[m.right]), m.distance) for m in found.matches]
    alone = [Unmatched(zero[i].patient_id, _ZERO, why) for i, why in found.left_alone.items()]
    alone += [Unmatched(low[i].patient_id, _LOW, why) for i, why in found.right_alone.items()]
    return Matched(
        split,
        on,
        tuple(sorted(pairs, key=lambda pair: pair.zero.patient.patient_id)),
        tuple(sorted(alone, key=lambda one: one.patient_id)),
        sample,
        _why_none(len(pairs), len(zero), len(low), on),
    )


def _patients(sample: Sample, cohort: Cohort, position: int) -> list[Patient]:
    """The patients of a class, by id."""
    known = {patient.patient_id: patient for patient in cohort.patients}
    return [known[i] for i, y in zip(sample.patient_id, sample.y, strict=True) if y == position and i in known]


def low_scores(probabilities: Probabilities, classes: Sequence[str]) -> Float64[np.ndarray, " patient"]:
    """P(low | zero or low), rounded so that rounding errors do not rank.

    >>> low_scores(np.array([[0.3, 0.1, 0.6]]), ("zero", "low", "positive")).tolist()
    [0.25]
    """
    either = probabilities[:, [classes.index(_ZERO), classes.index(_LOW)]]
    return np.round(conditional(either[:, 0], either[:, 1]), DECIMALS)


def _why_none(n_pairs: int, n_zero: int, n_low: int, on: Sequence[Criterion]) -> str:
    """Why there are no pairs, or an empty text."""
    if n_pairs:
        return ""
    missing = shortage({class_label(_ZERO): n_zero, class_label(_LOW): n_low}, fewest=1)
    if missing:
        return missing
    if not on:
        return "the cohort table gives no covariates and no groups to match on"
    return f"no HER2-zero and no HER2-low patient agree in {', '.join(c.name for c in on)}"


def share_right(matched: Matched, folds: Folds | None = None) -> Estimate:
    """The share of pairs in which the low patient is ranked above the zero one; equal scores count one half.

    Nobody is in two pairs, so pairs are independent draws and the limits are Wilson's; with ties they are cautious.

    Args:
        matched: the pairs.
        folds: how the split was predicted, where several models did.
    """
    return _share([pair.is_right for pair in matched.pairs], matched, folds)


def share_strictly_right(matched: Matched, folds: Folds | None = None) -> Estimate:
    """The share of pairs in which both members get their own class as the likeliest of all."""
    return _share([float(pair.is_strictly_right) for pair in matched.pairs], matched, folds)


def _share(hits: Sequence[float], matched: Matched, folds: Folds | None) -> Estimate:
    """A share of the pairs, its interval widened by the part of the patients who are in pairs."""
    share = wilson(float(sum(hits)), len(hits), of_what="pairs")
    if folds is None or matched.sample is None or not matched.pairs:
        return share
    part = folds.share * 2 * len(matched.pairs) / len(matched.sample.y)
    return widened(share, replace(folds, share=part), bounds=(0.0, 1.0))


def unmatched_auc(matched: Matched, classes: Sequence[str], folds: Folds | None = None) -> Estimate:
    """The AUC of the same score among all zero and low patients of the split, whatever their clinicopathology."""
    sample = matched.sample
    if sample is None:
        return not_estimable(matched.reason, n=0, method="AUC, DeLong")
    among = np.isin(sample.y, [classes.index(_ZERO), classes.index(_LOW)])
    score = low_scores(sample.probabilities[among], classes)
    is_low = sample.y[among] == classes.index(_LOW)
    area = auc(is_low, score, names=(class_label(_LOW), class_label(_ZERO)))
    if folds is None:
        return area
    return widened(area, replace(folds, share=folds.share * float(among.mean())), bounds=(0.0, 1.0))


def repaired_auc(matched: Matched, folds: Folds | None = None) -> Estimate:
    """The AUC among the matched patients with the pairs broken up: each low one against every zero one."""
    is_low = np.repeat([False, True], len(matched.pairs))
    members = [*(pair.zero for pair in matched.pairs), *(pair.low for pair in matched.pairs)]
    score = np.array([member.score for member in members], dtype=np.float64)
    area = auc(is_low, score, names=(class_label(_LOW), class_label(_ZERO)))
    if folds is None or matched.sample is None:
        return area
    return widened(area, replace(folds, share=folds.share * len(members) / len(matched.sample.y)), bounds=(0.0, 1.0))


def shown_pairs(matched: Matched) -> tuple[tuple[str, Pair], ...]:
    """The pairs that stand for all: the surest right one, the surest wrong one and the one of the median margin.

    Returns:
        Each pair with what it stands for; fewer than three where one stands for two, or none is right or wrong.
    """
    ranked = sorted(matched.pairs, key=lambda pair: (pair.margin, pair.zero.patient.patient_id))
    if not ranked:
        return ()
    wanted = [("surest right", ranked[-1])] if ranked[-1].margin > 0 else []
    wanted += [("surest wrong", ranked[0])] if ranked[0].margin < 0 else []
    wanted.append(("median", ranked[(len(ranked) - 1) // 2]))
    kinds: dict[str, list[str]] = {}
    for kind, pair in wanted:
        kinds.setdefault(pair.zero.patient.patient_id, []).append(kind)
    by_zero = {pair.zero.patient.patient_id: pair for pair in ranked}
    return tuple((" and ".join(kind), by_zero[name]) for name, kind in kinds.items())
