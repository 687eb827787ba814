"""What else the features tell: site, vendor and cohort, from which a model could guess the class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.inference.bootstrap import macro_auc
from analysis.metrics import Metric
from triher.errors import StopRun
from triher.estimate import Estimate, not_estimable
from triher.settings import Config
from triher.tables import read_own_table, require_column
from triher.types import Labels, Probabilities

EVERYBODY = "all"
"""In place of a split: patients of all splits together, each predicted by a model that did not see them."""
FROM_SITE = "her2 from site"
STRONG = 0.8
"""An AUC above which the features are said to give something away, as `classify.shortcuts` warns of in training."""
"""The class, told from the site alone."""
_COLUMNS = ("target", "patient_id", "truth", "group", "p")
_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Shortcut:
    """How one target was predicted."""

    target: str
    groups: tuple[str, ...]
    y: Labels
    """Position of each patient's true group."""
    probabilities: Probabilities
    """Out-of-fold probability of each group."""


def read_shortcuts(path: Path) -> tuple[Shortcut, ...]:
    """Read the long table with one row a target, patient and group; none where nothing was there to tell apart.

    Raises:
        StopRun: ``column_missing``; ``number_format`` where a cell of ``p`` is no probability, a patient's do not
            sum to 1, a group is there twice or not at all, or the truth is none of the groups.
    """
    try:
        frame = read_own_table(path)
    except StopRun as error:
        if error.code != "table_empty":
            raise
        return ()
    for column in _COLUMNS:
        require_column(frame, column, purpose="table of shortcuts", where=str(path))
    try:
        frame["p"] = frame["p"].astype(float)
    except ValueError as error:
        raise StopRun("number_format", f"{path}: {error}") from error
    return tuple(_shortcut(str(target), rows, path) for target, rows in frame.groupby("target", sort=False))


def _shortcut(target: str, rows: pd.DataFrame, path: Path) -> Shortcut:
    """One target as arrays, patients by id."""
    where = f"{path}, target '{target}'"
    if rows.duplicated(["patient_id", "group"]).any():
        patient_id = rows.loc[rows.duplicated(["patient_id", "group"]), "patient_id"].iloc[0]
        raise StopRun("number_format", f"{where}: patient {patient_id} has two rows of one group")
    wide = rows.pivot_table(index="patient_id", columns="group", values="p", aggfunc="first", dropna=False)
    groups = tuple(map(str, wide.columns))
    p = wide.to_numpy(np.float64)
    wrong = ~((np.abs(p.sum(axis=1) - 1) <= _SUM_TOLERANCE) & (p >= 0).all(axis=1))
    if wrong.any():
        message = f"{where}: the probabilities of patient {wide.index[int(np.argmax(wrong))]} do not sum to 1"
        raise StopRun("number_format", message)
    truths = rows.groupby("patient_id")["truth"].agg(["first", "nunique"]).loc[wide.index]
    position = {group: i for i, group in enumerate(groups)}
    lost = (truths["nunique"] != 1) | ~truths["first"].isin(groups)
    if lost.any():
        message = (
            f"{where}: the truth of patient {truths.index[int(np.argmax(lost))]} is not one of {', '.join(groups)}"
        )
        raise StopRun("number_format", message)
    y = np.array([position[truth] for truth in truths["first"]], np.int64)
    return Shortcut(target, groups, y, p)


def judge_shortcuts(shortcuts: Sequence[Shortcut], config: Config) -> list[Metric]:
    """How well the groups of each target are told apart.

    Args:
        shortcuts: as `read_shortcuts` gives them.
        config: the run's configuration; ``seed`` starts every bootstrap.

    Returns:
        For each target ``shortcut_auc``, the macro one-vs-rest AUC, and ``shortcut_groups``, how many there are.
    """
    metrics = []
    for shortcut in shortcuts:
        n = len(shortcut.y)
        groups = Estimate(float(len(shortcut.groups)), np.nan, np.nan, n, "number of groups")
        for quantity, estimate in (("shortcut_auc", _auc(shortcut, config)), ("shortcut_groups", groups)):
            metrics.append(Metric("shortcut", EVERYBODY, quantity, estimate, shortcut.target))
    return metrics


def _auc(shortcut: Shortcut, config: Config) -> Estimate:
    """The macro AUC of one target; one group cannot be told from anything."""
    if len(shortcut.groups) < 2:
        return not_estimable("only 1 group", n=len(shortcut.y), method="macro one-vs-rest AUC")
    draws = {"resamples": config.analysis.resamples, "seed": config.seed}
    return macro_auc(shortcut.y, shortcut.probabilities, shortcut.groups, **draws)
