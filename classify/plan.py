"""Which models a run trains, and whom each of them predicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from classify.cases import Cases
from classify.splits import partitions, refuse_leaks
from classify.table import Place
from triher.cohort import Patient
from triher.errors import StopRun
from triher.folds import LEAST_TO_TRAIN, Divide, Split, require_classes, stratified_folds
from triher.held_out import IN_TURN
from triher.seeds import derived_seed
from triher.settings import ClassifyConfig, SplitConfig

_LEAST = 2


@dataclass(frozen=True)
class Fold:
    """A model that is trained only to predict the patients that it did not see."""

    place: Place
    sides: Split


@dataclass(frozen=True)
class Plan:
    """The folds, and the final model's training and test patients."""

    folds: tuple[Fold, ...]
    final: Split

    def among(self, rows: Int[np.ndarray, " kept"], n_patients: int) -> "Plan":
        """The same plan for some of the n patients, whose positions count anew."""
        place = np.full(n_patients, -1)
        place[rows] = np.arange(len(rows))

        def keep(split: Split) -> Split:
            train, test = (place[side][place[side] >= 0] for side in (split.train, split.test))
            return Split(split.name, train, test)

        return Plan(tuple(Fold(fold.place, keep(fold.sides)) for fold in self.folds), keep(self.final))

    def predicting(self, wanted: Bool[np.ndarray, " patient"]) -> "Plan":
        """The same models, without those that would predict none of the patients who are wanted, and the others."""

        def keep(split: Split) -> Split:
            return Split(split.name, split.train, split.test[wanted[split.test]])

        folds = tuple(Fold(fold.place, keep(fold.sides)) for fold in self.folds if wanted[fold.sides.test].any())
        return Plan(folds, keep(self.final))


def make_plan(
    cases: Cases, patients: Sequence[Patient], config: ClassifyConfig, seed: int, *, divide: Divide = stratified_folds
) -> Plan:
    """Lay out all training parts and check each before the first model is fitted.

    With ``none``, ``column`` and ``sites`` the development part is cross-validated (nested, Varma & Simon, BMC
    Bioinformatics 2006;7:91) and the final model, trained on all of it, predicts the held-out patients. With
    leave-one-site-out and leave-one-cohort-out each group is predicted by a model of all others, and the final
    model is trained on everybody.

    Args:
        cases: the patients that can be used.
        patients: who they are, in the same order.
        config: split, folds and repeats.
        seed: decides the folds.
        divide: makes the folds.

    Raises:
        StopRun: as `classify.splits.partitions`; ``patient_leak``, ``class_too_small``, ``site_unseen``.
    """
    splits = partitions(config.split, patients)
    refuse_leaks(splits, cases.group, [patient.patient_id for patient in patients])
    if config.split.kind in IN_TURN:
        folds = [
            Fold(Place("test", repeat, i, seed), split)
            for repeat in range(config.repeats)
            for i, split in enumerate(splits)
        ]
        everybody = np.arange(len(cases.y))
        final = Split("final", everybody, everybody[:0])
    else:
        final = splits[0]
        _require(cases, final.train, LEAST_TO_TRAIN)
        folds = [
            fold for repeat in range(config.repeats) for fold in _nested(cases, final, config, seed, repeat, divide)
        ]
    for rows in (*(fold.sides.train for fold in folds), final.train):
        _require(cases, rows, _LEAST)
    if config.harmonize.method != "none" and config.harmonize.unseen == "stop":
        _refuse_unseen([*(fold.sides for fold in folds if fold.place.split == "test"), final], cases)
    return Plan(tuple(folds), final)


def refuse_small_classes(
    config: SplitConfig, patients: Sequence[Patient], known: Mapping[str, int], classes: Sequence[str]
) -> None:
    """Stop where `make_plan` would, whatever the images are like; so before they are read.

    Args:
        config: the split.
        patients: everybody in the table.
        known: patient -> position of the class, for those who have one.
        classes: of the scheme.

    Raises:
        StopRun: ``class_too_small``; as `classify.splits.partitions`.
    """
    y = np.array([known.get(patient.patient_id, -1) for patient in patients])
    least = _LEAST if config.kind in IN_TURN else LEAST_TO_TRAIN
    for split in partitions(config, patients):
        require_classes(y[split.train], split.train, classes=classes, least=least)


def _refuse_unseen(splits: Sequence[Split], cases: Cases) -> None:
    """Stop before any training when a held-out site has no patient to learn its harmonization from."""
    site = cases.inputs.site
    for split in splits:
        unseen = sorted({*site[split.test]} - {*site[split.train]})
        if unseen:
            message = (
                f"classify.harmonize learns from training sites, and the split holds out {', '.join(unseen)}, of "
                f"which no patient is trained on"
            )
            raise StopRun("site_unseen", message)


def _require(cases: Cases, rows: np.ndarray, least: int) -> None:
    """Stop when a training part is too small in a class."""
    require_classes(cases.y[rows], cases.group[rows], classes=cases.classes, least=least)


def _nested(cases: Cases, final: Split, config: ClassifyConfig, seed: int, repeat: int, divide: Divide) -> list[Fold]:
    """The outer folds of one repetition, as positions among all cases."""
    rows = final.train
    development = cases.take(rows)
    splits = divide(
        development.y,
        development.cohort,
        development.group,
        folds=config.folds,
        n_classes=len(cases.classes),
        seed=derived_seed(seed, 0, repeat),
    )
    return [
        Fold(Place("oof", repeat, i, seed), Split(split.name, rows[split.train], rows[split.test]))
        for i, split in enumerate(splits)
    ]
