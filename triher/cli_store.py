"""The commands about feature stores: look into them, check, mend, compare, join and export them."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from triher.errors import StopRun, unknown_name
from triher.files import refuse_existing
from triher.listing import first_few
from triher.printing import EXIT_SKIPPED, show
from triher.progress import Reporter

if TYPE_CHECKING:
    from triher.errors import Note
    from triher.store import Index

store_app = typer.Typer(help="Look into feature stores, mend, compare, join and export them.", no_args_is_help=True)

StoreFile = Annotated[Path, typer.Argument(help="Feature store, HDF5.", metavar="FILE", show_default=False)]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors and results.")]
EXIT_DIFFERENT = 1
FORMATS = ("parquet", "h5ad", "trident", "clam", "stamp")
_SHOWN = 20


def _example(text: str) -> str:
    """The last line of a command's help."""
    return f"Example: triher store {text}"


@store_app.command("info", epilog=_example("info runs/latest/features/efficientnet-lite0-0123456789.h5"))
def info(file: StoreFile) -> int:
    """Say what a store holds and what made it."""
    from triher.store import read_index

    index = read_index(file)
    show(str(file), ("fact", "value"), [*_content_rows(file, index), *_origin_rows(index)])
    return 0


@store_app.command("verify", epilog=_example("verify runs/latest/features/efficientnet-lite0-0123456789.h5"))
def verify(
    file: StoreFile,
    *,
    probe: Annotated[bool, typer.Option("--probe", help="Build the encoder here and compare what it gives.")] = False,
    weights_dir: Annotated[Path | None, typer.Option(help="Folder of weights that were placed by hand.")] = None,
    device: Annotated[str, typer.Option(help="For --probe: auto, cpu, cuda or cuda:0.")] = "auto",
) -> int:
    """Check every patient's checksum, in little memory, and name embeddings that are odd."""
    from triher.store_check import verify_store

    found = verify_store(file)
    _show_notes(found.notes)
    if found.damaged:
        typer.echo(f"damaged: {_listed(found.damaged)}")
        message = f"{file}: {len(found.damaged)} of {found.n_patients} patients differ from their checksums"
        raise StopRun("store_corrupt", message, remedy=f"triher store repair {file}")
    typer.echo(f"{file}: all {found.n_patients} patients match their checksums, {found.n_slices} slices")
    if probe:
        _verify_encoder(file, weights_dir, device)
    return 0


def _verify_encoder(file: Path, weights_dir: Path | None, device: str) -> None:
    """Whether the encoder of this machine still gives what it gave when the store was made."""
    from extract.drift import measure_drift
    from triher.store import read_header

    beside = file.absolute().parent.parent / "encoders"
    drift = measure_drift(read_header(file), weights_dir=weights_dir, device=device, beside=beside)
    groups = {
        "weights": drift.weights,
        "transform": drift.transform,
        "libraries": drift.libraries,
        "source and license": drift.cosmetic,
    }
    rows: list[tuple[str, object]] = [(name, "\n".join(lines) or "the same") for name, lines in groups.items()]
    rows += [
        ("largest relative difference", f"{drift.probe.largest:.3g}"),
        ("least cosine", f"{drift.probe.cosine:.6f}"),
        ("verdict", drift.verdict),
    ]
    show(f"the encoder on {drift.device}: store -> here", ("what", "found"), rows)
    if not drift.is_within_tolerance:
        message = f"{file}: the encoder of this machine differs by {drift.probe.largest:.2g} from the store's"
        raise StopRun("transform_drift", message)


@store_app.command("repair", epilog=_example("repair runs/latest/features/efficientnet-lite0-0123456789.h5"))
def repair(file: StoreFile, *, quiet: Quiet = False) -> int:
    """Keep the patients who are whole, and embed only the damaged ones again; the damaged file is kept beside."""
    from triher.store import read_index
    from triher.store_repair import repair_store

    done = repair_store(file, Reporter(quiet=quiet))
    if done.set_aside is None:
        typer.echo(f"{file}: nothing is damaged; all {len(read_index(file).inputs)} patients are there")
        return 0
    found = done.found
    if found.lost:
        show("what could not be read", ("part", "why"), found.lost.items())
    typer.echo(f"whole: {len(found.positions)} of {len(found.ids)} patients; damaged: {_listed(found.damaged)}")
    typer.echo(f"the damaged file is kept as {done.set_aside}")
    if not done.was_completed:
        typer.echo(f"{file} holds the whole ones; for the others: triher extract CONFIG --out RUN")
        return EXIT_SKIPPED
    if done.restored:
        typer.echo(f"embedded again, equal to the bit: {_listed(done.restored)}")
    if done.differing:
        typer.echo(f"embedded again, not equal to the bit (other batches or libraries): {_listed(done.differing)}")
    left = set(found.damaged) - {*done.restored, *done.differing}
    return EXIT_SKIPPED if left else 0


@store_app.command("diff", epilog=_example("diff runs/a/features/A.h5 runs/b/features/B.h5 --tolerance 1e-5"))
def diff(
    a: Annotated[Path, typer.Argument(help="Feature store, HDF5.", metavar="A", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Another one.", metavar="B", show_default=False)],
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Differences up to this share of the largest value count as none.")
    ] = 0.0,
) -> int:
    """Say in what two stores differ; like diff, exit with 0 when they are equal and with 1 when not."""
    from triher.store_compare import compare_stores

    found = compare_stores(a, b, tolerance=tolerance)
    rows: list[tuple[str, object]] = [
        ("A", a),
        ("B", b),
        *(("made differently", line) for line in found.essential),
        *(("noted differently", line) for line in found.cosmetic),
    ]
    for title, names in (
        ("only in A", found.only_a),
        ("only in B", found.only_b),
        ("other input", found.other_input),
        ("other embeddings", found.other_embeddings),
    ):
        if names:
            rows.append((f"{title}: {len(names)}", _listed(names)))
    if found.is_reordered:
        rows.append(("order", "the patients stand in another order"))
    rows += [
        (f"view {view}", f"largest relative difference {one.largest:.3g}, least cosine {one.cosine:.6f}")
        for view, one in found.views.items()
    ]
    show("two stores", ("what", "difference"), rows)
    typer.echo("equal" if found.is_equal else "different")
    return 0 if found.is_equal else EXIT_DIFFERENT


@store_app.command("merge", epilog=_example("merge all.h5 runs/a/features/A.h5 runs/b/features/B.h5"))
def merge(
    out: Annotated[Path, typer.Argument(help="The store to write.", metavar="OUT", show_default=False)],
    files: Annotated[list[Path], typer.Argument(help="Two or more stores.", metavar="A B ...", show_default=False)],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it is there.")] = False,
) -> int:
    """Join stores of one encoder and recipe into one, in their order."""
    from triher.store_merge import merge_stores

    refuse_existing(out, overwrite=overwrite)
    if len(files) < 2:
        raise StopRun("config_value", "merge needs at least two stores", remedy="triher store merge OUT A B ...")
    merged = merge_stores(out, files)
    _show_notes(merged.notes)
    if merged.repeated:
        typer.echo(f"in several stores with equal content, kept once: {_listed(merged.repeated)}")
    typer.echo(f"{out}: {merged.n_patients} patients, {merged.n_slices} slices of {len(files)} stores")
    return 0


@store_app.command("export", epilog=_example("export runs/latest/features/A.h5 --to parquet --out slices.parquet"))
def export(
    file: StoreFile,
    to: Annotated[str, typer.Option("--to", help=f"One of {', '.join(FORMATS)}.", metavar="FORMAT")],
    out: Annotated[Path, typer.Option("--out", help="File to write; for trident, clam and stamp a folder.")],
    view: Annotated[str, typer.Option(help="Which view, for formats that hold one; becomes X of AnnData.")] = "",
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
) -> int:
    """Write the embeddings for other programs: a table, AnnData, or bags for multiple-instance learning."""
    if to not in FORMATS:
        raise unknown_name("format", to, FORMATS)
    if to not in ("parquet", "h5ad"):
        from triher.store_bags import export_bags

        typer.echo(f"one file a patient: {export_bags(file, out, to, view)}; who is who: {out / 'patients.csv'}")
        return 0
    from triher.store_export import export_h5ad, export_parquet

    refuse_existing(out, overwrite=overwrite)
    library = "pyarrow" if to == "parquet" else "anndata"
    if find_spec(library) is None:
        message = f"writing {to} needs {library}, which is not installed"
        raise StopRun("extra_missing", message, remedy="pip install 'triher[export]'")
    n = export_parquet(file, out) if to == "parquet" else export_h5ad(file, out, view)
    typer.echo(f"{out}: {n} slices")
    return 0


def _listed(names: Sequence[str]) -> str:
    """Some names, the first of them when they are many."""
    return first_few(names, _SHOWN) or "none"


def _content_rows(file: Path, index: "Index") -> list[tuple[str, object]]:
    """What is in the store."""
    slices = np.array(list(index.slices.values()) or [0])
    views = ", ".join(
        f"{view}{'' if kind == 'float32' else f' ({kind})'}" for view, kind in sorted(index.storage.items())
    )
    return [
        ("patients", len(index.inputs)),
        ("slices", index.n_slices),
        ("slices of a patient", f"{slices.min()} to {slices.max()}, median {np.median(slices):g}"),
        ("features", index.n_features),
        ("views", views),
        ("acquisition", ", ".join(index.acquisition) or "none"),
        ("size on disk", f"{file.stat().st_size / 1e6:,.3f} MB"),
    ]


def _origin_rows(index: "Index") -> list[tuple[str, object]]:
    """What made the store."""
    encoder = [(f"encoder: {key}", value) for key, value in index.encoder.items() if key != "name"]
    recipe = [(f"recipe: {key}", value) for key, value in index.recipe.items()]
    libraries = ", ".join(f"{name} {version}" for name, version in index.versions.items())
    return [
        ("encoder", index.encoder.get("name", "unknown")),
        *encoder,
        *recipe,
        ("libraries", libraries or "unknown"),
        ("identity", index.identity),
        ("content", index.content),
    ]


def _show_notes(notes: "tuple[Note, ...]") -> None:
    """Remarks, the first of them when they are many."""
    if notes:
        title = f"{len(notes)} remarks" + (f", the first {_SHOWN}" if len(notes) > _SHOWN else "")
        rows = [(note.patient_id or "(store)", note.code, note.text) for note in notes[:_SHOWN]]
        show(title, ("patient", "code", "remark"), rows)
