"""The locked bundle, format ``triher-bundle`` version 2: a model and all that its use needs, in a folder or a zip.

``manifest.json`` names every other file with its size and SHA-256, and carries a hash of itself. Nothing in a bundle
is code: no pickle is ever read. The hashes guard against damage, not against a forger, who can make new ones; so the
structure of every part is checked besides. No patient's id or vector is in it, only fingerprints of the exams trained
on, and the names of the training sites where features were harmonized; the golden input is noise around the training
mean.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from classify.applicability import TrainingRange
from classify.archive import MANIFEST, Files, open_files, read_manifest
from classify.array_files import save
from classify.heads import HEADS, find_head
from classify.manifest import (
    FORMAT,
    VERSION,
    Manifest,
    PartEntry,
    PreparationFacts,
    TrainingFacts,
    dump_manifest,
)
from classify.parts import (
    GOLDEN,
    PREPARATION,
    PROBE,
    RANGE,
    STACK,
    all_file_names,
    as_inputs,
    checked_arrays,
    design_width,
    file_names,
    golden_arrays,
    preparation_bytes,
    preparation_of,
    range_bytes,
    range_of,
    stack_of,
)
from classify.training import Model
from triher import __version__
from triher.errors import StopRun
from triher.labels import scheme_classes
from triher.runfolder import library_versions
from triher.settings import ClassifyConfig
from triher.store import Header

_GOLDEN_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Bundle:
    """A model, the encoder and recipe that it needs, and the range that it was trained in."""

    model: Model
    seen: TrainingRange
    header: Header
    scheme: str
    views: tuple[str, ...]
    pooling: tuple[str, ...]
    feature_names: tuple[str, ...]
    """Columns of a table of features; empty for embeddings, which have numbers."""
    covariates: tuple[str, ...]
    """Columns of the cohort table that the model needs."""
    training: TrainingFacts

    @property
    def encoder(self) -> dict[str, Any]:
        """What turned slices into embeddings."""
        return self.header.encoder

    @property
    def recipe(self) -> dict[str, Any]:
        """How the slices were made."""
        return self.header.recipe

    def config(self) -> ClassifyConfig:
        """The choices that decide what the model needs of a patient."""
        return ClassifyConfig(
            head=self.model.head,
            views=self.views,
            pooling=self.pooling,
            missing="skip" if self.model.preparation.fill is None else "impute",
            covariates=self.covariates,
        )


def write_bundle(path: Path, bundle: Bundle) -> list[Path]:
    """Write the bundle as a folder that appears under its name only when complete.

    Equal input gives equal bytes. An older bundle of that name is replaced; any other folder is left alone.

    Returns:
        The files.

    Raises:
        StopRun: ``output_folder`` when something that is no bundle has the name.
    """
    _refuse_other_folder(path)
    parts = _parts(bundle)
    files = {**parts, MANIFEST: dump_manifest(_manifest(bundle, parts)).encode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (path.with_name(f".{path.name}.{os.getpid()}.{kind}") for kind in ("part", "old"))
    try:
        fresh.mkdir()
        for name, data in files.items():
            _write_synced(fresh / name, data)
        if path.exists():
            path.rename(old)
        fresh.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return [path / name for name in sorted(files)]


def _refuse_other_folder(path: Path) -> None:
    """Stop rather than replace a folder that is no bundle."""
    if not path.exists() and not path.is_symlink():
        return
    if path.is_symlink() or not (path / MANIFEST).is_file():
        message = f"{path} exists and is no bundle, so it is not replaced"
        raise StopRun("output_folder", message, remedy="move it away")
    strangers = sorted({item.name for item in path.iterdir()} - {MANIFEST, *all_file_names()})
    if strangers:
        message = f"{path} holds {', '.join(strangers[:3])} beside the bundle, so it is not replaced"
        raise StopRun("output_folder", message, remedy="move these files away")


def _write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _parts(bundle: Bundle) -> dict[str, bytes]:
    """The files beside the manifest."""
    model = bundle.model
    parts = {
        find_head(model.head).file: model.fitted.to_bytes(),
        PREPARATION: preparation_bytes(model.preparation),
        RANGE: range_bytes(bundle.seen),
        PROBE: save({"probe": bundle.header.probe.astype(np.float32)}),
        GOLDEN: save(golden_arrays(bundle.seen.subspace, model)),
    }
    return parts if model.stack is None else parts | {STACK: model.stack.fitted.to_bytes()}


def _manifest(bundle: Bundle, parts: dict[str, bytes]) -> Manifest:
    """The manifest of the given parts."""
    model, seen, before = bundle.model, bundle.seen, bundle.model.preparation
    n_features = len(seen.subspace.mean)
    return Manifest(
        format=FORMAT,
        version=VERSION,
        triher=__version__,
        versions=library_versions(),
        scheme=bundle.scheme,
        classes=scheme_classes(bundle.scheme),
        encoder=bundle.header.encoder,
        recipe=bundle.header.recipe,
        store_versions=bundle.header.versions,
        views=bundle.views,
        pooling=bundle.pooling,
        feature_names=bundle.feature_names,
        covariates=bundle.covariates,
        preparation=PreparationFacts(
            missing="skip" if before.fill is None else "impute",
            join="late" if model.stack is not None else "early",
            harmonizer=None if before.harmonizer is None else before.harmonizer.facts(),
            n_design=design_width(before, n_features),
        ),
        stack_penalty=None if model.stack is None else model.stack.penalty,
        n_features=n_features,
        names_sha256=model.names_sha256,
        head=model.head,
        params=model.params,
        temperature=model.temperature,
        log_loss=model.log_loss,
        search=model.search,
        conformal=model.conformal,
        thresholds=model.thresholds,
        acquisition=seen.acquisition,
        embedding_noise=seen.subspace.noise,
        embedding_threshold=seen.threshold,
        golden_tolerance=_GOLDEN_TOLERANCE,
        training=bundle.training,
        parts={
            name: PartEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data)) for name, data in parts.items()
        },
    )


def read_bundle(path: Path) -> Bundle:
    """Read a bundle after checking every file, and prove that it still predicts what it did.

    Args:
        path: the bundle's folder or zip.

    Raises:
        StopRun: ``bundle_corrupt`` (unreadable, or its content makes no sense), ``bundle_tampered`` (a file is
            missing, too many, or differs from its hash), ``bundle_version`` or ``bundle_drift`` (the golden
            output is not reproduced).
    """
    files = open_files(path)
    manifest = read_manifest(files)
    if manifest.head not in HEADS or manifest.classes != scheme_classes(manifest.scheme):
        raise StopRun("bundle_corrupt", f"{path}: head '{manifest.head}' or scheme '{manifest.scheme}' is not known")
    data = _read_parts(files, manifest)
    model = _model(manifest, data)
    _check_golden(path, manifest, model, data[GOLDEN])
    probe = checked_arrays(data[PROBE], PROBE, {"probe": (None, None)})["probe"]
    return Bundle(
        model=model,
        seen=range_of(manifest, data[RANGE]),
        header=Header(manifest.encoder, manifest.recipe, manifest.store_versions, probe),
        scheme=manifest.scheme,
        views=manifest.views,
        pooling=manifest.pooling,
        feature_names=manifest.feature_names,
        covariates=manifest.covariates,
        training=manifest.training,
    )


def _read_parts(files: Files, manifest: Manifest) -> dict[str, bytes]:
    """Read all files, which must be exactly those of the manifest and have their hashes."""
    expected = file_names(manifest.head, has_stack=manifest.stack_penalty is not None)
    found = files.sizes.keys() - {MANIFEST}
    if manifest.parts.keys() != expected or found != expected:
        message = (
            f"{files.path} should hold {', '.join(sorted(expected))}; its manifest lists "
            f"{', '.join(sorted(manifest.parts))}; it holds {', '.join(sorted(found))}"
        )
        raise StopRun("bundle_tampered", message)
    data = {name: files.read(name, most=entry.size) for name, entry in manifest.parts.items()}
    for name, entry in manifest.parts.items():
        digest = hashlib.sha256(data[name]).hexdigest()
        if digest != entry.sha256:
            message = f"{files.path / name} has SHA-256 {digest}; the manifest says {entry.sha256}"
            raise StopRun("bundle_tampered", message)
    return data


def _model(manifest: Manifest, data: dict[str, bytes]) -> Model:
    """The model from the manifest's numbers and the parts."""
    head = find_head(manifest.head)
    preparation = preparation_of(manifest, data[PREPARATION])
    n_design, n_classes = manifest.preparation.n_design, len(manifest.classes)
    return Model(
        head=manifest.head,
        params=dict(manifest.params),
        preparation=preparation,
        fitted=head.load(data[head.file], n_features=n_design, n_classes=n_classes),
        stack=stack_of(manifest, data),
        temperature=manifest.temperature,
        conformal=manifest.conformal,
        thresholds=manifest.thresholds,
        names_sha256=manifest.names_sha256,
        log_loss=manifest.log_loss,
        search=manifest.search,
    )


def _check_golden(path: Path, manifest: Manifest, model: Model, data: bytes) -> None:
    """Predict the golden input again and compare."""
    sizes = {
        "rows": manifest.n_features,
        "covariates": len(manifest.covariates),
        "probabilities": len(manifest.classes),
    }
    golden = checked_arrays(data, GOLDEN, {name: (None, size) for name, size in sizes.items()})
    if len({len(array) for array in golden.values()}) > 1:
        raise StopRun("bundle_corrupt", f"{GOLDEN}: its arrays have different lengths")
    with np.errstate(all="ignore"):  # of a forged part, which then gives another answer
        p = model.probabilities(as_inputs(golden, model.preparation))
    difference = float(np.abs(p - golden["probabilities"]).max())
    if not difference <= manifest.golden_tolerance:
        here = library_versions()
        changed = [f"{k} {v}, here {here.get(k)}" for k, v in manifest.versions.items() if here.get(k) != v]
        message = (
            f"{path}: the golden prediction differs by {difference:.2g} (allowed {manifest.golden_tolerance:.2g}); "
            f"libraries that changed: {'; '.join(changed) or 'none'}"
        )
        raise StopRun("bundle_drift", message)
