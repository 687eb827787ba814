"""What a study found, cell by cell, brought to the patients whom the cells have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from analysis.cross_validation import Folds
from triher.labels import scheme_classes
from triher.settings import AblationConfig, Config
from triher.study import Cell, CellRun, Embedding
from triher.types import Labels, Names

HELD_OUT = "held out"
"""Split of an arena whose cells have different splits: everybody predicted by a model that did not see them."""


@dataclass(frozen=True)
class Arena:
    """Cells on their common patients, whom all were predicted by models that did not see them."""

    split: str
    """``test``, ``oof``, or `HELD_OUT`."""
    classes: tuple[str, ...]
    patient_id: tuple[str, ...]
    y: Labels
    strata: Labels
    """Within which patients are resampled; see `analysis.strata`."""
    cohort: Names
    site: Names
    names: tuple[str, ...]
    """Of the cells that have predictions, the base first where it has them."""
    probabilities: Float64[np.ndarray, "cell seed patient class"]
    folds: Folds | None
    """How the patients were predicted where several models did it: of the cell with the fewest folds."""
    n_own: Mapping[str, int]
    """Patients whom each cell predicted, before those were taken whom all have."""

    def index(self, name: str) -> int:
        """Position of a cell."""
        return self.names.index(name)


@dataclass(frozen=True)
class CellResult:
    """What became of a cell."""

    cell: Cell
    runs: tuple[CellRun, ...]
    """One a seed, those that ended."""
    embedding: Embedding | None
    """Of the first run."""
    reason: str = ""
    """Why it is not compared (failed, unfinished, labeled by another rule); empty where it is."""
    own: tuple[Arena, ...] = ()
    """The cell alone on all its own patients, one a split, from the seeds that there are."""


@dataclass(frozen=True)
class StudyMaterial:
    """All that a part of the study's report may look at."""

    config: Config
    """Of the base."""
    axes: Mapping[str, Sequence[str]]
    """Axis -> labels of its levels, that of the base first; empty for a list of cells."""
    design: str
    results: tuple[CellResult, ...]
    """The base first."""
    arenas: tuple[Arena, ...]
    """Held-out patients first; none where no two cells have patients in common."""

    @property
    def own(self) -> AblationConfig:
        """The section ``ablation``."""
        return self.config.ablation or AblationConfig()

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the label scheme."""
        return scheme_classes(self.config.scheme)

    def result(self, name: str) -> CellResult:
        """What became of the cell of that name."""
        return next(one for one in self.results if one.cell.name == name)
