"""What one part of a study costs."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class PartCost:
    """What one slab cache, trained encoder, store or run takes; NaN where it was not measured."""

    seconds: float = math.nan
    """Wall clock, when it is computed on this machine alone, one after the other."""
    disk_bytes: float = math.nan
    memory_bytes: float = math.nan
    """On the device, for weights and the largest activations of a batch."""
    reason: str = ""
    """Why it was not measured."""
    scratch_bytes: float = 0.0
    """On the disk, until it is done."""
