"""Compiles the loops of the analysis, which other threads go on beside."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call, and keep the code for the next process where some folder can be written to."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither beside the function's file nor in the user's cache
        return njit(nogil=True)(function)
