"""Everybody predicted by a model that did not see them, and the final model that sees all of the training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int

from classify.applicability import TrainingRange, fit_range, outside
from classify.cases import Cases
from classify.inputs import Inputs
from classify.plan import Fold, Plan
from classify.preparation import within_cohort
from classify.prior import align_prior
from classify.table import Place, prediction_frame
from classify.training import Model, fit_model
from triher.cohort import Patient
from triher.folds import Divide, stratified_folds
from triher.seeds import derived_seed
from triher.settings import ClassifyConfig
from triher.types import Labels, Probabilities

_FINAL, _FOLD = 1, 2  # first numbers of the derived seeds; 0 divides the folds, 3 shuffles the labels


@dataclass(frozen=True)
class Shown:
    """Other images of the patients, in their order; who has none has no row, and no plan may predict them."""

    inputs: Inputs
    acquisition: Mapping[str, Float64[np.ndarray, " patient"]]
    """Facts about these images."""


@dataclass(frozen=True)
class Task:
    """A question to a kind of model: who, with which labels, and how."""

    name: str
    """Of the studies in Optuna's storage."""
    cases: Cases
    patients: Sequence[Patient]
    config: ClassifyConfig
    scheme: str
    seed: int
    training_y: Labels
    """Labels to train on; those of `cases` unless the influence of labels is what is asked."""
    shown: Shown | None = None
    """What held-out patients are predicted from; the same as others are trained on when None."""
    divide: Divide = stratified_folds
    """Makes the inner folds."""

    def training(self, rows: np.ndarray) -> Cases:
        """The cases at some positions, as they are trained on."""
        cases = self.cases.take(rows)
        return Cases(cases.inputs, self.training_y[rows], cases.cohort, cases.group, cases.classes)

    def held_out(self, rows: np.ndarray) -> Inputs:
        """What a model may see of the patients at some positions, whom it predicts."""
        return (self.cases.inputs if self.shown is None else self.shown.inputs).take(rows)


@dataclass(frozen=True)
class Outcome:
    """What one task found out."""

    predictions: pd.DataFrame
    model: Model
    seen: TrainingRange | None
    """Where the training part lies; None where it was not asked for."""


def predict_plan(
    task: Task,
    plan: Plan,
    folds: Iterable[Fold],
    acquisition: Mapping[str, Float64[np.ndarray, " patient"]] | None = None,
) -> Outcome:
    """Train the models of all folds and the final one, and predict whom each did not see.

    Patients of an inner fold come from the same patients as the training, so they are not compared with the training
    range. Where several models together predict one cohort, fold by fold or site by site, the class shares behind
    them are made equal (`classify.prior`); a held-out part that one model predicts is left as that model says.
    Prediction sets are made before that, of probabilities like those that the model's quantiles come from.

    Args:
        task: what to train.
        plan: the final model's training and test patients.
        folds: those of the plan, perhaps with a progress bar around them.
        acquisition: facts about the source images, for the training range; None when it is not wanted.
    """
    final, development = plan.final, task.cases.y[plan.final.train]
    frames = [_predict_fold(task, fold, development, acquisition) for fold in folds]
    training = task.training(final.train)
    study = f"{task.name}/final"
    model = fit_model(training, task.config, derived_seed(task.seed, _FINAL), study=study, divide=task.divide)
    seen = _range(task, final.train, acquisition)
    if len(final.test):
        frames.append(_predict(task, final.test, model, seen, Place("test", 0, 0, task.seed), acquisition))
    return Outcome(pd.concat(frames, ignore_index=True), model, seen)


def predict_beside(
    task: Task, plan: Plan, acquisition: Mapping[str, Float64[np.ndarray, " patient"]] | None = None
) -> pd.DataFrame:
    """The predictions of `predict_plan` alone, without a final model where nobody is held out for it."""
    if len(plan.final.test):
        return predict_plan(task, plan, plan.folds, acquisition).predictions
    development = task.cases.y[plan.final.train]
    frames = [_predict_fold(task, fold, development, acquisition) for fold in plan.folds]
    return pd.concat(frames, ignore_index=True)


def _predict_fold(
    task: Task,
    fold: Fold,
    development: Int[np.ndarray, " development"],
    acquisition: Mapping[str, Float64[np.ndarray, " patient"]] | None,
) -> pd.DataFrame:
    """Train one fold's model and predict its held-out patients."""
    place, sides = fold.place, fold.sides
    seed = derived_seed(task.seed, _FOLD, place.repeat, place.fold)
    is_held_out = place.split == "test"
    config = task.config if is_held_out else within_cohort(task.config)
    study = f"{task.name}/repeat {place.repeat}/fold {place.fold}"
    model = fit_model(task.training(sides.train), config, seed, study=study, divide=task.divide)
    seen = _range(task, sides.train, acquisition if is_held_out else None)
    shares = None if task.config.split.kind == "leave-one-cohort-out" else (task.training_y[sides.train], development)
    return _predict(task, sides.test, model, seen, place, acquisition, shares)


def _predict(
    task: Task,
    rows: np.ndarray,
    model: Model,
    seen: TrainingRange | None,
    place: Place,
    acquisition: Mapping[str, Float64[np.ndarray, " patient"]] | None,
    shares: tuple[np.ndarray, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Predict held-out patients, and say what lies outside the training range.

    Shares are the labels trained on and those of the whole cohort, where these are to be aligned.
    """
    inputs = task.held_out(rows)
    given = model.predict(inputs)
    p = given if shares is None else align_prior(given, *shares)
    reasons: Sequence[Sequence[str]] = ()
    if seen is not None and acquisition is not None:
        of_these = acquisition if task.shown is None else task.shown.acquisition
        facts = {name: values[rows] for name, values in of_these.items()}
        reasons = outside(seen, facts, inputs.means())
    return _frame(task, rows, (given, p), model, reasons, place)


def _range(
    task: Task, rows: np.ndarray, acquisition: Mapping[str, Float64[np.ndarray, " patient"]] | None
) -> TrainingRange | None:
    """The training range of the patients at the given positions."""
    if acquisition is None:
        return None
    facts = {name: values[rows] for name, values in acquisition.items()}
    return fit_range(facts, task.cases.inputs.take(rows).means())


def _frame(
    task: Task,
    rows: np.ndarray,
    p: tuple[Probabilities, Probabilities],
    model: Model,
    reasons: Sequence[Sequence[str]],
    place: Place,
) -> pd.DataFrame:
    """Rows of the prediction table for the patients at the given positions; p as the model gave it, and aligned."""
    people, y = [task.patients[i] for i in rows], task.cases.y[rows].astype(np.float64)
    return prediction_frame(
        people, y, p[1], model=model, scheme=task.scheme, place=place, reasons=reasons, for_sets=p[0]
    )
