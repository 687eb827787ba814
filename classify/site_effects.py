"""What sites add to features and by what they scale them, and how to take it out of rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Shaped

from classify.array_files import are_sound, shapes_of
from triher.errors import StopRun

_ARRAYS = ("mean", "deviation", "site_mean", "site_scale", "coef")


@dataclass(frozen=True)
class SiteEffects:
    """What each site adds to the features, and by what it scales them."""

    sites: tuple[str, ...]
    mean: Float64[np.ndarray, " feature"]
    """Of all rows, each site counted by its rows, at covariates of 0."""
    deviation: Float64[np.ndarray, " feature"]
    """Within sites; 0 for a feature that passes through."""
    site_mean: Float64[np.ndarray, "site feature"]
    """In units of the deviation."""
    site_scale: Float64[np.ndarray, "site feature"]
    coef: Float64[np.ndarray, "covariate feature"]
    """What one unit of a protected covariate adds to a feature; without rows when there are none."""

    def transform(
        self,
        rows: Float[np.ndarray, "row feature"],
        site: Shaped[np.ndarray, " row"],
        covariates: Float[np.ndarray, "row covariate"] | None = None,
    ) -> Float64[np.ndarray, "row feature"]:
        """Take the sites out of rows; what becomes of one row does not depend on the others.

        Args:
            rows: finite features.
            site: name of each row's site.
            covariates: those of the fit, in their order.

        Raises:
            StopRun: ``site_unseen`` when a site was not among those of the fit.
        """
        place = find_sites(self.sites, site)
        varies = self.deviation > 0
        deviation = np.where(varies, self.deviation, 1.0)
        expected = np.broadcast_to(self.mean, rows.shape)
        if len(self.coef):
            expected = expected + _given(covariates, len(self.coef)).astype(np.float64) @ self.coef
        standard = (rows - expected) / deviation
        moved = (standard - self.site_mean[place]) / self.site_scale[place] * deviation + expected
        return np.where(varies, moved, rows.astype(np.float64))

    def arrays(self) -> dict[str, np.ndarray]:
        """All but the names of the sites, for a safetensors file."""
        return {name: getattr(self, name) for name in _ARRAYS}


def effects_from_arrays(arrays: Mapping[str, np.ndarray], sites: Sequence[str]) -> SiteEffects:
    """Take back what `SiteEffects.arrays` gave.

    Raises:
        StopRun: ``bundle_corrupt`` when arrays are missing, of other shapes, not finite, or not positive where they
            scale.
    """
    found = shapes_of(arrays)
    width = found.get("mean", (0,))[0]
    shapes: dict[str, tuple[int, ...]] = {"mean": (width,), "deviation": (width,)}
    shapes |= {"site_mean": (len(sites), width), "site_scale": (len(sites), width)}
    shapes["coef"] = (*found.get("coef", (0,))[:1], width)
    if not are_sound(arrays, shapes) or (arrays["site_scale"] <= 0).any() or (arrays["deviation"] < 0).any():
        raise StopRun("bundle_corrupt", f"harmonization: expected finite arrays {shapes}, found {found}")
    return SiteEffects(tuple(sites), **arrays)


def find_sites(sites: tuple[str, ...], site: Shaped[np.ndarray, " row"]) -> Int[np.ndarray, " row"]:
    """Position of each row's site among those that were fitted.

    Raises:
        StopRun: ``site_unseen`` when one is not among them.
    """
    position = {name: k for k, name in enumerate(sites)}
    unseen = sorted({str(name) for name in site} - position.keys())
    if unseen:
        listed = ", ".join(f"'{name}'" for name in unseen)
        raise StopRun("site_unseen", f"the harmonization was not fitted on {listed}, but on {', '.join(sites)}")
    return np.array([position[str(name)] for name in site], dtype=np.int64)


def _given(covariates: np.ndarray | None, n_covariates: int) -> np.ndarray:
    """The covariates that the fit had."""
    if covariates is None or covariates.shape[1] != n_covariates:
        raise ValueError(f"the fit had {n_covariates} covariates, the rows have others")
    return covariates
