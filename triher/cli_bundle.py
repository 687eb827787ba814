"""The commands about locked bundles: say what one is, write its model card, pack it into one file."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from triher.errors import StopRun
from triher.files import refuse_existing, sha256_of_file, write_text
from triher.printing import show
from triher.runfolder import changed_libraries

if TYPE_CHECKING:
    from classify.archive import Files
    from classify.manifest import Manifest

bundle_app = typer.Typer(help="Look into locked bundles, describe and pack them.", no_args_is_help=True)

BundlePath = Annotated[Path, typer.Argument(help="Bundle, a folder or a zip.", metavar="BUNDLE", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")]


def _example(text: str) -> str:
    """The last line of a command's help."""
    return f"Example: triher bundle {text}"


@bundle_app.command("info", epilog=_example("info runs/latest/bundle"))
def info(bundle: BundlePath) -> int:
    """Check a bundle, prove that it still predicts what it did, and say what it holds."""
    files, manifest = _sound(bundle)
    show(
        str(bundle), ("fact", "value"), [*_model_rows(manifest), *_range_rows(manifest), *_file_rows(files, manifest)]
    )
    return 0


@bundle_app.command("card", epilog=_example("card runs/latest/bundle --out MODEL_CARD.md"))
def card(
    bundle: BundlePath,
    out: Annotated[Path | None, typer.Option("--out", help="File to write; else it is printed.")] = None,
    *,
    overwrite: Overwrite = False,
) -> int:
    """Write the bundle's model card in Markdown: use, factors, numbers, limits, and no patient's data."""
    from classify.card import card as model_card

    if out is not None:
        refuse_existing(out, overwrite=overwrite)
    files, manifest = _sound(bundle)
    text = model_card(manifest, sha256=_identity(files))
    if out is None:
        typer.echo(text, nl=False)
        return 0
    write_text(out, text)
    typer.echo(out)
    return 0


@bundle_app.command("pack", epilog=_example("pack runs/latest/bundle her2.zip"))
def pack(
    bundle: BundlePath,
    out: Annotated[Path, typer.Argument(help="The zip to write.", metavar="OUT", show_default=False)],
    *,
    overwrite: Overwrite = False,
) -> int:
    """Check a bundle and pack it into one zip, the same to the byte wherever it is packed."""
    from classify.archive import pack as pack_files

    if out.suffix.lower() != ".zip":
        raise StopRun("config_value", f"a packed bundle ends in .zip, found {out.name}", remedy="name it OUT.zip")
    refuse_existing(out, overwrite=overwrite)
    files, _ = _sound(bundle)
    pack_files(files, out)
    typer.echo(f"{out}: {_size(files)}, SHA-256 {sha256_of_file(out)}")
    return 0


def _sound(bundle: Path) -> "tuple[Files, Manifest]":
    """The files and the manifest of a bundle that has passed every check."""
    from classify.archive import open_files, read_manifest
    from classify.bundle import read_bundle

    read_bundle(bundle)
    files = open_files(bundle)
    return files, read_manifest(files)


def _model_rows(manifest: "Manifest") -> list[tuple[str, object]]:
    """What the bundle is and how it was trained."""
    training, encoder, recipe = manifest.training, manifest.encoder, manifest.recipe
    counts = ", ".join(f"{training.class_counts.get(name, 0)} {name}" for name in manifest.classes)
    params = ", ".join(f"{name} {value:.4g}" for name, value in manifest.params.items())
    slices, harmonizer = recipe.get("slices", {}), manifest.preparation.harmonizer
    rows: list[tuple[str, object]] = [
        ("format", f"{manifest.format} version {manifest.version}, made by TriHER {manifest.triher}"),
        ("classes", ", ".join(manifest.classes)),
        ("trained on", f"{training.n} patients: {counts}"),
        ("split, seed", f"{training.split}, {training.seed}"),
        ("encoder", ", ".join(str(encoder[key]) for key in ("name", "license") if encoder.get(key))),
        ("pictures", f"{recipe.get('normalization', '')}; slices {', '.join(map(str, slices.values()))}"),
        ("features", _features(manifest)),
        (
            "harmonized",
            f"{harmonizer.get('kind')} over {', '.join(harmonizer.get('sites', []))}" if harmonizer else "no",
        ),
        ("head", f"{manifest.head}: {params or 'nothing tuned'}"),
        ("log loss of inner folds", f"{manifest.log_loss:.4g}"),
    ]
    if training.labels_shuffled:
        rows.insert(0, ("NEGATIVE CONTROL", "the labels were shuffled: it predicts nothing, and is never applied"))
    return rows


def _features(manifest: "Manifest") -> str:
    """What the head is given of a patient."""
    source = (
        "columns of a table"
        if manifest.feature_names
        else f"{'+'.join(manifest.pooling)} of {', '.join(manifest.views)}"
    )
    covariates = f", and the covariates {', '.join(manifest.covariates)}" if manifest.covariates else ""
    return f"{manifest.n_features}: {source}{covariates}"


def _range_rows(manifest: "Manifest") -> list[tuple[str, object]]:
    """Operating points, prediction sets and the range of the training."""
    conformal = manifest.conformal
    always = [name for name, most in zip(manifest.classes, conformal.quantiles, strict=True) if most >= 1]
    points = [
        (
            f"threshold: {one.task}",
            f"{one.threshold:.3f} (sensitivity {one.sensitivity:.2f}, specificity {one.specificity:.2f}, n {one.n})",
        )
        for one in manifest.thresholds
    ]
    ranges = [f"{name} {low:.4g} to {high:.4g}" for name, (low, high) in manifest.acquisition.items()]
    return [
        *points,
        ("prediction sets", f"error rate {conformal.alpha:g}; in every set: {', '.join(always) or 'no class'}"),
        ("range of the training", "\n".join(ranges) or "not known"),
        ("largest embedding distance", f"{manifest.embedding_threshold:.3g}"),
    ]


def _file_rows(files: "Files", manifest: "Manifest") -> list[tuple[str, object]]:
    """What the checks found."""
    return [
        ("golden output", f"reproduced, within {manifest.golden_tolerance:g}"),
        ("libraries", "\n".join(changed_libraries(manifest.versions)) or "as at the training"),
        ("size", _size(files)),
        ("SHA-256 of manifest.json", _identity(files)),
    ]


def _identity(files: "Files") -> str:
    """The hash that stands for all files, as the manifest holds the others' hashes."""
    return hashlib.sha256(files.read("manifest.json")).hexdigest()


def _size(files: "Files") -> str:
    """How many files, and how large."""
    return f"{len(files.sizes)} files, {sum(files.sizes.values()) / 1e6:,.3f} MB"
