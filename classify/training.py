"""One model: everything that is learned from one training part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from classify.calibration import apply_temperature, fit_temperature
from classify.cases import Cases
from classify.conformal import Conformal, fit_conformal
from classify.heads import Fitted, Params, find_head
from classify.inputs import Inputs
from classify.preparation import Preparation, fit_preparation, within_cohort
from classify.stacking import Stack, fit_stack
from classify.thresholds import Threshold, fit_thresholds
from classify.tuning import InnerFold, Search, Tuned, tune
from triher.errors import StopRun
from triher.folds import Divide, Split, stratified_folds
from triher.seeds import derived_seed
from triher.settings import ClassifyConfig
from triher.types import Probabilities

_DIVIDE, _FIT, _STACK = 0, 2, 3  # first numbers of the derived seeds; 1 is the search's


@dataclass(frozen=True)
class Model:
    """A tuned and calibrated head, with what comes before and after it."""

    head: str
    params: Params
    preparation: Preparation
    fitted: Fitted
    stack: Stack | None
    """The second model of covariates that join late."""
    temperature: float
    conformal: Conformal
    thresholds: tuple[Threshold, ...]
    names_sha256: str
    """Hash of the names of features and covariates that it was fitted on."""
    log_loss: float
    """Mean log loss of the inner folds at the chosen parameters, before calibration."""
    search: dict[str, Any]

    def predict(self, inputs: Inputs) -> Probabilities:
        """Calibrated probabilities, one row a patient, columns in the order of the scheme.

        Raises:
            StopRun: ``feature_order`` when the features are not those of the training in their order,
                ``embedding_nonfinite`` when a value is not finite and gaps are not filled, ``site_unseen``.
        """
        if inputs.names_sha256 != self.names_sha256:
            message = (
                f"the {len(inputs.names)} features and {len(inputs.covariate_names)} covariates are not those that "
                f"the head was fitted on, in their order"
            )
            raise StopRun("feature_order", message)
        bad = inputs.incomplete()
        if len(bad) and self.preparation.fill is None:
            message = f"{len(bad)} of {inputs.n_patients} patients have NaN or infinity (first: position {bad[0]})"
            raise StopRun("embedding_nonfinite", message)
        return self.probabilities(inputs)

    def probabilities(self, inputs: Inputs) -> Probabilities:
        """Calibrated probabilities of inputs that are known to be sound and in the right order."""
        p = self.fitted.probabilities(self.preparation.design(inputs))
        if self.stack is not None:
            p = self.stack.probabilities(p, self.preparation.covariates(inputs))
        return apply_temperature(p, self.temperature)


def fit_model(
    cases: Cases, config: ClassifyConfig, seed: int, *, study: str = "", divide: Divide = stratified_folds
) -> Model:
    """Tune by inner cross-validation, refit on all cases, calibrate on the inner held-out predictions.

    Preparation, temperature, conformal quantiles and thresholds see only the given cases, and the last three only
    predictions for patients whom the predicting model had not seen. The temperature's one parameter was fitted on the
    predictions that the quantiles are then taken from; with patients of every class in the dozens that does not show.

    Args:
        cases: the training part; at least 2 patients of every class.
        config: head, steps before it, inner folds, trials and alpha.
        seed: makes the result reproducible, to the byte on one machine.
        study: name of the study in Optuna's storage.
        divide: makes the inner folds.

    Raises:
        StopRun: ``unknown_name``, ``class_too_small``, ``site_unseen`` or ``tuning_failed``.
    """
    head, n_classes = find_head(config.head), len(cases.classes)
    own_seed = derived_seed(seed, _DIVIDE)
    splits = divide(cases.y, cases.cohort, cases.group, folds=config.folds, n_classes=n_classes, seed=own_seed)
    folds = [_inner(cases, split, config) for split in splits]
    tuned = tune(head, folds, n_classes=n_classes, search=_search(config, seed, study))
    preparation = fit_preparation(cases.inputs, config)
    part = head.prepare(
        preparation.design(cases.inputs), cases.y, n_classes, weights=weigh(cases.y, config), exact=True
    )
    stack, held_out = _stack(cases, config, tuned, preparation, splits, seed)
    temperature = fit_temperature(held_out, cases.y, smoothing=1 / (len(cases.y) + 2)) if head.calibrated else 1.0
    calibrated = apply_temperature(held_out, temperature)
    return Model(
        head=head.name,
        params=tuned.params,
        preparation=preparation,
        fitted=part.fit(tuned.params, derived_seed(seed, _FIT)),
        stack=stack,
        temperature=temperature,
        conformal=fit_conformal(calibrated, cases.y, config.alpha),
        thresholds=fit_thresholds(calibrated, cases.y, cases.classes),
        names_sha256=cases.inputs.names_sha256,
        log_loss=tuned.log_loss,
        search=tuned.search,
    )


def _search(config: ClassifyConfig, seed: int, study: str) -> Search:
    """How to search, as configured."""
    return Search(
        config.trials,
        seed,
        objective=config.objective,
        workers=config.workers,
        storage=config.storage,
        study=study,
        prune=config.prune,
    )


def _inner(cases: Cases, split: Split, config: ClassifyConfig) -> InnerFold:
    """One inner fold, prepared by its own training side."""
    train, test = cases.take(split.train), cases.take(split.test)
    preparation = fit_preparation(train.inputs, within_cohort(config))
    designs = [preparation.design(side.inputs) for side in (train, test)]
    return InnerFold(designs[0], train.y, weigh(train.y, config), designs[1], test.y, split.test)


def _stack(
    cases: Cases, config: ClassifyConfig, tuned: Tuned, preparation: Preparation, splits: Sequence[Split], seed: int
) -> tuple[Stack | None, Probabilities]:
    """The second model where covariates join late, and the held-out predictions of the whole."""
    if config.join == "early" or not cases.inputs.covariate_names:
        return None, tuned.held_out
    covariates = preparation.covariates(cases.inputs)
    return fit_stack(tuned.held_out, covariates, cases.y, splits, derived_seed(seed, _STACK))


def weigh(y: Int[np.ndarray, " patient"], config: ClassifyConfig) -> Float64[np.ndarray, " patient"] | None:
    """Weights that give every class an equal share, with mean 1; None where patients count alike."""
    if config.class_weights == "none":
        return None
    counts = np.bincount(y)
    return np.asarray(len(y) / (np.count_nonzero(counts) * counts[y]))
