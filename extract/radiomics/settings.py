"""What is decided before radiomics features are computed, as the IBSI guidelines ask to report it."""

import re
from dataclasses import dataclass

import numpy as np

from triher.errors import StopRun

VERSION = 1  # counts up with every change of a feature's value or place
ORIGINAL = "original"
MAX_LEVELS = 1024  # co-occurrence matrices of more levels fill gigabytes
_LOG = re.compile(r"log-(\d+(?:\.\d+)?)mm")
_TRUNCATE = 4.0  # standard deviations after which a filter ends (IBSI 2, arXiv 2006.05470, section 3.3)


@dataclass(frozen=True)
class RadiomicsSettings:
    """How a lesion is resampled, filtered and cut into gray levels."""

    resample_mm: float | None = 1.0
    """Side of the cubic voxels that image and mask are brought to (of squares within each slice, with 2 dimensions);
    None keeps the scanner's."""
    bin_count: int | None = 32
    """Gray levels between the lesion's least and largest value; None with `bin_width`."""
    bin_width: float | None = None
    """Width of a gray level in units of the scanner, counted from the lesion's least value."""
    filters: tuple[str, ...] = (ORIGINAL,)
    """``original``, or ``log-2mm``: the Laplacian of a Gaussian of that standard deviation."""
    dimensions: int = 3
    """3, or 2 for filters and texture within slices only, over all slices together (IBSI's 2.5D)."""
    merged: bool = True
    """Whether the matrices of all directions are added up, or the features averaged over the directions."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning.

        Raises:
            StopRun: ``config_value``.
        """
        if (self.bin_count is None) == (self.bin_width is None):
            raise StopRun("config_value", "radiomics: give one of bin_count and bin_width")
        if self.bin_count is not None and not 2 <= self.bin_count <= MAX_LEVELS:
            raise StopRun("config_value", f"radiomics.bin_count: {self.bin_count} is not between 2 and {MAX_LEVELS}")
        for name in ("bin_width", "resample_mm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise StopRun("config_value", f"radiomics.{name}: {value} is not above 0")
        if self.dimensions not in (2, 3):
            raise StopRun("config_value", f"radiomics.dimensions: {self.dimensions} is neither 2 nor 3")
        if not self.filters or len(set(self.filters)) < len(self.filters):
            raise StopRun("config_value", "radiomics.filters: name at least one filter, and each once")
        for name in self.filters:
            sigma_mm(name)

    def reach_mm(self) -> float:
        """How far around the lesion the filters look."""
        return _TRUNCATE * max(sigma_mm(name) for name in self.filters)


def sigma_mm(name: str) -> float:
    """The standard deviation of a filter; 0 for ``original``.

    >>> sigma_mm("log-2.5mm")
    2.5

    Raises:
        StopRun: ``config_value`` for another name.
    """
    match = _LOG.fullmatch(name)
    if name != ORIGINAL and not (match and float(match[1]) > 0):
        raise StopRun("config_value", f"radiomics.filters: '{name}' is neither {ORIGINAL} nor like log-2mm")
    return float(match[1]) if match else 0.0
