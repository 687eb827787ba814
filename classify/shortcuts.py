"""The shortcut audit, after training: how well the same features tell site, vendor and cohort.

Where they do, a model can learn the class from where a patient was seen: the pixels of three public cohorts tell the
cohort with a macro AUC of 0.998, while HER2 from the same pixels stays near 0.6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from classify import logistic
from classify.design import one_row_each
from classify.objectives import macro_auc
from classify.prior import align_prior
from triher.errors import Note
from triher.folds import stratified_folds
from triher.seeds import derived_seed
from triher.types import Labels, Names, Vectors

FROM_SITE = "her2 from site"
"""Target of the record that says how much of the class the site alone tells."""
_LEAST = 10  # patients of a site, so that five folds hold two each
# Groups that differ along the features' common axes are told as well at C = 1 (macro AUC higher by 0.02), but those
# that differ a little in every feature, as scanners do, only under a weak penalty (0.49 at C = 1, 0.84 at C = 100).
_PENALTY = 100.0
_STRONG = 0.8
_PRIOR_PATIENTS = 5.0  # of average class shares, added to every site


@dataclass(frozen=True)
class Shortcut:
    """How well something that should not matter is told, by predictions for patients who were held out."""

    target: str
    """``site``, ``vendor``, ``cohort``, or `FROM_SITE`."""
    groups: tuple[str, ...]
    """What the columns of the probabilities are; none when there was nothing to tell apart."""
    rows: Int[np.ndarray, " chosen"]
    """Positions of the patients."""
    y: Int[np.ndarray, " chosen"]
    """Group of each."""
    p: Float64[np.ndarray, "chosen group"]
    left_out: dict[str, int]
    """Groups with too few patients, and how many those are."""
    reason: str = ""
    """Why there is no result; empty when there is one."""

    @property
    def auc(self) -> float:
        """Macro average of one group against the rest; not a number without a result."""
        if self.reason:
            return float("nan")
        return macro_auc(self.p, self.y)


def tell_groups(
    vectors: Vectors,
    labels_by_target: Mapping[str, Names],
    group: Int[np.ndarray, " patient"],
    *,
    folds: int = 5,
    seed: int = 0,
) -> tuple[Shortcut, ...]:
    """Predict site, vendor, cohort or the like from the features, by cross-validated multinomial ridge regression.

    The penalty is fixed: the audit asks whether a plain model finds the group, not how well the best one could.

    Args:
        vectors: pooled features of the patients.
        labels_by_target: target -> name of each patient's group; an empty name is not known.
        group: equal numbers (the same images) are never parted by a fold.
        folds: at least 2.
        seed: decides the folds.
    """
    return tuple(
        _tell(target, vectors, names.astype(str), group, folds, derived_seed(seed, k))
        for k, (target, names) in enumerate(labels_by_target.items())
    )


def _tell(
    target: str, vectors: Vectors, names: np.ndarray, group: Int[np.ndarray, " patient"], folds: int, seed: int
) -> Shortcut:
    """One target."""
    counts = {name: len(np.unique(group[names == name])) for name in sorted(set(names.tolist()))}
    groups = tuple(name for name, count in counts.items() if name and count >= _LEAST)
    left_out = {name or "not known": count for name, count in counts.items() if name not in groups}
    rows = np.flatnonzero(np.isin(names, groups))
    if len(groups) < 2:
        reason = f"{len(groups)} of {len(counts)} groups have {_LEAST} patients; two are needed"
        return Shortcut(target, (), rows[:0], rows[:0], np.zeros((0, 0)), left_out, reason)
    y = np.searchsorted(groups, names[rows])
    everywhere = np.full(len(rows), "", dtype=object)
    p = np.zeros((len(rows), len(groups)))
    for split in stratified_folds(y, everywhere, group[rows], folds=folds, n_classes=len(groups), seed=seed):
        train, test = (one_row_each(vectors[rows[side]]) for side in (split.train, split.test))
        part = logistic.prepare(train, y[split.train], len(groups), weights=None, exact=False)
        found = part.fit({"C": _PENALTY}, seed).probabilities(test)
        p[split.test] = align_prior(found, y[split.train], y)
    return Shortcut(target, groups, rows, y, p, left_out)


def tell_class_from_site(
    site: Names,
    y: Labels,
    classes: Sequence[str],
    group: Int[np.ndarray, " patient"],
    *,
    folds: int = 5,
    seed: int = 0,
) -> Shortcut:
    """Predict the class from nothing but the site: its class shares among the patients who are not held out.

    Five patients of average shares are added to every site, so that a site that the training patients lack gets the
    average. The folds keep the shares of the classes, and not those within sites: else the patients held out would
    show in the training, and a site without any bearing on the class would reach a macro AUC of 0.58.

    Args:
        site: site of each patient.
        y: class of each patient.
        classes: the classes of the scheme.
        group: equal numbers are never parted by a fold.
        folds: at least 2.
        seed: decides the folds.

    Raises:
        StopRun: ``class_too_small``.
    """
    names, place = np.unique(site.astype(str), return_inverse=True)
    p = np.zeros((len(y), len(classes)))
    everywhere = np.full(len(y), "", dtype=object)
    for split in stratified_folds(y, everywhere, group, folds=folds, n_classes=len(classes), seed=seed):
        counts = np.zeros((len(names), len(classes)))
        np.add.at(counts, (place[split.train], y[split.train]), 1)
        counts += _PRIOR_PATIENTS * counts.sum(axis=0) / counts.sum()
        p[split.test] = align_prior(
            (counts / counts.sum(axis=1, keepdims=True))[place[split.test]], y[split.train], y
        )
    return Shortcut(FROM_SITE, tuple(classes), np.arange(len(y)), y, p, {})


def shortcut_notes(shortcuts: Sequence[Shortcut]) -> tuple[Note, ...]:
    """A remark for every target that is told with a macro AUC above 0.8."""
    notes = []
    for shortcut in shortcuts:
        if shortcut.auc > _STRONG:
            source = (
                "the site alone tells HER2"
                if shortcut.target == FROM_SITE
                else f"the features tell {shortcut.target}"
            )
            text = (
                f"{source} with a macro AUC of {shortcut.auc:.3f} ({len(shortcut.groups)} groups, "
                f"{len(shortcut.rows)} patients): the head may have learned it instead of biology"
            )
            notes.append(Note("", "shortcut_strong", text))
    return tuple(notes)
