"""How much of the differences between cells and sites each axis explains."""

from dataclasses import dataclass

from analysis.ablation.material import Arena, StudyMaterial
from triher.estimate import Estimate

NOISE = "sampling noise"
"""Source of what drawing other patients alone would move."""
REST = "rest"
"""Source of all interactions of three factors or more together."""


@dataclass(frozen=True)
class Share:
    """What one source explains of the variance between cells and sites."""

    source: str
    """An axis, ``site`` or ``cohort``, two of these with `` x `` between them, `REST`, or `NOISE`."""
    share: Estimate
    """Of the variance without noise, 0 to 1; of the variance with noise for `NOISE`."""
    degrees: int
    """Of freedom; 0 for `NOISE`."""


def split_variance(arena: Arena, material: StudyMaterial, *, metric: str = "auc_macro") -> tuple[Share, ...] | str:
    """Split the variance of a metric between cells and sites by axis; or why it cannot be split."""
    raise NotImplementedError
