"""The leak linter, run before every training: what would let held-out patients or the label into it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from classify.leak_values import equal_ids, follow_order, rotated, scaled_to_range, standardized, tell_class
from classify.near_copies import near_copies
from classify.splits import refuse_leaks
from triher.errors import StopRun
from triher.folds import Split
from triher.label_names import tells_her2
from triher.listing import and_more, quoted
from triher.types import Labels, Vectors

_LISTED = 3  # names in one text


@dataclass(frozen=True)
class Finding:
    """Something that leaks, or looks as if it did."""

    code: str
    stops: bool
    """Whether the run must not go on; a note otherwise."""
    text: str
    patient_ids: tuple[str, ...] = ()
    """Whom it concerns; everybody when empty."""


@dataclass(frozen=True)
class Material:
    """What a head is to be trained on."""

    vectors: Vectors
    names: tuple[str, ...]
    """Of the columns."""
    y: Labels
    n_classes: int
    group: Int[np.ndarray, " patient"]
    """Equal numbers (the same images) are never parted by a fold."""
    patient_id: tuple[str, ...]


def lint(
    material: Material, splits: Sequence[Split], *, allowed: Collection[str] = (), opened: Sequence[str] = ()
) -> tuple[Finding, ...]:
    """Look for leaks.

    Args:
        material: all patients, those held out among them.
        splits: the outer splits.
        allowed: columns that may tell the label, because somebody said so.
        opened: keys of the runs that have predicted the held-out patients before, in this run folder.

    Returns:
        Findings, those that stop first; `refuse` raises the first of them.
    """
    found = [
        *_same_patients(material, splits),
        *_copies(material, splits),
        *_label_names(material, allowed),
        *_label_values(material, allowed),
        *_order(material),
        *_fitted_on_all(material, splits),
        *_reopened(opened),
    ]
    return tuple(sorted(found, key=lambda finding: not finding.stops))


def refuse(findings: Sequence[Finding]) -> None:
    """Stop when a finding says so.

    Raises:
        StopRun: ``patient_leak`` or ``label_leak``.
    """
    for finding in findings:
        if finding.stops:
            raise StopRun(finding.code, finding.text)


def _same_patients(material: Material, splits: Sequence[Split]) -> list[Finding]:
    """One id, or one exam's images, on both sides of a split."""
    ids = np.array(material.patient_id, dtype=object)
    for split in splits:
        both = sorted(set(ids[split.train]) & set(ids[split.test]))
        if both:
            text = f"patient {quoted(both, _LISTED)} is trained on and held out (split '{split.name}')"
            return [Finding("patient_leak", stops=True, text=text, patient_ids=tuple(both))]
    try:
        refuse_leaks(splits, material.group, material.patient_id)
    except StopRun as stop:
        return [Finding(stop.code, stops=True, text=stop.message)]
    return []


def _copies(material: Material, splits: Sequence[Split]) -> list[Finding]:
    """Patients with nearly equal features who are not known to have the same images."""
    pairs = near_copies(material.vectors)
    pairs = pairs[material.group[pairs[:, 0]] != material.group[pairs[:, 1]]]
    parted = np.zeros(len(pairs), bool)
    for split in splits:
        side = np.zeros(len(material.group), np.int8)
        side[split.train], side[split.test] = 1, -1
        parted |= side[pairs[:, 0]] * side[pairs[:, 1]] < 0
    across = "one of them trained on and the other held out"
    together = "on one side of every split; they are to stay in one fold"
    return [
        *_pairs(material, pairs[parted], "patient_leak", across, stops=True),
        *_pairs(material, pairs[~parted], "vector_duplicate", together, stops=False),
    ]


def _pairs(material: Material, pairs: np.ndarray, code: str, where: str, *, stops: bool) -> list[Finding]:
    """One finding for all pairs of a kind."""
    if not len(pairs):
        return []
    named = [(material.patient_id[a], material.patient_id[b]) for a, b in pairs.tolist()]
    first = " and ".join(f"'{name}'" for name in named[0])
    more = f" ({len(named)} such pairs)" if len(named) > 1 else ""
    text = f"patients {first} have features that are equal but for rounding, {where}{more}"
    return [Finding(code, stops, text, tuple(sorted({name for pair in named for name in pair})))]


def _label_names(material: Material, allowed: Collection[str]) -> list[Finding]:
    """Columns whose name tells HER2."""
    found = [name for name in material.names if name not in allowed and tells_her2(name)]
    text = f"the inputs hold {quoted(found, _LISTED)}, which by name tell HER2 or follow from it"
    return [Finding("label_leak", stops=True, text=text)] if found else []


def _label_values(material: Material, allowed: Collection[str]) -> list[Finding]:
    """Columns whose values alone tell a class."""
    told = tell_class(material.vectors, material.y, material.n_classes)
    told = [one for one in told if material.names[one.column] not in allowed]
    found = []
    for stops in (True, False):
        alike = [one for one in told if one.is_sure is stops]
        if alike:
            first, more = alike[0], and_more(len(alike) - 1)
            name = material.names[first.column]
            text = f"input '{name}'{more} alone tells class {first.label} (AUC {first.auc:.4f})"
            few = "" if stops else "; there are so few patients that a good feature may do so, too"
            found.append(Finding("label_leak", stops=stops, text=text + few))
    return found


def _order(material: Material) -> list[Finding]:
    """Columns that follow the patients' ids or their order in the table."""
    ids = [material.names[column] for column in equal_ids(material.vectors, material.patient_id)]
    rows = [name for column in follow_order(material.vectors) if (name := material.names[column]) not in ids]
    found = []
    if ids:
        found.append(f"the inputs hold {quoted(ids, _LISTED)}, whose values are the numbers in the patient ids")
    if rows:
        found.append(f"the inputs hold {quoted(rows, _LISTED)}, whose values rise or fall from row to row")
    return [Finding("id_among_inputs", stops=False, text=text) for text in found]


def _fitted_on_all(material: Material, splits: Sequence[Split]) -> list[Finding]:
    """Columns that look as if scaling or rotation had been fitted on the held-out patients, too."""
    train = next((split.train for split in splits if len(split.test) and len(split.train)), None)
    if train is None:
        return []
    checks = (
        (standardized, "have mean 0 and deviation 1 over all patients, and not over those of the training"),
        (scaled_to_range, "span 0 to 1 over all patients, and not over those of the training"),
        (rotated, "are uncorrelated over all patients and fall in spread, as principal components of all of them do"),
    )
    found = []
    for check, what in checks:
        columns = check(material.vectors, train)
        if columns:
            names = quoted([material.names[column] for column in columns], _LISTED)
            text = f"{len(columns)} of {len(material.names)} inputs ({names}) {what}"
            found.append(Finding("fitted_on_all", stops=False, text=text))
    return found


def _reopened(opened: Sequence[str]) -> list[Finding]:
    """How often held-out patients have been predicted before."""
    if not opened:
        return []
    kinds = len(set(opened))
    text = (
        f"the held-out patients of this run folder have been predicted {len(opened)} times before, "
        f"with {kinds} different configurations or inputs"
    )
    return [Finding("test_reopened", stops=False, text=text)]
