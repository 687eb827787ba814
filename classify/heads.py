"""The table of heads."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias, runtime_checkable

from classify import boosting, elastic_net, hierarchical, logistic, majority, mil, neighbors, network, ordinal
from classify.array_files import HEAD as ARRAYS
from classify.design import Design
from triher.errors import unknown_name
from triher.settings import ClassifyConfig
from triher.types import Probabilities

Params: TypeAlias = dict[str, int | float]


@runtime_checkable
class Fitted(Protocol):
    """A fitted head."""

    def probabilities(self, design: Design) -> Probabilities:
        """Uncalibrated probabilities, columns in the order of the scheme."""

    def to_bytes(self) -> bytes:
        """The model as a file without code."""


@runtime_checkable
class Part(Protocol):
    """A training part, prepared once for all trials."""

    def along(self, params: Params, seed: int, test: Design) -> Iterator[Probabilities]:
        """Predict other patients at each value of the head's dial, in order; the caller may stop early."""

    def fit(self, params: Params, seed: int) -> Fitted:
        """Fit with the given parameters, the dial's among them."""


@dataclass(frozen=True)
class Range:
    """Where a parameter is searched, and where the search starts."""

    low: int | float
    high: int | float
    start: int | float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Dial:
    """The parameter whose values come along one path for about the price of the last: rounds, epochs, a penalty."""

    name: str
    values: tuple[int | float, ...]
    patience: int = 0
    """Stop a path after this many values in a row without a better loss; 0 never does."""


@dataclass(frozen=True)
class Head:
    """A kind of classifier: what to tune and how to prepare, fit and load it."""

    name: str
    space: dict[str, Range]
    """What trials search; empty for a head that has nothing but its dial."""
    dial: Dial
    prepare: Callable[..., Part]
    """(design, y, n_classes, weights=..., exact=...) -> training part."""
    load: Callable[..., Fitted]
    """(bytes, n_features=..., n_classes=...) -> fitted head."""
    file: str
    """Its name in the bundle."""
    takes_bags: bool = False
    """Whether it wants every slice's row instead of one row a patient."""
    calibrated: bool = True
    """False where the probabilities are class shares and nothing else, which a temperature could only blur."""
    takes_probabilities: bool = False
    """Whether it wants a trained encoder's probabilities, as they are, and nothing else."""
    lockable: bool = True
    """False where the fitted head holds its training patients' vectors, so that no bundle may carry it."""


# Ranges: C is free of the number of features (see `classify.rotation.unit_space`), and at its ends the head predicts
# the prior or separates the training part. Trees are shallow and few because cohorts have some hundred patients, and
# each sees few of the thousand or more correlated features. A step of Adam is at most about `rate`, so that decay
# keeps every weight of a network below about 1 / `decay`: at the upper end logits are too small to part the classes.
_TREES: dict[str, Range] = {
    "max_depth": Range(1, 3, 2, whole=True),
    "eta": Range(0.03, 0.5, 0.15, log=True),
    "subsample": Range(0.5, 1.0, 0.8),
    "colsample_bytree": Range(0.02, 0.25, 0.1, log=True),
    "min_child_weight": Range(0.3, 8.0, 1.0, log=True),
    "reg_lambda": Range(0.1, 30.0, 1.0, log=True),
}
_NETWORK: dict[str, Range] = {
    "components": Range(8, 64, 32, log=True, whole=True),
    "hidden": Range(4, 32, 16, log=True, whole=True),
    "rate": Range(2e-3, 3e-2, 1e-2, log=True),
    "decay": Range(0.1, 16.0, 1.0, log=True),
}
_UNUSED = Dial("unused", majority.DIAL)
_EPOCHS = Dial("epochs", mil.EPOCHS, patience=mil.PATIENCE)
_RIDGE, _ROUNDS = Dial("C", logistic.PENALTIES), Dial("rounds", boosting.ROUNDS, patience=3)
_JSON = "head.json"


def _hierarchy(base: Head) -> Head:
    """The base head, asked at each boundary between neighboring classes."""
    prepare, load = partial(hierarchical.prepare, base.prepare), partial(hierarchical.load, base.load)
    return Head(f"hierarchical-{base.name}", base.space, base.dial, prepare, load, ARRAYS)


_LOGISTIC = Head("logistic", {}, _RIDGE, logistic.prepare, logistic.load, ARRAYS)
_XGBOOST = Head("xgboost", _TREES, _ROUNDS, boosting.prepare, boosting.load, _JSON)
_ALL = (
    Head("majority", {}, _UNUSED, majority.prepare, majority.load, _JSON, calibrated=False),
    Head("network", {}, _UNUSED, network.prepare, network.load, _JSON, takes_probabilities=True),
    _LOGISTIC,
    Head(
        "elastic-net",
        {"l1_ratio": Range(0.05, 1.0, 0.5, log=True)},
        Dial("share", elastic_net.SHARES, patience=2),
        elastic_net.prepare,
        logistic.load,
        ARRAYS,
    ),
    Head("ordinal", {}, _RIDGE, ordinal.prepare, ordinal.load, ARRAYS),
    _hierarchy(_LOGISTIC),
    _XGBOOST,
    _hierarchy(_XGBOOST),
    *(
        Head(name, _NETWORK, _EPOCHS, mil.PREPARE[name], mil.LOAD[name], ARRAYS, takes_bags=True)
        for name in mil.PREPARE
    ),
    Head("knn", {}, Dial("k", neighbors.COUNTS), neighbors.prepare, neighbors.load, "", lockable=False),
)
HEADS: dict[str, Head] = {head.name: head for head in _ALL}


def find_head(name: str) -> Head:
    """The head of that name.

    Raises:
        StopRun: ``unknown_name``.
    """
    if name not in HEADS:
        raise unknown_name("head", name, HEADS)
    return HEADS[name]


def check_head(config: ClassifyConfig) -> Head:
    """The head that a configuration asks for, with the settings around it.

    Raises:
        StopRun: ``unknown_name``; ``config_value`` for settings that the head cannot work with.
    """
    head = find_head(config.head)
    if head.takes_probabilities:
        network.check_settings(config)
    return head
