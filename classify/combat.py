"""ComBat: location and scale of each site, shrunk toward what all features of that site share.

Johnson, Li & Rabinovic, Biostatistics 2007;8:118, with parametric priors, step by step as in ``sva::ComBat``
(Bioconductor sva 3.46), but fitted on some rows and applied to others.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped

from classify.site_effects import SiteEffects, find_sites
from triher.errors import StopRun

_STOP = 1e-4  # sva's own; another one gives other values from the fifth digit on
_TIGHT = 1e-12  # features whose site variances are all alike make a prior without width, and sva divides by zero
_RANK = 1e-10  # what is left of a covariate within sites, as a share of its size, that is rounding
_LEAST_ROWS = 2


def fit_combat(
    rows: Float[np.ndarray, "row feature"],
    site: Shaped[np.ndarray, " row"],
    covariates: Float[np.ndarray, "row covariate"] | None = None,
    *,
    mean_only: bool = False,
) -> SiteEffects:
    """Learn what the sites add and by what they scale.

    A feature with one value only at some site passes through unchanged, as in sva. Covariates are protected: what
    they explain stays. Never give the label: it is not known where the result is to be used, and it would leak.

    Args:
        rows: finite features of the training rows.
        site: name of each row's site, with at least two rows each; two sites or more.
        covariates: numbers to protect, without an intercept.
        mean_only: take out what sites add, shrunk more than otherwise, and leave their scale.

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
    place = find_sites(sites, site)
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
    return SiteEffects(
        sites,
        _fill(mean[None], varies, 0.0)[0],
        _fill(deviation[None], varies, 0.0)[0],
        _fill(np.array([g for g, _ in found]), varies, 0.0),
        np.sqrt(_fill(np.array([d for _, d in found]), varies, 1.0)),
        _fill(coef, varies, 0.0),
    )


def _starts(counts: np.ndarray) -> np.ndarray:
    """Where each site begins among rows sorted by site."""
    return np.concatenate([[0], np.cumsum(counts)[:-1]])


def _sums(values: Float64[np.ndarray, "row any"], counts: np.ndarray) -> Float64[np.ndarray, "site any"]:
    """Sum over each site of rows sorted by site."""
    return np.add.reduceat(values, _starts(counts), axis=0)


def _varies(wide: Float64[np.ndarray, "row feature"], counts: np.ndarray) -> Bool[np.ndarray, " feature"]:
    """Which features have more than one value at every site."""
    starts = _starts(counts)
    span = np.maximum.reduceat(wide, starts, axis=0) - np.minimum.reduceat(wide, starts, axis=0)
    return np.asarray((span > 0).all(axis=0))


def _check(sites: tuple[str, ...], counts: np.ndarray, n_features: int) -> None:
    """Refuse what has no site effect, or none that can be estimated."""
    single = [f"'{name}'" for name, count in zip(sites, counts, strict=True) if count < _LEAST_ROWS]
    if single:
        raise StopRun("site_single", f"{', '.join(single)} has one row, and ComBat needs {_LEAST_ROWS} a site")
    if len(sites) < 2 or n_features < 2:
        message = f"ComBat needs 2 sites and 2 features that vary at each; there are {len(sites)} and {n_features}"
        raise StopRun("config_value", message, remedy="set classify.harmonize.method to none")


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
        # sva counts the site as one row here, so that of shifts that spread by one deviation half remains.
        return (spread * shift + center) / (spread + 1), np.ones(len(shift))
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
