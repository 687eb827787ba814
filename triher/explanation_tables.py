"""The tables beside the maps: written by the explaining stage, read by report and browser.

All lie in ``explanations/`` of a run. Log-odds are log p - log(1 - p) of a class, as the locked model says; ``class``
is its name in the scheme.

- ``shap_groups.csv``: how much each view (phase or fusion) and each covariate moves the log-odds of a patient away
  from the mean of some training patients, ``base``. The rows of a patient and class sum to log-odds less base.
- ``shap_features.csv``: the same for single features and a head's own scores, for the features that matter most.
- ``projection.csv``: every patient in the plane. Its axes have no unit, and distances in it prove nothing.
- ``projection_purity.csv``: how far class and site show in all dimensions, which is evidence as the plane is not.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from triher.errors import StopRun
from triher.tables import read_own_cells, write_table

SHAP_GROUPS, SHAP_FEATURES = "shap_groups.csv", "shap_features.csv"
PROJECTION, PURITY = "projection.csv", "projection_purity.csv"


@dataclass(frozen=True)
class GroupShare:
    """The share of one group of inputs in the log-odds of one class for one patient."""

    patient_id: str
    label: str
    """The class."""
    group: str
    """Name of the view or covariate."""
    kind: str
    """``view`` or ``covariate``."""
    value: float
    """Of a covariate; NaN for a view, and for a covariate that is not known."""
    phi: float
    """Shapley value, in log-odds: above 0 speaks for the class."""
    base: float
    """Mean log-odds of the training patients that the patient is compared with."""


@dataclass(frozen=True)
class FeatureShare:
    """The share of one feature in the head's score of one class for one patient."""

    patient_id: str
    label: str
    """The class."""
    feature: str
    value: float
    """As the head sees it."""
    phi: float
    """Shapley value: above 0 speaks for the class against the mean of the classes."""


@dataclass(frozen=True)
class Projected:
    """One patient in the plane."""

    patient_id: str
    method: str
    """``t-SNE`` or ``UMAP``."""
    x: float
    y: float


@dataclass(frozen=True)
class Purity:
    """How often a patient's nearest neighbors in all dimensions are of the patient's own kind."""

    target: str
    """``class`` or ``site``."""
    n: int
    """Patients of whom the target is known."""
    groups: int
    """Kinds among them."""
    k: int
    """Neighbors of each."""
    purity: float
    """Mean share of neighbors of one's own kind."""
    expected: float
    """Mean of the same when kinds are permuted: the class within sites, the site within classes."""
    p: float
    """Share of permutations that reach the purity, of at least 1 / (permutations + 1)."""


@dataclass(frozen=True)
class MeanSize:
    """How much a group or feature moves a class on average, over patients."""

    name: str
    label: str
    mean: float
    """Mean of the absolute Shapley values."""
    n: int
    """Patients."""


Row = TypeVar("Row", GroupShare, FeatureShare, Projected, Purity)


def write_rows(path: Path, kind: type[Row], rows: Iterable[Row]) -> None:
    """Write rows of one kind; the file appears when it is complete."""
    write_table(path, _columns(kind), [astuple(row) for row in rows])


def read_rows(path: Path, kind: type[Row]) -> tuple[Row, ...]:
    """Read what `write_rows` wrote; none where there is no file.

    Raises:
        StopRun: ``column_missing``; ``number_format`` where a cell is no number; as
            `triher.tables.read_own_cells`.
    """
    rows = read_own_cells(path, _columns(kind), purpose="explanations")
    try:
        return tuple(_row(kind, cells) for cells in rows)
    except ValueError as error:
        raise StopRun("number_format", f"{path}: {error}") from error


def mean_sizes(rows: Sequence[GroupShare] | Sequence[FeatureShare]) -> tuple[MeanSize, ...]:
    """Mean absolute share of every group or feature in every class, the largest first.

    >>> one = GroupShare("P1", "low", "rgb", "view", float("nan"), -0.5, 0.1)
    >>> mean_sizes([one])
    (MeanSize(name='rgb', label='low', mean=0.5, n=1),)
    """
    sizes: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        name = row.group if isinstance(row, GroupShare) else row.feature
        sizes.setdefault((name, row.label), []).append(abs(row.phi))
    found = [MeanSize(name, label, sum(own) / len(own), len(own)) for (name, label), own in sizes.items()]
    return tuple(sorted(found, key=lambda size: (-size.mean, size.name, size.label)))


def _columns(kind: type[Row]) -> list[str]:
    """Names of the columns; ``class`` is no name in the language."""
    return ["class" if field.name == "label" else field.name for field in fields(kind)]


def _row(kind: type[Row], cells: Sequence[str]) -> Row:
    """One row from its cells."""
    values: list[Any] = [_TYPES[str(field.type)](cell) for field, cell in zip(fields(kind), cells, strict=True)]
    return kind(*values)


def _float(cell: str) -> float:
    """A number, NaN for an empty cell."""
    return float(cell or "nan")


_TYPES: dict[str, Callable[[str], str | float | int]] = {str(str): str, str(float): _float, str(int): int}
