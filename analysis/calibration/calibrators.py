"""Recalibrations of multi-class probabilities: each learns a few numbers from patients and is applied to others.

They work on the logarithms of the probabilities, so it does not matter which head gave them. A probability of 0
counts as 1e-15 (1e-6 for Platt's logits).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Int
from scipy.special import expit, log_softmax, softmax

from analysis.calibration.brier import LOG_CLIP, patient_losses
from analysis.calibration.logistic_model import binary_design, fit_logistic, logit, one_hot
from analysis.calibration.stepwise import Isotonic, VennAbers, fit_isotonic, fit_venn_abers, normalized
from classify.calibration import apply_temperature, fit_temperature
from triher.errors import unknown_name
from triher.types import Labels, Probabilities

FOLDS = 5
_INNER_FOLDS = 3
Rows = Int[np.ndarray, " _"]
_PENALTIES = (1.0, 10.0, 100.0)  # on the sum over patients; the range of Kull et al. in decades
_UNIT = 1.0  # penalty of a normal prior with standard deviation 1 around "as predicted"


@runtime_checkable
class Calibrator(Protocol):
    """What was learned."""

    def apply(self, p: Probabilities) -> Probabilities:
        """Recalibrated probabilities, rows sum to 1."""


@dataclass(frozen=True)
class Temperature:
    """One number for all classes."""

    temperature: float

    def apply(self, p: Probabilities) -> Probabilities:
        """In proportion to p ** (1 / T); the order of a patient's classes is kept."""
        return apply_temperature(p, self.temperature)


@dataclass(frozen=True)
class LinearLogs:
    """A linear map of the log probabilities."""

    weights: Float64[np.ndarray, "class class"]
    """A row for each new class; the identity changes nothing."""
    bias: Float64[np.ndarray, " class"]

    def apply(self, p: Probabilities) -> Probabilities:
        """Softmax of weights log p + bias."""
        return softmax(_logs(p) @ self.weights.T + self.bias, axis=1)


@dataclass(frozen=True)
class Sigmoids:
    """A logistic curve for each class against the others."""

    slope: tuple[float, ...]
    intercept: tuple[float, ...]

    def apply(self, p: Probabilities) -> Probabilities:
        """Each class's curve, then divided by the sum."""
        columns = [
            expit(a * logit(p[:, c].copy()) + b)
            for c, (a, b) in enumerate(zip(self.slope, self.intercept, strict=True))
        ]
        return normalized(np.column_stack(columns))


def fit_one_temperature(p: Probabilities, y: Labels, _: int) -> Temperature:
    """Guo et al., ICML 2017; the same as inside the model (`classify.calibration`)."""
    return Temperature(fit_temperature(p, y))


def fit_vector(p: Probabilities, y: Labels, _: int) -> LinearLogs:
    """A scale and a bias for each class (vector scaling; Guo et al., ICML 2017).

    Scales are drawn to 1 and biases to 0 by a ridge penalty of 1, a normal prior with standard deviation 1.
    """
    n_classes = p.shape[1]
    logs = _logs(p)
    design = np.zeros((len(p), n_classes, 2 * n_classes))
    for c in range(n_classes):
        design[:, c, c] = logs[:, c]
        design[:, c, n_classes + c] = 1
    fit = fit_logistic(design, one_hot(y, n_classes), logs, penalty=np.full(2 * n_classes, _UNIT))
    found = np.zeros(2 * n_classes) if fit is None else fit.coefficients
    return LinearLogs(np.diag(1 + found[:n_classes]), found[n_classes:])


def fit_dirichlet(p: Probabilities, y: Labels, seed: int) -> LinearLogs:
    """All weights and biases, those beside the diagonal and the biases penalized (Dirichlet, ODIR).

    Kull et al., Beyond temperature scaling, NeurIPS 2019. The penalty is the one of 1, 10 and 100 with the lowest log
    loss in three folds of these patients. The diagonal is drawn to 1 by a penalty of 1, so that separated classes
    have a solution.
    """
    folds = folds_of(y, _INNER_FOLDS, seed)
    losses = [
        np.mean([_loss(_dirichlet(p[learn], y[learn], penalty), p[rest], y[rest]) for learn, rest in folds])
        for penalty in _PENALTIES
    ]
    return _dirichlet(p, y, _PENALTIES[int(np.argmin(losses))])


def _dirichlet(p: Probabilities, y: Labels, penalty: float) -> LinearLogs:
    """With a given penalty."""
    n_classes = p.shape[1]
    logs = _logs(p)
    design = np.zeros((len(p), n_classes, n_classes * (n_classes + 1)))
    for c in range(n_classes):
        design[:, c, c * n_classes : (c + 1) * n_classes] = logs
        design[:, c, n_classes * n_classes + c] = 1
    ridge = np.full(design.shape[2], penalty)
    ridge[: n_classes * n_classes : n_classes + 1] = _UNIT
    fit = fit_logistic(design, one_hot(y, n_classes), logs, penalty=ridge)
    found = np.zeros(design.shape[2]) if fit is None else fit.coefficients
    weights = np.eye(n_classes) + found[: n_classes * n_classes].reshape(n_classes, n_classes)
    return LinearLogs(weights, found[n_classes * n_classes :])


def platt(condition: Bool[np.ndarray, " patient"], p: Float64[np.ndarray, " patient"]) -> tuple[float, float]:
    """Slope and intercept of a sigmoid on logit p with Platt's targets.

    (n+ + 1) / (n+ + 2) stands for 1 and 1 / (n- + 2) for 0 (Platt, Probabilistic outputs for support vector machines,
    1999), so that separated classes have a solution.
    """
    n_with, n_without = int(condition.sum()), int((~condition).sum())
    target = np.where(condition, (n_with + 1) / (n_with + 2), 1 / (n_without + 2))
    design = binary_design(np.column_stack([logit(p), np.ones(len(p))]))
    fit = fit_logistic(design, np.column_stack([1 - target, target]), np.zeros((len(p), 2)))
    return (1.0, 0.0) if fit is None else (float(fit.coefficients[0]), float(fit.coefficients[1]))


def fit_platt(p: Probabilities, y: Labels, _: int) -> Sigmoids:
    """A sigmoid for each class against the others."""
    found = [platt(y == c, p[:, c].copy()) for c in range(p.shape[1])]
    return Sigmoids(tuple(a for a, _ in found), tuple(b for _, b in found))


def _isotonic(p: Probabilities, y: Labels, _: int) -> Isotonic:
    """As the others of the table."""
    return fit_isotonic(p, y)


def _venn_abers(p: Probabilities, y: Labels, _: int) -> VennAbers:
    """As the others of the table."""
    return fit_venn_abers(p, y)


@dataclass(frozen=True)
class Method:
    """How a recalibration is called and fitted."""

    title: str
    fit: Callable[[Probabilities, Labels, int], Calibrator]
    asks_for: int = 0
    """Patients below which it is known to overfit (Niculescu-Mizil & Caruana, ICML 2005)."""


CALIBRATORS: dict[str, Method] = {
    "temperature": Method("Temperature", fit_one_temperature),
    "vector": Method("Vector scaling", fit_vector),
    "dirichlet": Method("Dirichlet (ODIR)", fit_dirichlet),
    "platt": Method("Platt, one against the rest", fit_platt),
    "isotonic": Method("Isotonic, one against the rest", _isotonic, asks_for=1000),
    "venn-abers": Method("Venn-Abers, one against one", _venn_abers),
}
"""Name in ``analysis.calibrators`` -> method."""


def find_calibrator(name: str) -> Method:
    """A method by its name.

    Raises:
        StopRun: ``unknown_name`` with the known names, nearest first.
    """
    if name not in CALIBRATORS:
        raise unknown_name("calibrator", name, CALIBRATORS)
    return CALIBRATORS[name]


def cross_fitted(name: str, p: Probabilities, y: Labels, seed: int) -> Probabilities:
    """Recalibrated probabilities of every patient, learned from the other folds of patients.

    Args:
        name: of `CALIBRATORS`.
        p: probabilities.
        y: classes, at least 4 patients of each.
        seed: of the stratified folds.

    Raises:
        StopRun: ``unknown_name``.
    """
    method, found = find_calibrator(name), np.empty_like(p)
    for learn, rest in folds_of(y, FOLDS, seed):
        found[rest] = method.fit(p[learn], y[learn], seed).apply(p[rest])
    return found


def folds_of(y: Labels, folds: int, seed: int) -> list[tuple[Rows, Rows]]:
    """Stratified folds of patients: positions of those to learn from, and of those to apply it to.

    Args:
        y: class of each patient, at least 2 of every class that there is.
        folds: no more are made than the smallest class has patients.
        seed: decides who goes where.
    """
    from sklearn.model_selection import StratifiedKFold

    smallest = int(np.unique(y, return_counts=True)[1].min())
    divider = StratifiedKFold(min(folds, smallest), shuffle=True, random_state=seed)
    return list(divider.split(y, y))


def _loss(calibrator: Calibrator, p: Probabilities, y: Labels) -> float:
    """Mean log loss after recalibration."""
    return float(patient_losses(y, calibrator.apply(p))[:, 1].mean())


def _logs(p: Probabilities) -> Probabilities:
    """Logarithms, with a floor."""
    return log_softmax(np.log(np.maximum(p, LOG_CLIP)), axis=1)
