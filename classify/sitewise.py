"""Standardize each site by its own mean and deviation, and bring it back to those of all sites."""

import numpy as np
from jaxtyping import Float, Shaped

from classify.rotation import center_and_scale
from classify.site_effects import SiteEffects
from triher.errors import StopRun

LEAST_ROWS = 10
"""With fewer rows a site's deviation is off by more than a quarter (its relative error is 1 / sqrt(2 (n - 1)))."""


def fit_sitewise(rows: Float[np.ndarray, "row feature"], site: Shaped[np.ndarray, " row"]) -> SiteEffects:
    """Learn the mean and the deviation of every site, without shrinking them.

    Differences of the patients between sites are taken out together with those of the scanners. A feature that does
    not vary at a site is moved there and not scaled; one that varies nowhere passes through.

    Args:
        rows: finite features of the training rows.
        site: name of each row's site, with at least `LEAST_ROWS` rows each.

    Raises:
        StopRun: ``site_single`` when a site has fewer rows.
    """
    sites, centers, scales = _by_site(rows, site)
    shares = np.array([np.mean(site == name) for name in sites])
    mean, deviation = shares @ centers, np.sqrt(shares @ scales**2)
    return _effects(sites, centers, scales, mean, deviation)


def standardize_new(
    effects: SiteEffects, rows: Float[np.ndarray, "row feature"], site: Shaped[np.ndarray, " row"]
) -> SiteEffects:
    """Add new sites, each standardized by its own rows to the mean and deviation of the training.

    No label is needed, but a patient's values then depend on the other patients of the site.

    Args:
        effects: those of the training sites.
        rows: of the new sites only.
        site: name of each row's site, with at least `LEAST_ROWS` rows each.

    Raises:
        StopRun: ``site_single`` when a site has fewer rows.
    """
    sites, centers, scales = _by_site(rows, site)
    new = _effects(sites, centers, scales, effects.mean, effects.deviation)
    return SiteEffects(
        (*effects.sites, *sites),
        effects.mean,
        effects.deviation,
        np.concatenate([effects.site_mean, new.site_mean]),
        np.concatenate([effects.site_scale, new.site_scale]),
        effects.coef,
    )


def _by_site(rows: np.ndarray, site: np.ndarray) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The sites, and the mean and deviation of each one's rows."""
    sites = tuple(sorted({str(name) for name in site}))
    own = [_mean_and_scale(rows[site == name], name) for name in sites]
    return sites, np.array([center for center, _ in own]), np.array([scale for _, scale in own])


def _mean_and_scale(here: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of one site's rows."""
    if len(here) < LEAST_ROWS:
        message = f"'{name}' has {len(here)} rows, and {LEAST_ROWS} are needed to standardize a site by itself"
        raise StopRun("site_single", message)
    return center_and_scale(here)


def _effects(
    sites: tuple[str, ...], centers: np.ndarray, scales: np.ndarray, mean: np.ndarray, deviation: np.ndarray
) -> SiteEffects:
    """Means and deviations in units of the common ones."""
    unit = np.where(deviation > 0, deviation, 1.0)
    scale = np.where((scales > 0) & (deviation > 0), scales / unit, 1.0)
    return SiteEffects(sites, mean, deviation, (centers - mean) / unit, scale, np.zeros((0, len(mean))))
