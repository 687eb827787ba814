"""Patients in the plane, by t-SNE and UMAP: pictures to look at, and no evidence.

Both keep who is near to whom and little else: sizes of clusters and distances between them mean nothing, and both
make clusters of noise (Wattenberg, Viegas & Johnson, Distill 2016, "How to use t-SNE effectively"; Chari & Pachter,
PLoS Comput Biol 2023;19:e1011288). `classify.attribution.neighborhood.purities` says what there is in all dimensions.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Float64

from classify.attribution.libraries import load
from classify.rotation import principal_axes
from triher.explanation_tables import Projected
from triher.types import Vectors

LEAST_PATIENTS = 10
_AXES = 50  # as in van der Maaten & Hinton, J Mach Learn Res 2008;9:2579
_PERPLEXITY, _NEIGHBORS = 30.0, 15  # the libraries' defaults, bounded by the number of patients


def project(
    vectors: Vectors, patient_ids: Sequence[str], methods: Sequence[str], *, seed: int
) -> tuple[Projected, ...]:
    """Every patient's place in the plane, by each method; the same for the same vectors and seed.

    Args:
        vectors: standardized, as of `classify.attribution.neighborhood.standard_vectors`; brought to at most 50
            principal components first.
        patient_ids: of each.
        methods: names in `METHODS`.
        seed: of UMAP; t-SNE begins at the principal components and draws nothing.

    Returns:
        A row a method and patient; none of fewer than 10 patients.

    Raises:
        StopRun: ``extra_missing``.
    """
    if len(vectors) < LEAST_PATIENTS:
        return ()
    centered = vectors - vectors.mean(axis=0)
    axes, _ = principal_axes(centered.astype(np.float64))
    reduced = centered @ axes[:, :_AXES]
    reduced = np.pad(reduced, ((0, 0), (0, max(2 - reduced.shape[1], 0))))  # two probabilities have one axis
    return tuple(
        Projected(patient_id, method, float(x), float(y))
        for method in methods
        for patient_id, (x, y) in zip(patient_ids, METHODS[method](reduced, seed), strict=True)
    )


def _tsne(rows: Float64[np.ndarray, "patient axis"], seed: int) -> Float[np.ndarray, "patient 2"]:
    """From the first two principal components on."""
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(rows) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(rows))


def _umap(rows: Float64[np.ndarray, "patient axis"], seed: int) -> Float[np.ndarray, "patient 2"]:
    """On one core, without which a seed does not decide the result."""
    umap = load("umap", "places in the plane by UMAP")
    neighbors = min(_NEIGHBORS, len(rows) - 1)
    return np.asarray(umap.UMAP(n_neighbors=neighbors, random_state=seed, n_jobs=1).fit_transform(rows))


METHODS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"t-SNE": _tsne, "UMAP": _umap}
