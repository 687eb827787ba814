"""All that is computed of a study, for the sections of its report."""

from dataclasses import dataclass, replace

import numpy as np

from analysis.ablation.cohort_matrix import Matrix, cohort_matrix
from analysis.ablation.comparison import Compared, compare, missing_base
from analysis.ablation.material import Arena, CellResult, StudyMaterial
from analysis.ablation.measures import Measure, find_measure
from analysis.ablation.prices import Price, Step, price_cells, price_steps
from analysis.ablation.ranks import Rank, rank_cells
from analysis.ablation.selection import Winner, correct_winner
from analysis.ablation.stability import Stability, stabilities
from analysis.ablation.variance import Share, split_variance
from triher.estimate import Estimate
from triher.registered import Registration, read_registration
from triher.study import StudyFolder


@dataclass(frozen=True)
class ArenaFindings:
    """What was found on one set of common patients."""

    arena: Arena
    compared: tuple[Compared, ...]
    no_base: str
    """Why nothing is compared with the base; empty where it is."""
    ranks: tuple[Rank, ...]
    winner: Winner | None
    shares: tuple[Share, ...] | str
    """Or why the variance cannot be split."""

    def by(self, measure: str) -> tuple[Compared, ...]:
        """The cells by one measure."""
        return tuple(one for one in self.compared if one.measure == measure)

    def values(self, measure: str) -> dict[str, Estimate]:
        """Cell -> its value of one measure."""
        return {one.cell: one.own for one in self.by(measure)}

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures, the study's first."""
        return tuple(dict.fromkeys(one.measure for one in self.compared))


@dataclass(frozen=True)
class Findings:
    """All of a study."""

    material: StudyMaterial
    arenas: tuple[ArenaFindings, ...]
    """The foremost first; what the report says is about that one unless it says otherwise."""
    matrix: Matrix | None
    stabilities: tuple[Stability, ...]
    prices: tuple[Price, ...]
    steps: tuple[Step, ...]
    registration: Registration | None
    alone: tuple[ArenaFindings, ...] = ()
    """Where nothing is compared: the base by itself on its own patients, or the first cell that is done."""

    @property
    def metric(self) -> Measure:
        """What cells are compared by."""
        return find_measure(self.material.own.metric, self.material.config.scheme)

    def good(self, value: float) -> float:
        """A value of the metric, turned so that higher is better."""
        return float(self.metric.goodness(np.array(value)))

    @property
    def left(self) -> tuple[CellResult, ...]:
        """The cells that are compared with nothing: failed, unfinished, or not comparable."""
        return tuple(result for result in self.material.results if result.state != "done")

    @property
    def is_registered(self) -> bool:
        """Whether something was registered beforehand, in the metric that the study is read by."""
        return self.registration is not None and self.registration.metric == self.material.own.metric

    def is_confirmatory(self, cell: str) -> bool:
        """Whether a cell's comparison with the base is as it was registered."""
        return self.is_registered and self.registration is not None and self.registration.confirmatory(cell)


def find_out(folder: StudyFolder, material: StudyMaterial) -> Findings:
    """Compute all that the report tells.

    Args:
        folder: of the study.
        material: as `analysis.ablation.material.read_material` gives it.

    Raises:
        StopRun: as each of the computations.
    """
    arenas = tuple(_judge(arena, material) for arena in material.arenas)
    values = arenas[0].values(material.own.metric) if arenas else {}
    prices = price_cells(values, material)
    steps = price_steps(prices, arenas[0].arena, material) if arenas else ()
    return Findings(
        material,
        arenas,
        cohort_matrix(folder, material),
        stabilities(folder, material),
        prices,
        steps,
        read_registration(folder),
        () if arenas else _alone(material),
    )


def _alone(material: StudyMaterial) -> tuple[ArenaFindings, ...]:
    """The values of the first cell that has any."""
    own = next((result.own for result in material.results if result.state == "done" and result.own), ())
    by_itself = replace(material, arenas=own)
    why = "it is by itself"
    return tuple(ArenaFindings(arena, compare(arena, by_itself), why, (), None, why) for arena in own)


def _judge(arena: Arena, material: StudyMaterial) -> ArenaFindings:
    """All on one set of common patients."""
    return ArenaFindings(
        arena,
        compare(arena, material),
        missing_base(arena, material),
        rank_cells(arena, material),
        correct_winner(arena, material),
        split_variance(arena, material, metric=material.own.metric),
    )
