"""The commands about feature stores: look into them, check, mend, compare, join and export them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from triher.errors import StopRun
from triher.printing import show

if TYPE_CHECKING:
    from triher.errors import Note
    from triher.store import Index

store_app = typer.Typer(help="Look into feature stores, mend, compare, join and export them.", no_args_is_help=True)

StoreFile = Annotated[Path, typer.Argument(help="Feature store, HDF5.", metavar="FILE", show_default=False)]
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
def verify(file: StoreFile) -> int:
    """Check every patient's checksum, in little memory, and name embeddings that are odd."""
    from triher.store_check import verify_store

    found = verify_store(file)
    _show_notes(found.notes)
    if found.damaged:
        show("differ from their checksums", ("patient",), [(name,) for name in found.damaged[:_SHOWN]])
        message = f"{file}: {len(found.damaged)} of {found.n_patients} patients differ from their checksums"
        raise StopRun("store_corrupt", message, remedy=f"triher store repair {file}")
    typer.echo(f"{file}: all {found.n_patients} patients match their checksums, {found.n_slices} slices")
    return 0


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
