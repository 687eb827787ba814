"""One model: everything that is learned from one training part."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from classify.calibration import apply_temperature, fit_temperature
from classify.cases import Cases
from classify.conformal import Conformal, fit_conformal
from classify.design import one_row_each
from classify.heads import Fitted, Params, find_head
from classify.pooling import Pooled
from classify.splits import Split, derived_seed, stratified_folds
from classify.thresholds import Threshold, fit_thresholds
from classify.tuning import InnerFold, Search, tune
from triher.config import ClassifyConfig
from triher.errors import StopRun
from triher.types import Probabilities, Vectors


@dataclass(frozen=True)
class Model:
    """A tuned and calibrated head."""

    head: str
    params: Params
    fitted: Fitted
    temperature: float
    conformal: Conformal
    thresholds: tuple[Threshold, ...]
    names_sha256: str
    """Hash of the feature names that it was fitted on."""
    log_loss: float
    """Mean log loss of the inner folds at the chosen parameters, before calibration."""
    search: dict[str, Any]

    def predict(self, pooled: Pooled) -> Probabilities:
        """Calibrated probabilities, one row a patient, columns in the order of the scheme.

        Raises:
            StopRun: ``feature_order`` when the features are not those of the training in their order,
                ``embedding_nonfinite`` when a value is not finite.
        """
        if pooled.names_sha256 != self.names_sha256:
            message = f"the {len(pooled.names)} features are not those that the head was fitted on, in their order"
            raise StopRun("feature_order", message)
        bad = np.flatnonzero(~np.isfinite(pooled.vectors).all(axis=1))
        if len(bad):
            message = (
                f"{len(bad)} of {len(pooled.vectors)} patient vectors hold NaN or infinity (first: row {bad[0]})"
            )
            raise StopRun("embedding_nonfinite", message)
        return self.probabilities(pooled.vectors)

    def probabilities(self, vectors: Vectors) -> Probabilities:
        """Calibrated probabilities of vectors that are known to be finite and in the right order."""
        return apply_temperature(self.fitted.probabilities(one_row_each(vectors)), self.temperature)


def fit_model(cases: Cases, config: ClassifyConfig, seed: int) -> Model:
    """Tune by inner cross-validation, refit on all cases, calibrate on the inner held-out predictions.

    Temperature, conformal quantiles and thresholds see only predictions for patients whom the predicting model had
    not seen, and nothing outside the given cases. The temperature's one parameter was fitted on the predictions that
    the quantiles are then taken from; with patients of every class in the dozens that does not show.

    Args:
        cases: the training part; at least 2 patients of every class.
        config: head, inner folds, trials and alpha.
        seed: makes the result reproducible, to the byte on one machine.

    Raises:
        StopRun: ``unknown_name``, ``class_too_small`` or ``tuning_failed``.
    """
    head = find_head(config.head)
    n_classes = len(cases.classes)
    splits = stratified_folds(
        cases.y, cases.cohort, cases.group, folds=config.folds, n_classes=n_classes, seed=derived_seed(seed, 0)
    )
    folds = [_inner(cases, split) for split in splits]
    tuned = tune(head, folds, n_classes=n_classes, search=Search(config.trials, seed))
    design = one_row_each(cases.pooled.vectors)
    part = head.prepare(design, cases.y, n_classes, weights=None, exact=True)
    temperature = fit_temperature(tuned.held_out, cases.y, smoothing=1 / (len(cases.y) + 2))
    calibrated = apply_temperature(tuned.held_out, temperature)
    return Model(
        head=head.name,
        params=tuned.params,
        fitted=part.fit(tuned.params, derived_seed(seed, 2)),
        temperature=temperature,
        conformal=fit_conformal(calibrated, cases.y, config.alpha),
        thresholds=fit_thresholds(calibrated, cases.y, cases.classes),
        names_sha256=cases.pooled.names_sha256,
        log_loss=tuned.log_loss,
        search=tuned.search,
    )


def _inner(cases: Cases, split: Split) -> InnerFold:
    """One inner fold."""
    train, test = (one_row_each(cases.pooled.vectors[rows]) for rows in (split.train, split.test))
    return InnerFold(train, cases.y[split.train], None, test, cases.y[split.test], split.test)
