"""What matched patients agree in, and how well, as rows of tables."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from analysis.metrics import Cell, number_cell
from analysis.page import Data, Table
from analysis.patients.matched import Matched, Member, Pair
from analysis.patients.matching import Criterion
from analysis.patients.samples import class_label
from analysis.wording import split_name, two_decimals
from triher.cohort import Patient

_MOST_OPEN = 12  # pairs in a table that is not folded


def balance_table(matched: Matched, patients: dict[str, Patient]) -> Table:
    """How unlike the two classes are in each column, before and after matching.

    The standardized difference is that of the means, low less zero, in the standard deviation that distances are
    counted in (Austin, Pharm Stat 2011;10:150); text columns agree exactly in every pair.

    Args:
        matched: pairs of a split.
        patients: all of the cohort, by id.
    """
    rows, data = [], []
    for criterion in matched.on:
        if criterion.caliper is None:
            rows.append([criterion.name, "the same", "-", "0", "-"])
            data.append([criterion.name, None, None, 0.0, None])
            continue
        before = _difference(criterion, *_everybody(matched, patients))
        after = _difference(criterion, *([_patient(pair, k) for pair in matched.pairs] for k in (0, 1)))
        apart = [abs(_value(criterion, _patient(p, 0)) - _value(criterion, _patient(p, 1))) for p in matched.pairs]
        rows.append(
            [
                criterion.name,
                f"within {criterion.caliper:.3g}",
                *map(two_decimals, (before, after)),
                f"{max(apart):.3g}",
            ]
        )
        data.append([criterion.name, criterion.caliper, number_cell(before), number_cell(after), max(apart)])
    header = ["Column", "Members of a pair agree", "All: difference", "Pairs: difference", "Farthest apart in a pair"]
    columns = ["column", "caliper", "standardized_difference_all", "standardized_difference_pairs", "farthest"]
    caption = (
        f"What pairs agree in, {split_name(matched.split)}: standardized difference, low less zero, of all patients "
        "of the two classes and in the pairs"
    )
    return Table(caption, header, rows, name=f"matched-balance-{matched.split}", data=Data(columns, data))


def _everybody(matched: Matched, patients: dict[str, Patient]) -> tuple[list[Patient], list[Patient]]:
    """All zero and all low patients of the split, in pairs or not."""
    alone = {
        name: [patients[one.patient_id] for one in matched.unmatched if one.class_name == name]
        for name in ("zero", "low")
    }
    return (
        [*(_patient(pair, 0) for pair in matched.pairs), *alone["zero"]],
        [*(_patient(pair, 1) for pair in matched.pairs), *alone["low"]],
    )


def _patient(pair: Pair, side: int) -> Patient:
    """The zero or the low member."""
    return (pair.zero, pair.low)[side].patient


def _value(criterion: Criterion, patient: Patient) -> float:
    """A number."""
    return float(patient.covariates[criterion.name])


def _difference(criterion: Criterion, zero: Sequence[Patient], low: Sequence[Patient]) -> float:
    """Of the means, in standard deviations; NaN where nothing varies."""
    means = [float(np.nanmean([_value(criterion, p) for p in side])) for side in (zero, low)]
    return (means[1] - means[0]) / criterion.sd if criterion.sd > 0 else math.nan


def alone_table(matched: Matched) -> Table:
    """Who could not be matched, and why."""
    counts = Counter((one.class_name, one.reason) for one in matched.unmatched)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [[class_label(name), reason, str(n)] for (name, reason), n in ordered]
    fold = f"Who is in no pair: {len(matched.unmatched)} patients, by reason"
    caption = f"In no pair, {split_name(matched.split)}"
    name = f"matched-alone-{matched.split}"
    return Table(caption, ["Class", "Why", "Patients"], rows, folded=fold, text_cells=True, name=name)


def pairs_table(matched: Matched, classes: Sequence[str]) -> Table:
    """A line a pair, the widest margin first."""
    ranked = sorted(matched.pairs, key=lambda pair: (-pair.margin, pair.zero.patient.patient_id))
    header = ["Zero", "Low", "Score of zero", "Score of low", "Told apart", "Own class", "What they agree in"]
    rows = [
        [
            pair.zero.patient.patient_id,
            pair.low.patient.patient_id,
            f"{pair.zero.score:.2f}",
            f"{pair.low.score:.2f}",
            _verdict(pair),
            _own(pair),
            "; ".join(_agreed(criterion, pair) for criterion in matched.on),
        ]
        for pair in ranked
    ]
    columns = ["pair", "class", "patient_id", "cohort", "site", *(f"p_{name}" for name in classes), "score"]
    columns += ["told_apart", "gets_own_class", *(criterion.name for criterion in matched.on), "distance"]
    data = [
        _cells(number, name, member, pair, matched.on)
        for number, pair in enumerate(ranked, start=1)
        for name, member in (("zero", pair.zero), ("low", pair.low))
    ]
    caption = f"All pairs, {split_name(matched.split)}; the score is P(low | zero or low)"
    fold = f"All {len(ranked)} pairs" if len(ranked) > _MOST_OPEN else ""
    name = f"matched-pairs-{matched.split}"
    return Table(caption, header, rows, folded=fold, text_cells=True, name=name, data=Data(columns, data))


def _verdict(pair: Pair) -> str:
    """Whether the low one is ranked above the zero one."""
    return {1.0: "rightly", 0.5: "equal scores", 0.0: "wrongly"}[pair.is_right]


def _own(pair: Pair) -> str:
    """Who gets the own class."""
    own = [name for name, member in (("zero", pair.zero), ("low", pair.low)) if member.gets_own_class]
    return {0: "neither", 1: f"only {''.join(own)}", 2: "both"}[len(own)]


def _agreed(criterion: Criterion, pair: Pair) -> str:
    """The cells of both."""
    if criterion.caliper is None:
        return f"{criterion.name} {pair.zero.patient.groups[criterion.name]}"
    return " and ".join(
        [
            f"{criterion.name} {_value(criterion, _patient(pair, 0)):.4g}",
            f"{_value(criterion, _patient(pair, 1)):.4g}",
        ]
    )


def _cells(number: int, name: str, member: Member, pair: Pair, on: Sequence[Criterion]) -> list[Cell]:
    """One member for machines."""
    who = member.patient
    known = [who.groups[c.name] if c.caliper is None else who.covariates[c.name] for c in on]
    place: list[Cell] = [number, name, who.patient_id, who.cohort, who.site, *member.probabilities, member.score]
    return [*place, pair.is_right, "yes" if member.gets_own_class else "no", *known, pair.distance]
