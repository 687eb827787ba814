"""ComBat: location and scale of each site, shrunk toward what all features of that site share.

Johnson, Li & Rabinovic, Biostatistics 2007;8:118, with parametric priors, step by step as in ``sva::ComBat``
(Bioconductor sva 3.46), but fitted on some rows and applied to others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped

from triher.errors import StopRun

_STOP = 1e-4  # sva's own; another one gives other values from the fifth digit on
_TIGHT = 1e-12  # features whose site variances are all alike make a prior without width, and sva divides by zero
_RANK = 1e-10  # what is left of a covariate within sites, as a share of its size, that is rounding
_LEAST_ROWS = 2


@dataclass(frozen=True)
class Combat:
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
        place = _places(self.sites, site)
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


_ARRAYS = ("mean", "deviation", "site_mean", "site_scale", "coef")


def combat_from_arrays(arrays: Mapping[str, np.ndarray], sites: Sequence[str]) -> Combat:
    """Take back what `Combat.arrays` gave.

    Raises:
        StopRun: ``bundle_corrupt`` when arrays are missing, of other shapes, not finite, or not positive where they
            scale.
    """
    found = {name: array.shape for name, array in arrays.items()}
    width = found.get("mean", (0,))[0]
    shapes: dict[str, tuple[int, ...]] = {"mean": (width,), "deviation": (width,)}
    shapes |= {"site_mean": (len(sites), width), "site_scale": (len(sites), width)}
    shapes["coef"] = (*found.get("coef", (0,))[:1], width)
    good = found == shapes and all(a.dtype == np.float64 and np.isfinite(a).all() for a in arrays.values())
    if not good or (arrays["site_scale"] <= 0).any() or (arrays["deviation"] < 0).any():
        raise StopRun("bundle_corrupt", f"harmonization: expected finite arrays {shapes}, found {found}")
    return Combat(tuple(sites), **arrays)


def fit_combat(
    rows: Float[np.ndarray, "row feature"],
    site: Shaped[np.ndarray, " row"],
    covariates: Float[np.ndarray, "row covariate"] | None = None,
    *,
    mean_only: bool = False,
) -> Combat:
    """Learn what the sites add and by what they scale.

    A feature with one value only at some site passes through unchanged, as in sva. Covariates are protected: what
    they explain stays. Never give the label: it is not known where the result is to be used, and it would leak.

    Args:
        rows: finite features of the training rows.
        site: name of each row's site, with at least two rows each; two sites or more.
        covariates: numbers to protect, without an intercept.
        mean_only: take out what sites add, and leave their scale.

    Raises:
        StopRun: ``site_single`` for a site of one row, ``site_confounded`` when the sites tell a covariate,
            ``config_value`` when there are fewer than two sites, or fewer than two features to share a prior.

    >>> rng = np.random.default_rng(0)
    >>> site = np.array(["a"] * 40 + ["b"] * 40)
    >>> rows = rng.normal(size=(80, 50)) + (site == "b")[:, None] * 3
    >>> moved = fit_combat(rows, site).transform(rows, site)
    >>> bool(abs(moved[site == "a"].mean() - moved[site == "b"].mean()) < 0.1)
    True
    """
    sites = tuple(sorted({str(name) for name in site}))
    place = _places(sites, site)
    counts = np.bincount(place, minlength=len(sites))
    order = np.argsort(place, kind="stable")
    wide = rows[order].astype(np.float64)
    varies = _varies(wide, counts)
    _check(sites, counts, int(varies.sum()))
    wide = wide if varies.all() else wide[:, varies]
    design = np.zeros((len(rows), 0)) if covariates is None else covariates[order].astype(np.float64)
    centers, squares, coef = _within_sites(wide, design, counts)
    mean, deviation = counts @ centers / len(wide), np.sqrt(squares.sum(axis=0) / len(wide))
    shift, variance = (centers - mean) / deviation, squares / (counts - 1)[:, None] / deviation**2
    found = [_shrink(int(n), g, None if mean_only else d) for n, g, d in zip(counts, shift, variance, strict=True)]
    return Combat(
        sites,
        _fill(mean[None], varies, 0.0)[0],
        _fill(deviation[None], varies, 0.0)[0],
        _fill(np.array([g for g, _ in found]), varies, 0.0),
        np.sqrt(_fill(np.array([d for _, d in found]), varies, 1.0)),
        _fill(coef, varies, 0.0),
    )


def _places(sites: tuple[str, ...], site: Shaped[np.ndarray, " row"]) -> np.ndarray:
    """Position of each row's site among those that were fitted."""
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


def _starts(counts: np.ndarray) -> np.ndarray:
    """Where each site begins among rows sorted by site."""
    return np.concatenate([[0], np.cumsum(counts)[:-1]])


def _sums(values: Float64[np.ndarray, "row any"], counts: np.ndarray) -> Float64[np.ndarray, "site any"]:
    """Sum over each site of rows sorted by site."""
    return np.add.reduceat(values, _starts(counts), axis=0)


def _varies(wide: Float64[np.ndarray, "row feature"], counts: np.ndarray) -> Bool[np.ndarray, " feature"]:
    """Which features have more than one value at every site."""
    starts = _starts(counts)
    return (np.maximum.reduceat(wide, starts, axis=0) > np.minimum.reduceat(wide, starts, axis=0)).all(axis=0)


def _check(sites: tuple[str, ...], counts: np.ndarray, n_features: int) -> None:
    """Refuse what has no site effect, or none that can be estimated."""
    single = [f"'{name}'" for name, count in zip(sites, counts, strict=True) if count < _LEAST_ROWS]
    if single:
        raise StopRun("site_single", f"{', '.join(single)} has one row, and ComBat needs {_LEAST_ROWS} a site")
    if len(sites) < 2 or n_features < 2:
        message = f"ComBat needs 2 sites and 2 features that vary at each; there are {len(sites)} and {n_features}"
        raise StopRun("config_value", message, remedy="set classify.harmonization to none")


def _within_sites(
    wide: Float64[np.ndarray, "row kept"], design: Float64[np.ndarray, "row covariate"], counts: np.ndarray
) -> tuple[Float64[np.ndarray, "site kept"], Float64[np.ndarray, "site kept"], Float64[np.ndarray, "covariate kept"]]:
    """Each site's mean at covariates of 0, its sum of squared residuals, and the coefficients; rows by site."""
    centers, coef = _sums(wide, counts) / counts[:, None], np.zeros((0, wide.shape[1]))
    residuals = wide - np.repeat(centers, counts, axis=0)
    if design.shape[1]:
        middle = _sums(design, counts) / counts[:, None]
        centered = design - np.repeat(middle, counts, axis=0)
        coef = _regress(residuals, centered, np.linalg.norm(design, axis=0))
        centers, residuals = centers - middle @ coef, residuals - centered @ coef
    return centers, _sums(residuals**2, counts), coef


def _regress(
    centered: Float64[np.ndarray, "row kept"], design: Float64[np.ndarray, "row covariate"], size: np.ndarray
) -> Float64[np.ndarray, "covariate kept"]:
    """Coefficients of the covariates, both sides centered within sites (Frisch & Waugh, Econometrica 1933;1:387)."""
    if np.linalg.matrix_rank(design / np.maximum(size, np.finfo(float).tiny), tol=_RANK) < design.shape[1]:
        raise StopRun("site_confounded", "a covariate to protect follows from the sites, or from other covariates")
    return np.linalg.lstsq(design, centered)[0]


def _shrink(
    n_rows: int, shift: Float64[np.ndarray, " kept"], variance: Float64[np.ndarray, " kept"] | None
) -> tuple[Float64[np.ndarray, " kept"], Float64[np.ndarray, " kept"]]:
    """Posterior shift and variance of one site's features: normal and inverse gamma priors over its features."""
    center, spread = shift.mean(), shift.var(ddof=1)
    if variance is None:
        return (spread * shift + center) / (spread + 1), np.ones(len(shift))  # sva counts the site as one row here
    level = variance.mean()
    width = max(variance.var(ddof=1), _TIGHT * level**2)
    a, b = 2 + level**2 / width, level + level**3 / width
    g, d, change = shift, variance, np.inf
    while change > _STOP:
        g_new = (n_rows * spread * shift + d * center) / (n_rows * spread + d)
        squares = (n_rows - 1) * variance + n_rows * (shift - g_new) ** 2
        d_new = (squares / 2 + b) / (n_rows / 2 + a - 1)
        # Divided by g and not by its size, so that negative shifts never delay the stop: so it is in sva.
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.fmax.reduce(np.concatenate([np.abs(g_new - g) / g, np.abs(d_new - d) / d]))
        g, d = g_new, d_new
    return g, d


def _fill(kept: Float64[np.ndarray, "any kept"], varies: np.ndarray, rest: float) -> np.ndarray:
    """Columns for all features, with `rest` for those that pass through."""
    full = np.full((len(kept), len(varies)), rest)
    full[:, varies] = kept
    return full
