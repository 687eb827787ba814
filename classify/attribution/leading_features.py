"""Shapley values of single features, in a head's own scores, for heads of which they can be had exactly.

Linear heads (logistic, elastic net) and trees (xgboost) give a score to each class, of which the softmax is taken. A
score that all classes have in common changes no probability, so each is taken less the mean of the classes' scores;
temperature and covariates that join late come after it and are not in it. The rest of the features are those of
training patients, as in `classify.attribution.shapley`, with the same assumption: features that say the same share
the credit by how the head weighs them, and one that the head leaves out gets nothing, however much it tells alone.

For a linear score the value of a feature is its coefficient times the patient's distance from the training patients'
mean (Strumbelj & Kononenko, Knowl Inf Syst 2014;41:647); for trees it is computed by Lundberg et al., Nat Mach Intell
2020;2:56, algorithm 3.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from classify.attribution.everyone import Everyone
from classify.attribution.libraries import load
from classify.attribution.shapley import draw_background
from classify.boosting import Trees
from classify.logistic import Logistic
from triher.explanation_tables import FeatureShare
from triher.labels import scheme_classes

TOP = 40
_AT_ONCE = 64  # patients whose values are held in double precision


def why_none(everyone: Everyone) -> str:
    """Why the head's features have no values of their own; empty where they have."""
    head = everyone.bundle.model
    if type(head.fitted) in _EXPLAINERS:
        return ""
    return f"the head '{head.head}' has no exact values for single features; see those of views and covariates"


def feature_shares(
    everyone: Everyone,
    explained: Sequence[int],
    training: Sequence[int],
    *,
    most: int,
    seed: int,
    top: int = TOP,
) -> tuple[FeatureShare, ...]:
    """How much single features move the head's scores, for the features that move them most.

    Args:
        everyone: the patients before the model, with a head of which `why_none` says nothing.
        explained: positions of those to explain.
        training: positions of those whom the model was trained on.
        most: how many of these everybody is compared with at most.
        seed: of drawing them.
        top: how many features, by the mean absolute value over patients and classes; all are computed.

    Returns:
        A row a patient, class and feature; the features of each patient and class by falling importance. What
        reaches the head are named columns of a table, ``<view>/<pooling>/<number>``, or ``component <number>`` from
        1, and covariates that join early.

    Raises:
        ValueError: without a training patient, or for another head: faults of the program.
        StopRun: ``extra_missing``.
    """
    model, shap = everyone.bundle.model, load("shap", "Shapley values")
    if why_none(everyone):
        raise ValueError(why_none(everyone))
    design = model.preparation.design(everyone.inputs).vectors
    background = design[draw_background(training, most, seed)]
    explain = _EXPLAINERS[type(model.fitted)](shap, model.fitted, background)
    values = _centered(explain, design[list(explained)])
    leading = np.argsort(-np.abs(values).mean(axis=(0, 2)), kind="stable")[:top]
    names = _names(everyone, design.shape[1])
    return tuple(
        FeatureShare(
            everyone.patients[place].patient_id,
            label,
            names[feature],
            float(design[place, feature]),
            float(values[row, feature, number]),
        )
        for row, place in enumerate(explained)
        for number, label in enumerate(scheme_classes(everyone.bundle.scheme))
        for feature in leading.tolist()
    )


def _centered(
    explain: Callable[[np.ndarray], np.ndarray], rows: Float[np.ndarray, "patient feature"]
) -> Float[np.ndarray, "patient feature class"]:
    """Values less their mean over the classes, in single precision, some patients at a time."""
    parts = []
    for start in range(0, len(rows), _AT_ONCE):
        values = explain(rows[start : start + _AT_ONCE])
        parts.append((values - values.mean(axis=2, keepdims=True)).astype(np.float32))
    return np.concatenate(parts)


def _of_linear(
    shap: ModuleType, fitted: Logistic, background: Float[np.ndarray, "patient feature"]
) -> Callable[[np.ndarray], Float64[np.ndarray, "patient feature class"]]:
    """Of the logits."""
    coef = fitted.coef / fitted.scale
    masker = shap.maskers.Independent(background.astype(np.float64), max_samples=len(background))
    explainer = shap.LinearExplainer((coef, fitted.intercept - coef @ fitted.mean), masker)
    return lambda rows: np.asarray(explainer.shap_values(rows.astype(np.float64)))


def _of_trees(
    shap: ModuleType, fitted: Trees, background: Float[np.ndarray, "patient feature"]
) -> Callable[[np.ndarray], Float64[np.ndarray, "patient feature class"]]:
    """Of the margins."""
    explainer = shap.TreeExplainer(fitted.booster, background, feature_perturbation="interventional")
    return lambda rows: np.asarray(explainer.shap_values(rows))


def _names(everyone: Everyone, width: int) -> list[str]:
    """What the columns of the design are called."""
    preparation, inputs = everyone.bundle.model.preparation, everyone.inputs
    covariates = inputs.covariate_names if preparation.joins_early else ()
    if preparation.components is None:
        return [*inputs.names, *covariates]
    return [*(f"component {number}" for number in range(1, width - len(covariates) + 1)), *covariates]


_EXPLAINERS: dict[type, Callable[[ModuleType, Any, np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    Logistic: _of_linear,
    Trees: _of_trees,
}
