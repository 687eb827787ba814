"""The table of heads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from classify import boosting, logistic
from triher.errors import unknown_name
from triher.types import Probabilities, Vectors

Params: TypeAlias = dict[str, int | float]


@runtime_checkable
class Fitted(Protocol):
    """A fitted head."""

    def probabilities(self, vectors: Vectors) -> Probabilities:
        """Uncalibrated probabilities, columns in the order of the scheme."""

    def to_bytes(self) -> bytes:
        """The model as a file without code."""


@runtime_checkable
class Part(Protocol):
    """A training part, prepared once for all trials."""

    def fit(self, params: Params, seed: int) -> Fitted:
        """Fit with the given parameters."""


@dataclass(frozen=True)
class Range:
    """Where a parameter is searched, and where the search starts."""

    low: int | float
    high: int | float
    start: int | float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Head:
    """A kind of classifier: what to tune and how to prepare, fit and load it."""

    name: str
    space: dict[str, Range]
    prepare: Callable[..., Part]
    """(vectors, y, n_classes, exact=...) -> training part."""
    load: Callable[..., Fitted]
    """(bytes, n_features=..., n_classes=...) -> fitted head."""
    file: str
    """Its name in the bundle."""


# Ranges: C is free of the number of features (see `classify.logistic.prepare`), and at its ends the head predicts the
# prior or separates the training part. Trees are shallow and few because cohorts have some hundred patients, and each
# sees few of the thousand or more correlated features.
HEADS: dict[str, Head] = {
    "logistic": Head(
        "logistic",
        {"C": Range(1e-3, 1e3, 1.0, log=True)},
        logistic.prepare,
        logistic.load,
        "head.safetensors",
    ),
    "xgboost": Head(
        "xgboost",
        {
            "max_depth": Range(1, 3, 2, whole=True),
            "eta": Range(0.03, 0.5, 0.15, log=True),
            "rounds": Range(10, 60, 30, log=True, whole=True),
            "subsample": Range(0.5, 1.0, 0.8),
            "colsample_bytree": Range(0.02, 0.25, 0.1, log=True),
            "min_child_weight": Range(0.3, 8.0, 1.0, log=True),
            "reg_lambda": Range(0.1, 30.0, 1.0, log=True),
        },
        boosting.prepare,
        boosting.load,
        "head.json",
    ),
}


def find_head(name: str) -> Head:
    """The head of that name.

    Raises:
        StopRun: ``unknown_name``.
    """
    if name not in HEADS:
        raise unknown_name("head", name, HEADS)
    return HEADS[name]
