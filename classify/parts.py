"""The files of a bundle beside its manifest: arrays to bytes and back, checked."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from classify.applicability import Subspace, TrainingRange
from classify.array_files import load, save, shapes_of
from classify.harmonization import Harmonizer, harmonizer_from_arrays
from classify.heads import HEADS, find_head
from classify.inputs import Inputs
from classify.manifest import Manifest
from classify.preparation import Components, Preparation
from classify.stacking import HEAD, Stack, n_columns
from classify.training import Model
from triher.errors import StopRun

GOLDEN, PROBE, RANGE, PREPARATION, STACK = (
    f"{name}.safetensors" for name in ("golden", "probe", "range", "preparation", "stack")
)
_GOLDEN_ROWS = 4
_HARMONIZER = "harmonizer."

Shape = tuple[int | None, ...]


def file_names(head: str, *, has_stack: bool) -> set[str]:
    """The files that a bundle holds beside its manifest."""
    return {find_head(head).file, GOLDEN, PROBE, RANGE, PREPARATION, *([STACK] if has_stack else [])}


def all_file_names() -> set[str]:
    """The files that any bundle can hold beside its manifest."""
    return {head.file for head in HEADS.values() if head.file} | {GOLDEN, PROBE, RANGE, PREPARATION, STACK}


def golden_arrays(subspace: Subspace, model: Model) -> dict[str, np.ndarray]:
    """Inputs of nobody, noise around the means and covariates around their medians, and the model's answer."""
    noise = np.random.default_rng(0).normal(size=(_GOLDEN_ROWS, len(subspace.mean)))
    rows = (subspace.mean + noise * subspace.deviation).astype(np.float32)
    covariates = model.preparation.covariate_fill + np.linspace(-1, 1, _GOLDEN_ROWS)[:, None]
    golden = {"rows": rows, "covariates": covariates}
    return golden | {"probabilities": model.probabilities(as_inputs(golden, model.preparation))}


def as_inputs(arrays: Mapping[str, np.ndarray], preparation: Preparation) -> Inputs:
    """The golden inputs as those of patients with a row each, from a site of the training where sites matter."""
    rows, covariates = arrays["rows"], arrays["covariates"]
    names, others = (tuple(map(str, range(part.shape[1]))) for part in (rows, covariates))
    harmonizer = preparation.harmonizer
    site = harmonizer.effects.sites[0] if harmonizer is not None and harmonizer.effects is not None else ""
    indptr = np.arange(len(rows) + 1, dtype=np.int64)
    return Inputs(rows, indptr, names, covariates, others, np.array([site] * len(rows), dtype=object))


def preparation_bytes(preparation: Preparation) -> bytes:
    """The numbers of the steps before the head."""
    arrays: dict[str, np.ndarray] = {"covariate_fill": preparation.covariate_fill}
    if preparation.fill is not None:
        arrays["fill"] = preparation.fill
    if preparation.components is not None:
        found = preparation.components
        arrays |= {"mean": found.mean, "deviation": found.deviation, "axes": found.axes}
    if preparation.harmonizer is not None:
        arrays |= {_HARMONIZER + name: array for name, array in preparation.harmonizer.arrays().items()}
    return save(arrays)


def preparation_of(manifest: Manifest, data: bytes) -> Preparation:
    """The steps before the head.

    Raises:
        StopRun: ``bundle_corrupt``.
    """
    facts, n = manifest.preparation, manifest.n_features
    arrays = load(data, PREPARATION)
    own = {name: array for name, array in arrays.items() if not name.startswith(_HARMONIZER)}
    shapes: dict[str, Shape] = {"covariate_fill": (len(manifest.covariates),)}
    shapes |= {"fill": (n,)} if facts.missing == "impute" else {}
    shapes |= {"mean": (n,), "deviation": (n,), "axes": (n, None)} if "axes" in own else {}
    _check(own, PREPARATION, shapes)
    components = Components(own["mean"], own["deviation"], own["axes"]) if "axes" in own else None
    rest = {name.removeprefix(_HARMONIZER): array for name, array in arrays.items() if name not in own}
    harmonizer: Harmonizer | None = None
    if facts.harmonizer is not None:
        harmonizer = harmonizer_from_arrays(rest, facts.harmonizer)
    elif rest:
        raise StopRun("bundle_corrupt", f"{PREPARATION} holds a harmonization that the manifest does not name")
    joins_early = facts.join == "early" and bool(manifest.covariates)
    found = Preparation(own.get("fill"), harmonizer, components, own["covariate_fill"], joins_early)
    if design_width(found, n) != facts.n_design:
        raise StopRun("bundle_corrupt", f"{PREPARATION} leads to another number of columns than {facts.n_design}")
    return found


def design_width(preparation: Preparation, n_features: int) -> int:
    """Columns that reach the head."""
    width = n_features if preparation.components is None else preparation.components.axes.shape[1]
    return width + len(preparation.covariate_fill) * preparation.joins_early


def stack_of(manifest: Manifest, data: Mapping[str, bytes]) -> Stack | None:
    """The second model, where there is one.

    Raises:
        StopRun: ``bundle_corrupt``.
    """
    if manifest.stack_penalty is None:
        return None
    n_classes = len(manifest.classes)
    columns = n_columns(n_classes, len(manifest.covariates))
    return Stack(find_head(HEAD).load(data[STACK], n_features=columns, n_classes=n_classes), manifest.stack_penalty)


def range_bytes(seen: TrainingRange) -> bytes:
    """The arrays of the training range."""
    subspace = seen.subspace
    return save(
        {
            "mean": subspace.mean,
            "deviation": subspace.deviation,
            "axes": subspace.axes,
            "variances": subspace.variances,
        }
    )


def range_of(manifest: Manifest, data: bytes) -> TrainingRange:
    """The training range from its arrays and numbers.

    Raises:
        StopRun: ``bundle_corrupt``.
    """
    n = manifest.n_features
    shapes: dict[str, Shape] = {"mean": (n,), "deviation": (n,), "axes": (n, None), "variances": (None,)}
    arrays = checked_arrays(data, RANGE, shapes)
    if arrays["axes"].shape[1] != len(arrays["variances"]):
        raise StopRun("bundle_corrupt", f"{RANGE}: the axes are not as many as their variances")
    subspace = Subspace(**arrays, noise=manifest.embedding_noise)
    return TrainingRange(manifest.acquisition, subspace, manifest.embedding_threshold)


def checked_arrays(data: bytes, name: str, shapes: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """Arrays of a file with the given names and shapes (None: any length), all finite.

    Raises:
        StopRun: ``bundle_corrupt``.
    """
    arrays = load(data, name)
    _check(arrays, name, shapes)
    return arrays


def _check(arrays: Mapping[str, Any], name: str, shapes: Mapping[str, Shape]) -> None:
    """Demand names, shapes and finite numbers."""
    found = shapes_of(arrays)
    good = found.keys() == shapes.keys() and all(
        len(found[key]) == len(shape) and all(b in (None, a) for a, b in zip(found[key], shape, strict=True))
        for key, shape in shapes.items()
    )
    if not good or not all(a.dtype.kind == "f" and np.isfinite(a).all() for a in arrays.values()):
        raise StopRun("bundle_corrupt", f"{name}: expected finite arrays {dict(shapes)}, found {found}")
