"""The memory that this process has needed."""

import math
import sys


def peak_memory_bytes() -> float:
    """The most memory that this process has had so far, in bytes; NaN where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
