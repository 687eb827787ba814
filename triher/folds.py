"""Folds of patients: grouped by equal images, stratified by class and cohort."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Int
from sklearn.model_selection import StratifiedGroupKFold

from triher.errors import StopRun
from triher.images import images_of
from triher.types import Labels, Names


@dataclass(frozen=True)
class Split:
    """Positions of the patients on both sides."""

    name: str
    train: Int[np.ndarray, " train"]
    test: Int[np.ndarray, " test"]


LEAST_TO_TRAIN = 3
"""Patients of every class: two outer folds must leave two of them for the inner ones."""

Divide: TypeAlias = Callable[..., list[Split]]
"""Called as `stratified_folds`: that itself, or the same from memory."""


def image_groups(input_sha256: Sequence[str]) -> Int[np.ndarray, " patient"]:
    """One number for all patients with the same images, so that no fold parts them.

    Another mask hides nothing.

    >>> image_groups(["a" * 32 + "mask1", "b" * 32 + "mask1", "a" * 32 + "mask2"]).tolist()
    [0, 1, 0]
    """
    first: dict[str, int] = {}
    return np.array([first.setdefault(images_of(digest), i) for i, digest in enumerate(input_sha256)], dtype=np.int64)


def require_classes(y: Labels, group: Int[np.ndarray, " patient"], *, classes: Sequence[str], least: int) -> None:
    """Stop when a class has fewer patients than a cross-validation needs.

    Raises:
        StopRun: ``class_too_small`` with the counts of all classes.
    """
    counts = _class_counts(y, group, len(classes))
    if min(counts) < least:
        listed = ", ".join(f"{count} {name}" for name, count in zip(classes, counts, strict=True))
        once = "" if len(np.unique(group)) == len(group) else " (patients with equal images count once)"
        message = f"training needs {least} patients of every class; there are {listed}{once}"
        raise StopRun("class_too_small", message)


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
