"""The hierarchical heads: one question after the other.

A binary head for every boundary between neighboring classes: zero or more, then low or positive among the patients
above zero. With q_j = P(y > j | y >= j) the classes multiply out to 1 - q_0, q_0 (1 - q_1), q_0 q_1: continuation
ratios (Fienberg, The Analysis of Cross-Classified Categorical Data, 1980, chapter 6). The score of low against
positive, p_2 / (p_1 + p_2), is then q_1 itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from classify import array_files
from classify.design import Design
from classify.majority import class_shares
from triher.errors import StopRun
from triher.types import Labels, Probabilities


@runtime_checkable
class _Fitted(Protocol):
    """As `classify.heads.Fitted`."""

    def probabilities(self, design: Design) -> Probabilities: ...

    def to_bytes(self) -> bytes: ...


@runtime_checkable
class _Part(Protocol):
    """As `classify.heads.Part`."""

    def along(self, params: dict[str, int | float], seed: int, test: Design) -> Iterator[Probabilities]: ...

    def fit(self, params: dict[str, int | float], seed: int) -> _Fitted: ...


@dataclass(frozen=True)
class Hierarchy:
    """A fitted binary head for each boundary, lowest first."""

    levels: tuple[_Fitted, ...]

    def probabilities(self, design: Design) -> Probabilities:
        """Uncalibrated probabilities."""
        return multiply_out([level.probabilities(design) for level in self.levels])

    def to_bytes(self) -> bytes:
        """The files of the levels, each an array of bytes in one safetensors file."""
        files = {f"level-{i}": np.frombuffer(level.to_bytes(), np.uint8) for i, level in enumerate(self.levels)}
        return array_files.save(files)


@dataclass(frozen=True)
class HierarchyPart:
    """A training part for each boundary: the patients at or above it."""

    levels: tuple[_Part, ...]

    def along(self, params: dict[str, int | float], seed: int, test: Design) -> Iterator[Probabilities]:
        """Predict at each value of the base head's dial, the same at all levels."""
        for answers in zip(*(level.along(params, seed, test) for level in self.levels), strict=True):
            yield multiply_out(answers)

    def fit(self, params: dict[str, int | float], seed: int) -> Hierarchy:
        """Fit all levels with the same parameters."""
        return Hierarchy(tuple(level.fit(params, seed) for level in self.levels))


def multiply_out(answers: Sequence[Float64[np.ndarray, "patient 2"]]) -> Probabilities:
    """Class probabilities from those of staying at and passing each boundary.

    Args:
        answers: for each boundary P(y = j | y >= j) and P(y > j | y >= j), one row a patient.

    >>> multiply_out([np.array([[0.2, 0.8]]), np.array([[0.75, 0.25]])]).round(6).tolist()
    [[0.2, 0.6, 0.2]]
    """
    reached, columns = np.ones(len(answers[0])), []
    for answer in answers:
        columns.append(reached * answer[:, 0])
        reached = reached * answer[:, 1]
    return np.column_stack([*columns, reached])


def prepare(
    base: Callable[..., _Part],
    design: Design,
    y: Labels,
    n_classes: int,
    *,
    weights: Float64[np.ndarray, " patient"] | None,
    exact: bool,
) -> HierarchyPart:
    """Prepare the base head for every boundary.

    Args:
        base: prepares the binary head.
        design: the training part only.
        y: class of each patient.
        n_classes: classes of the scheme, all present.
        weights: of the patients; all alike when None.
        exact: passed on to the base head.

    Raises:
        StopRun: ``class_too_small`` when a class is absent.
    """
    class_shares(y, n_classes, weights)
    levels = []
    for boundary in range(n_classes - 1):
        above = np.flatnonzero(y >= boundary)
        own = None if weights is None else weights[above]
        passed = (y[above] > boundary).astype(np.int64)
        levels.append(base(design.take(above), passed, 2, weights=own, exact=exact))
    return HierarchyPart(tuple(levels))


def load(base: Callable[..., Any], data: bytes, *, n_features: int, n_classes: int) -> Hierarchy:
    """Read what `Hierarchy.to_bytes` wrote.

    Args:
        base: loads the binary head.
        data: the file.
        n_features: width of a patient's vector.
        n_classes: classes of the scheme.

    Raises:
        StopRun: ``bundle_corrupt`` when a level is missing or more, or its file is corrupt.
    """
    files = array_files.load(data, array_files.HEAD)
    names = [f"level-{i}" for i in range(n_classes - 1)]
    if sorted(files) != sorted(names) or any(a.dtype != np.uint8 or a.ndim != 1 for a in files.values()):
        raise StopRun("bundle_corrupt", f"{array_files.HEAD}: expected bytes of {names}, found {sorted(files)}")
    levels = (base(files[name].tobytes(), n_features=n_features, n_classes=2) for name in names)
    return Hierarchy(tuple(levels))
