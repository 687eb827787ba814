"""Every cell against the base, on the same patients and the same resamples."""

from dataclasses import dataclass

from analysis.ablation.material import Arena, StudyMaterial
from triher.estimate import Estimate


@dataclass(frozen=True)
class Compared:
    """One cell by one measure."""

    cell: str
    measure: str
    own: Estimate
    """Of the cell itself, on the arena's patients."""
    difference: Estimate | None
    """The cell minus the base; None for the base, and without a base (see the reason in `missing_base`)."""
    p: float
    """Two-sided, of the difference; NaN where there is no test."""
    p_corrected: float
    """After Holm; NaN but for the study's metric in its first arena: all else describes."""
    is_primary: bool
    """Whether the study was planned for it, which is a family of its own."""


def compare(arena: Arena, material: StudyMaterial) -> tuple[Compared, ...]:
    """Every cell and measure; cells in the order of the arena, the study's metric first."""
    raise NotImplementedError


def missing_base(arena: Arena, material: StudyMaterial) -> str:
    """Why nothing is compared with the base, or nothing."""
    raise NotImplementedError
