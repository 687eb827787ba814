"""Which patients train and which are held out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from jaxtyping import Int
from sklearn.model_selection import StratifiedGroupKFold

from triher.cohort import Patient
from triher.errors import StopRun
from triher.held_out import check_names, side_of
from triher.settings import SplitConfig
from triher.types import Labels, Names


@dataclass(frozen=True)
class Split:
    """Positions of the patients on both sides."""

    name: str
    train: Int[np.ndarray, " train"]
    test: Int[np.ndarray, " test"]


Divide: TypeAlias = Callable[..., list[Split]]
"""Called as `stratified_folds`: that itself, or the same from memory."""


def partitions(config: SplitConfig, patients: Sequence[Patient]) -> list[Split]:
    """Divide the patients into development and held-out parts.

    Args:
        config: kind and, for ``sites`` and ``cohorts``, those to hold out or to train on.
        patients: the patients that can be used.

    Returns:
        One split, with an empty test side for ``none``; or one for each site or cohort that is left out. Whoever is
        neither trained on nor tested is on neither side.

    Raises:
        StopRun: ``column_missing`` or ``split_value`` (no or bad ``split`` cells), ``site_unknown``,
            ``cohort_unknown``, ``split_empty``; ``config_value`` as `triher.held_out.check_names`.
    """
    check_names(config)
    splits = _KINDS[config.kind](config, patients)
    for split in splits:
        _refuse_empty(split, config.kind)
    return splits


def _none(config: SplitConfig, patients: Sequence[Patient]) -> list[Split]:
    """Everybody develops."""
    return [_divide(config, patients)]


def _by_column(config: SplitConfig, patients: Sequence[Patient]) -> list[Split]:
    """Follow the table's ``split`` column."""
    cells = np.array([patient.split for patient in patients], dtype=object)
    if not any(cells):
        message = "classify.split.kind is 'column' but the cohort table has no filled column 'split'"
        raise StopRun("column_missing", message, remedy="add the column or map it under cohort.columns.split")
    wrong = sorted({str(cell) for cell in cells} - {"train", "test"})
    if wrong:
        first = next(patient.patient_id for patient in patients if patient.split in wrong)
        listed = ", ".join(f"'{cell}'" for cell in wrong)
        message = f"the column 'split' holds {listed} (first at patient '{first}'); it may hold 'train' or 'test'"
        raise StopRun("split_value", message)
    return [_divide(config, patients)]


def _by_name(config: SplitConfig, patients: Sequence[Patient], *, attribute: str) -> list[Split]:
    """Hold out, and train on, the sites or cohorts that are listed."""
    known = sorted({getattr(patient, attribute) for patient in patients})
    for side, names in (("train", config.train), ("test", config.test)):
        missing = [name for name in names if name not in known]
        if missing:
            message = (
                f"classify.split.{side} names {', '.join(map(repr, missing))}; "
                f"{attribute}s with usable patients: {', '.join(known)}"
            )
            raise StopRun(f"{attribute}_unknown", message)
    return [_divide(config, patients)]


def _leave_one_out(_: SplitConfig, patients: Sequence[Patient], *, attribute: str) -> list[Split]:
    """Hold out each site or cohort in turn."""
    values = np.array([getattr(patient, attribute) for patient in patients], dtype=object)
    return [
        Split(str(value), np.flatnonzero(values != value), np.flatnonzero(values == value))
        for value in sorted(set(values))
    ]


_KINDS: dict[str, Callable[[SplitConfig, Sequence[Patient]], list[Split]]] = {
    "none": _none,
    "column": _by_column,
    "sites": partial(_by_name, attribute="site"),
    "cohorts": partial(_by_name, attribute="cohort"),
    "leave-one-site-out": partial(_leave_one_out, attribute="site"),
    "leave-one-cohort-out": partial(_leave_one_out, attribute="cohort"),
}


def _divide(config: SplitConfig, patients: Sequence[Patient]) -> Split:
    """Positions of those who are trained on and of those who are tested."""
    sides = np.array([side_of(config, patient) for patient in patients], dtype=object)
    return Split(config.kind, np.flatnonzero(sides == "train"), np.flatnonzero(sides == "test"))


def _refuse_empty(split: Split, kind: str) -> None:
    """Stop when a side that must be filled is not."""
    if len(split.train) == 0 or (kind != "none" and len(split.test) == 0):
        message = (
            f"classify.split.kind '{kind}' ('{split.name}') leaves {len(split.train)} patients to train on "
            f"and {len(split.test)} to test on"
        )
        raise StopRun("split_empty", message)


def image_groups(input_sha256: Sequence[str]) -> Int[np.ndarray, " patient"]:
    """One number for all patients with the same images, so that no fold parts them.

    The first 32 digits of an input hash are of the images alone, so another mask hides nothing.

    >>> image_groups(["a" * 32 + "mask1", "b" * 32 + "mask1", "a" * 32 + "mask2"]).tolist()
    [0, 1, 0]
    """
    first: dict[str, int] = {}
    return np.array([first.setdefault(digest[:32], i) for i, digest in enumerate(input_sha256)], dtype=np.int64)


def refuse_leaks(splits: Sequence[Split], group: Int[np.ndarray, " patient"], patient_id: Sequence[str]) -> None:
    """Stop when one image lies on both sides of a split under two ids.

    Raises:
        StopRun: ``patient_leak`` naming both patients.
    """
    for split in splits:
        shared = np.intersect1d(group[split.train], group[split.test])
        if len(shared):
            first, second = (rows[group[rows] == shared[0]][0] for rows in (split.train, split.test))
            message = (
                f"patients '{patient_id[first]}' (training) and '{patient_id[second]}' (held out, split "
                f"'{split.name}') have the same images"
            )
            raise StopRun("patient_leak", message)


def require_classes(y: Labels, group: Int[np.ndarray, " patient"], *, classes: Sequence[str], least: int) -> None:
    """Stop when a class has fewer patients than a cross-validation needs.

    Raises:
        StopRun: ``class_too_small`` with the counts of all classes.
    """
    counts = _class_counts(y, group, len(classes))
    if min(counts) < least:
        listed = ", ".join(f"{count} {name}" for name, count in zip(classes, counts, strict=True))
        raise StopRun("class_too_small", f"training needs {least} patients of every class; there are {listed}")


def _class_counts(y: Labels, group: Int[np.ndarray, " patient"], n_classes: int) -> list[int]:
    """Independent patients of each class."""
    return [len(np.unique(group[y == c])) for c in range(n_classes)]


def stratified_folds(
    y: Labels,
    cohort: Names,
    group: Int[np.ndarray, " patient"],
    *,
    folds: int,
    n_classes: int,
    seed: int,
) -> list[Split]:
    """Divide patients into folds that keep the shares of the classes, and of the cohorts within them.

    There are as many folds as asked for, but no more than the smallest class has patients, so that every training
    part holds every class. Groups are never parted.

    Args:
        y: class of each patient.
        cohort: cohort of each patient.
        group: equal numbers stay together.
        folds: at least 2.
        n_classes: classes of the scheme.
        seed: decides who goes where.

    Raises:
        StopRun: ``class_too_small`` when a class has fewer than 2 patients, or groups part it badly.
    """
    names = [f"of class {c}" for c in range(n_classes)]
    require_classes(y, group, classes=names, least=2)
    n_folds = min(folds, *_class_counts(y, group, n_classes))
    divider = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    strata = _strata(y, cohort, n_folds)
    found = [Split(str(i), a, b) for i, (a, b) in enumerate(divider.split(strata, strata, group))]
    for split in found:
        require_classes(y[split.train], group[split.train], classes=names, least=1)
    return found


def _strata(y: Labels, cohort: Names, least: int) -> Int[np.ndarray, " patient"]:
    """Number the strata class x cohort, those with fewer than `least` patients merged within their class."""
    names = np.array([f"{label}|{place}" for label, place in zip(y, cohort, strict=True)], dtype=object)
    for label in np.unique(y):
        here = y == label
        values, counts = np.unique(names[here].astype(str), return_counts=True)
        small = values[counts < least].tolist()
        rest = counts[counts < least].sum()
        if small and rest < least:
            small.append(str(values[np.argmax(counts)]))
        names[np.isin(names, small)] = f"{label}|other"
    return np.unique(names.astype(str), return_inverse=True)[1].astype(np.int64)
