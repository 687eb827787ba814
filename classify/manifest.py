"""The manifest of a bundle: what its JSON holds, and the hash of itself."""

import json
from typing import Any, Literal

from pydantic import ValidationError

from classify.conformal import Conformal
from classify.thresholds import Threshold
from triher.errors import StopRun
from triher.files import sha256_of_json
from triher.settings import Section

FORMAT = "triher-bundle"
VERSION = 2


class PartEntry(Section):
    """A file of the bundle."""

    sha256: str
    size: int


class TrainingFacts(Section):
    """Whom the model was trained on, in numbers."""

    n: int
    class_counts: dict[str, int]
    split: str
    """Kind of the split."""
    seed: int
    labels_shuffled: bool
    """True for a negative control, which predicts nothing."""
    images: tuple[str, ...] = ()
    """Fingerprints of the exams trained on, by which `classify.apply` recognizes them."""


class PreparationFacts(Section):
    """What is done to the inputs before the head sees them; the numbers are in ``preparation.safetensors``."""

    missing: Literal["skip", "impute"]
    join: Literal["early", "late"]
    harmonizer: dict[str, Any] | None
    n_design: int
    """Columns that reach the head."""


class Manifest(Section):
    """All facts of a bundle that are not arrays."""

    format: Literal["triher-bundle"]
    version: int
    triher: str
    versions: dict[str, str]
    """Libraries at the time of training."""
    scheme: str
    classes: tuple[str, ...]
    encoder: dict[str, Any]
    recipe: dict[str, Any]
    store_versions: dict[str, str]
    """Libraries at the time of the extraction."""
    views: tuple[str, ...]
    pooling: tuple[str, ...]
    feature_names: tuple[str, ...]
    """Columns of a table of features; empty for embeddings, which have numbers."""
    covariates: tuple[str, ...]
    """Columns of the cohort table that the model needs."""
    preparation: PreparationFacts
    stack_penalty: float | None
    """Inverse penalty of the second model, where covariates join late."""
    n_features: int
    names_sha256: str
    head: str
    params: dict[str, int | float]
    temperature: float
    log_loss: float
    search: dict[str, Any]
    conformal: Conformal
    thresholds: tuple[Threshold, ...]
    acquisition: dict[str, tuple[float, float]]
    embedding_noise: float
    embedding_threshold: float
    golden_tolerance: float
    training: TrainingFacts
    parts: dict[str, PartEntry]


def dump_manifest(manifest: Manifest) -> str:
    """The manifest as JSON text that ends with a hash of the rest."""
    tree = manifest.model_dump(mode="json")
    return json.dumps({**tree, "sha256": sha256_of_json(tree)}, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read and check a manifest.

    Raises:
        StopRun: ``bundle_corrupt`` (no JSON, or not ours), ``bundle_version`` or ``bundle_tampered``.
    """
    try:
        tree = json.loads(data)
    except ValueError as error:
        raise StopRun("bundle_corrupt", f"{where}: manifest.json is not JSON: {error}") from error
    if not isinstance(tree, dict) or tree.get("format") != FORMAT or not isinstance(tree.get("version"), int):
        raise StopRun("bundle_corrupt", f"{where}: manifest.json is not that of a {FORMAT}")
    if tree["version"] != VERSION:
        message = f"{where} has version {tree['version']}; this TriHER reads version {VERSION}"
        older = "train the model again, or use the TriHER that is named in its manifest"
        raise StopRun("bundle_version", message, remedy=older if tree["version"] < VERSION else "")
    recorded = tree.pop("sha256", None)
    if sha256_of_json(tree) != recorded:
        raise StopRun("bundle_tampered", f"{where}: manifest.json differs from the hash that it carries")
    try:
        return Manifest.model_validate(tree)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise StopRun("bundle_corrupt", f"{where}: manifest.json, {place}: {fault['msg'].lower()}") from error
