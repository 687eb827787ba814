"""Which patients train and which are held out."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import Int

from triher.cohort import Patient
from triher.errors import StopRun
from triher.folds import Split
from triher.held_out import check_names, side_of
from triher.settings import SplitConfig


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
            raise StopRun("site_unknown" if attribute == "site" else "cohort_unknown", message)
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
