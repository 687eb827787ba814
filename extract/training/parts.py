"""Who trains which network: parts of the development patients, and who tells when a training stops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from jaxtyping import Int64

from extract.training.material import Lesson
from triher.cohort import Cohort, Patient
from triher.errors import StopRun, unknown_name
from triher.folds import image_groups, require_classes, stratified_folds
from triher.held_out import IN_TURN, side_of
from triher.images import image_fingerprint
from triher.labels import scheme_classes
from triher.seeds import derived_seed
from triher.settings import Config, FinetuneConfig
from triher.trained import FINAL, Part, Role
from triher.training_labels import training_labels

_FOLDS, _STOP, _LEARN = 10, 11, 12  # first numbers of the derived seeds; those below belong to the heads
_LEAST = 2  # patients of a class in whatever a network learns from


@dataclass(frozen=True)
class Roster:
    """The development patients, what is known of them, and the networks that they train."""

    patients: tuple[Patient, ...]
    """With a label and a slab, by id."""
    inputs: tuple[str, ...]
    """Hash of each one's slab."""
    y: Int64[np.ndarray, " patient"]
    tasks: Int64[np.ndarray, "patient task"]
    task_values: dict[str, tuple[str, ...]]
    """Further label -> its values, in the order of their numbers."""
    fold: Int64[np.ndarray, " patient"]
    """Number of the network that does without the patient; -1 where there is none."""
    lessons: tuple[Lesson, ...]
    """Those of the folds, then the final one."""

    def lesson_facts(self) -> list[list[Any]]:
        """Who learns what from whom, as JSON values."""
        return [[one.name, one.seed, one.train.tolist(), one.validation.tolist()] for one in self.lessons]

    def parts(self) -> dict[str, Part]:
        """Fingerprint of the images -> what the networks know of them."""
        final = self.lessons[-1]
        role: dict[int, Role] = dict.fromkeys(final.validation.tolist(), "validation")
        role |= dict.fromkeys(final.train.tolist(), "train")
        found: dict[str, Part] = {}
        for i, digest in enumerate(self.inputs):
            earlier = found.get(image_fingerprint(digest))
            if (
                earlier is None or earlier.role != "train"
            ):  # of two ids with the same images, what was trained on counts
                found[image_fingerprint(digest)] = Part(int(self.fold[i]), role.get(i, ""))
        return found


def make_roster(
    config: Config, patients: Sequence[Patient], known: Mapping[str, int], inputs: Mapping[str, str]
) -> Roster:
    """Lay out all trainings, and check each before the first one begins.

    Args:
        config: uses ``finetune``, ``classify.split``, ``scheme`` and ``seed``.
        patients: of the cohort.
        known: patient id -> position in the scheme.
        inputs: patient id -> hash of the slab, of those who have one.

    Raises:
        StopRun: ``class_too_small`` when a class has too few patients in a part, ``config_value`` for a column of
            ``finetune`` that the cohort does not name or that says nothing, ``split_empty`` without patients,
            ``patient_leak`` for the same images at two places of which each is held out in turn.
    """
    options = config.finetune or FinetuneConfig()
    able = sorted(
        (p for p in patients if p.patient_id in known and p.patient_id in inputs and _develops(config, p)),
        key=lambda p: p.patient_id,
    )
    if not able:
        raise StopRun("split_empty", "nobody can be trained on: no development patient has both label and images")
    classes = scheme_classes(config.scheme)
    y = np.array([known[p.patient_id] for p in able], np.int64)
    digests = tuple(inputs[p.patient_id] for p in able)
    divider = _Divider(y, np.array([p.cohort for p in able], object), image_groups(digests), classes)
    fold = _folds(config, able, options, divider)
    everybody = np.arange(len(able))
    lessons = [
        _lesson(f"fold-{k}", everybody[fold != k], None, config, options, divider) for k in range(fold.max() + 1)
    ]
    lessons.append(_lesson(FINAL, everybody, _stopping(able, options), config, options, divider))
    if config.extract.tokens != "default" and len(lessons) > 1:
        message = (
            f"extract.tokens is '{config.extract.tokens}', and {len(lessons)} networks are to be trained, whose "
            "features have nothing in common but the classes"
        )
        raise StopRun("config_value", message, remedy="use extract.tokens=default, or finetune.folds=0")
    values = {name: _values(able, name) for name in options.also_predict}
    return Roster(tuple(able), digests, y, _tasks(able, values), values, fold, tuple(lessons))


def expected_roster(config: Config, cohort: Cohort) -> Roster:
    """As `make_roster`, before any image is read: all patients are taken to have usable ones of their own."""
    known, _ = training_labels(config, cohort)
    return make_roster(
        config, cohort.patients, known, {name: sha256(name.encode()).hexdigest() for name in cohort.ids()}
    )


@dataclass(frozen=True)
class _Divider:
    """Divides patients at some positions into folds."""

    y: Int64[np.ndarray, " patient"]
    cohort: np.ndarray
    group: Int64[np.ndarray, " patient"]
    classes: tuple[str, ...]

    def test_sides(self, rows: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
        """The test side of each fold, as positions among all patients."""
        found = stratified_folds(
            self.y[rows], self.cohort[rows], self.group[rows], folds=folds, n_classes=len(self.classes), seed=seed
        )
        return [rows[split.test] for split in found]

    def require(self, rows: np.ndarray, least: int) -> None:
        """Stop when a class has too few patients at these positions."""
        require_classes(self.y[rows], self.group[rows], classes=self.classes, least=least)


def _develops(config: Config, patient: Patient) -> bool:
    """Whether a patient is not held out for good."""
    split = config.classify.split
    return split.kind in IN_TURN or side_of(split, patient) == "train"


def _folds(config: Config, able: Sequence[Patient], options: FinetuneConfig, divider: _Divider) -> np.ndarray:
    """The network that does without each patient."""
    attribute = IN_TURN.get(config.classify.split.kind)
    if attribute is not None:
        places = sorted({getattr(p, attribute) for p in able})
        fold = np.array([places.index(getattr(p, attribute)) for p in able], np.int64)
        _refuse_parted(fold, able, divider.group, attribute)
        return fold
    fold = np.full(len(able), -1, np.int64)
    if options.folds:
        if options.folds == 1:
            message = "finetune.folds is 1; a network that does without one part needs at least 2 of them"
            raise StopRun("config_value", message, remedy="set finetune.folds to 5, or to 0 for one network alone")
        sides = divider.test_sides(np.arange(len(able)), options.folds, derived_seed(config.seed, _FOLDS))
        for k, side in enumerate(sides):
            fold[side] = k
    return fold


def _refuse_parted(fold: np.ndarray, able: Sequence[Patient], group: np.ndarray, attribute: str) -> None:
    """Stop when the network of one place would learn from images that it is to score at another."""
    first: dict[int, int] = {}
    for i, number in enumerate(group.tolist()):
        j = first.setdefault(number, i)
        if fold[j] != fold[i]:
            a, b = able[j], able[i]
            message = (
                f"patients '{a.patient_id}' ({attribute} {getattr(a, attribute)}) and '{b.patient_id}' ({attribute} "
                f"{getattr(b, attribute)}) have the same images, and each {attribute} is to be held out in turn"
            )
            raise StopRun("patient_leak", message)


def _lesson(
    name: str,
    rows: np.ndarray,
    stopping: np.ndarray | None,
    config: Config,
    options: FinetuneConfig,
    divider: _Divider,
) -> Lesson:
    """One training on the patients at some positions, without those that tell when to stop."""
    number = -1 if name == FINAL else int(name.rpartition("-")[2])
    if stopping is None:
        folds = max(2, round(1 / options.validation_share))
        stopping = divider.test_sides(rows, folds, derived_seed(config.seed, _STOP, number + 1))[0]
    train = np.setdiff1d(rows, stopping)
    for side in (train, stopping):
        divider.require(side, _LEAST if side is train else 1)
    return Lesson(name, train, stopping, derived_seed(config.seed, _LEARN, number + 1))


def _stopping(able: Sequence[Patient], options: FinetuneConfig) -> np.ndarray | None:
    """The patients whom a column names to stop the final training; None where a share is to be drawn."""
    if not options.validation:
        return None
    column, equals, value = (part.strip() for part in options.validation.partition("="))
    if not equals or not column or not value:
        message = f"finetune.validation is '{options.validation}'; expected COLUMN=VALUE"
        raise StopRun("config_value", message, remedy="official_split=validation, for instance")
    cells = _cells(able, column)
    if value not in cells:
        message = f"finetune.validation is '{options.validation}', and no development patient has that"
        raise StopRun("config_value", message, remedy=f"found in '{column}': {', '.join(sorted({*cells}))}")
    return np.flatnonzero(np.array(cells, object) == value)


def _cells(able: Sequence[Patient], column: str) -> list[str]:
    """A text column of the patients."""
    if column not in able[0].groups:
        raise unknown_name("column of cohort.groups", column, able[0].groups)
    return [p.groups[column] for p in able]


def _values(able: Sequence[Patient], column: str) -> tuple[str, ...]:
    """The values of a further label, at least two."""
    found = tuple(sorted({*_cells(able, column)} - {""}))
    if len(found) < _LEAST:
        message = (
            f"finetune.also_predict names '{column}', in which the development patients have {len(found)} values"
        )
        raise StopRun("config_value", message, remedy="name a column with at least two values")
    return found


def _tasks(able: Sequence[Patient], values: Mapping[str, tuple[str, ...]]) -> np.ndarray:
    """Number of each patient's value of each further label; -1 where it is not known."""
    tasks = np.full((len(able), len(values)), -1, np.int64)
    for j, (name, known) in enumerate(values.items()):
        for i, patient in enumerate(able):
            if patient.groups[name]:
                tasks[i, j] = known.index(patient.groups[name])
    return tasks
