"""The locked bundle, format ``triher-bundle`` version 1: a model and all that its use needs, in a folder.

``manifest.json`` names every other file with its size and SHA-256, and carries a hash of itself. Nothing in a bundle
is code: no pickle is ever read. The hashes guard against damage, not against a forger, who can make new ones. No
patient's id or vector is in it, only fingerprints of the exams trained on; the golden input is noise around the
training mean.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from classify.applicability import Subspace, TrainingRange
from classify.heads import HEADS, find_head
from classify.manifest import FORMAT, VERSION, Manifest, PartEntry, TrainingFacts, dump_manifest, parse_manifest
from classify.training import Model
from triher import __version__
from triher.errors import StopRun
from triher.labels import scheme_classes
from triher.runfolder import library_versions
from triher.store import Header

_MANIFEST = "manifest.json"
_ARRAYS = ("golden.safetensors", "probe.safetensors", "range.safetensors")
_MAX_MANIFEST_BYTES = 10_000_000
_GOLDEN_ROWS = 4
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
    training: TrainingFacts

    @property
    def encoder(self) -> dict[str, Any]:
        """What turned slices into embeddings."""
        return self.header.encoder

    @property
    def recipe(self) -> dict[str, Any]:
        """How the slices were made."""
        return self.header.recipe


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
    files = {**parts, _MANIFEST: dump_manifest(_manifest(bundle, parts)).encode()}
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
    if path.is_symlink() or (path.exists() and not (path / _MANIFEST).is_file()):
        message = f"{path} exists and is no bundle, so it is not replaced"
        raise StopRun("output_folder", message, remedy="move it away")


def _write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _parts(bundle: Bundle) -> dict[str, bytes]:
    """The files beside the manifest."""
    subspace = bundle.seen.subspace
    noise = np.random.default_rng(0).normal(size=(_GOLDEN_ROWS, len(subspace.mean)))
    golden = (subspace.mean + noise * subspace.deviation).astype(np.float32)
    arrays = {
        "golden.safetensors": {"vectors": golden, "probabilities": bundle.model.probabilities(golden)},
        "probe.safetensors": {"probe": np.ascontiguousarray(bundle.header.probe, np.float32)},
        "range.safetensors": {
            "mean": subspace.mean,
            "deviation": subspace.deviation,
            "axes": subspace.axes,
            "variances": subspace.variances,
        },
    }
    parts = {name: safetensors.numpy.save(content) for name, content in arrays.items()}
    return {find_head(bundle.model.head).file: bundle.model.fitted.to_bytes(), **parts}


def _manifest(bundle: Bundle, parts: dict[str, bytes]) -> Manifest:
    """The manifest of the given parts."""
    model, seen = bundle.model, bundle.seen
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
        n_features=len(seen.subspace.mean),
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
        path: the bundle's folder.

    Raises:
        StopRun: ``bundle_corrupt`` (unreadable, or its content makes no sense), ``bundle_tampered`` (a file is
            missing, too many, or differs from its hash), ``bundle_version`` or ``bundle_drift`` (the golden
            output is not reproduced).
    """
    manifest = parse_manifest(_read(path / _MANIFEST, most=_MAX_MANIFEST_BYTES), str(path))
    if manifest.head not in HEADS or manifest.classes != scheme_classes(manifest.scheme):
        raise StopRun("bundle_corrupt", f"{path}: head '{manifest.head}' or scheme '{manifest.scheme}' is not known")
    data = _read_parts(path, manifest)
    n_features, n_classes = manifest.n_features, len(manifest.classes)
    head = find_head(manifest.head)
    model = Model(
        head=manifest.head,
        params=dict(manifest.params),
        fitted=head.load(data[head.file], n_features=n_features, n_classes=n_classes),
        temperature=manifest.temperature,
        conformal=manifest.conformal,
        thresholds=manifest.thresholds,
        names_sha256=manifest.names_sha256,
        log_loss=manifest.log_loss,
        search=manifest.search,
    )
    _check_golden(path, manifest, model, data["golden.safetensors"])
    probe = _arrays(data["probe.safetensors"], "probe.safetensors", {"probe": (None, None)})["probe"]
    header = Header(manifest.encoder, manifest.recipe, manifest.store_versions, probe)
    seen = _range(manifest, data["range.safetensors"])
    return Bundle(model, seen, header, manifest.scheme, manifest.views, manifest.pooling, manifest.training)


def _read(path: Path, *, most: int) -> bytes:
    """A file's bytes; links and files larger than they may be are not followed or read."""
    try:
        if path.is_symlink() or path.stat().st_size > most:
            raise StopRun("bundle_tampered", f"{path} is a link, or larger than the {most} bytes on record")
        return path.read_bytes()
    except OSError as error:
        raise StopRun("bundle_corrupt", f"cannot read {path}: {error.strerror}") from error


def _read_parts(path: Path, manifest: Manifest) -> dict[str, bytes]:
    """Read all files, which must be exactly those of the manifest and have their hashes."""
    expected = {*_ARRAYS, find_head(manifest.head).file}
    found = {item.name for item in path.iterdir()} - {_MANIFEST}
    if manifest.parts.keys() != expected or found != expected:
        message = (
            f"{path} should hold {', '.join(sorted(expected))}; its manifest lists "
            f"{', '.join(sorted(manifest.parts))}; it holds {', '.join(sorted(found))}"
        )
        raise StopRun("bundle_tampered", message)
    data = {name: _read(path / name, most=entry.size) for name, entry in manifest.parts.items()}
    for name, entry in manifest.parts.items():
        digest = hashlib.sha256(data[name]).hexdigest()
        if digest != entry.sha256:
            message = f"{path / name} has SHA-256 {digest}; the manifest says {entry.sha256}"
            raise StopRun("bundle_tampered", message)
    return data


def _arrays(data: bytes, name: str, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file with the given names and shapes (None: any length), all finite."""
    try:
        arrays = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise StopRun("bundle_corrupt", f"{name}: {error}") from error
    found = {key: array.shape for key, array in arrays.items()}
    good = found.keys() == shapes.keys() and all(
        len(found[key]) == len(shape) and all(b in (None, a) for a, b in zip(found[key], shape, strict=True))
        for key, shape in shapes.items()
    )
    if not good or not all(a.dtype.kind == "f" and np.isfinite(a).all() for a in arrays.values()):
        raise StopRun("bundle_corrupt", f"{name}: expected finite arrays {shapes}, found {found}")
    return dict(arrays)


def _check_golden(path: Path, manifest: Manifest, model: Model, data: bytes) -> None:
    """Predict the golden input again and compare."""
    shapes = {"vectors": (None, manifest.n_features), "probabilities": (None, len(manifest.classes))}
    golden = _arrays(data, "golden.safetensors", shapes)
    difference = float(np.abs(model.probabilities(golden["vectors"]) - golden["probabilities"]).max())
    if not difference <= manifest.golden_tolerance:
        here = library_versions()
        changed = [f"{k} {v}, here {here.get(k)}" for k, v in manifest.versions.items() if here.get(k) != v]
        message = (
            f"{path}: the golden prediction differs by {difference:.2g} (allowed {manifest.golden_tolerance:.2g}); "
            f"libraries that changed: {'; '.join(changed) or 'none'}"
        )
        raise StopRun("bundle_drift", message)


def _range(manifest: Manifest, data: bytes) -> TrainingRange:
    """The training range from its arrays and numbers."""
    n = manifest.n_features
    shapes: dict[str, tuple[int | None, ...]] = {"mean": (n,), "deviation": (n,), "axes": (n, None)}
    arrays = _arrays(data, "range.safetensors", {**shapes, "variances": (None,)})
    if arrays["axes"].shape[1] != len(arrays["variances"]):
        raise StopRun("bundle_corrupt", "range.safetensors: the axes are not as many as their variances")
    subspace = Subspace(**arrays, noise=manifest.embedding_noise)
    return TrainingRange(manifest.acquisition, subspace, manifest.embedding_threshold)
