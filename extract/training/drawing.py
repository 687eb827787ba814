"""The pictures of a training on disk: drawn once from the slabs, read by every network."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from extract.cache import read_slab
from extract.encoder_spec import EncoderSpec
from extract.pictures import Drawing, PictureRecipe
from triher.errors import SkipPatient, StopRun
from triher.files import replacing, write_json
from triher.progress import Reporter

_PIXELS, _COUNTS = "pictures.bin", "counts.json"
Pixels = UInt8[np.ndarray, "slice 3 side side"]


def draw_pictures(
    folder: Path, slabs: Sequence[Path], recipe: PictureRecipe, spec: EncoderSpec, readers: int, reporter: Reporter
) -> tuple[Pixels, Int64[np.ndarray, " slice"]]:
    """Draw the pictures of all patients as the encoder will see them, or map those that an earlier run drew.

    Args:
        folder: gets the pictures as bytes one after the other, and the number of each patient's.
        slabs: one a patient.
        recipe: what is drawn; one view.
        spec: says side and interpolation.
        readers: threads.
        reporter: shows the progress.

    Returns:
        The pictures, mapped from the file, and the position of each one's patient.

    Raises:
        StopRun: ``config_value`` unless there is one view; ``image_corrupt`` for a slab that is damaged.
    """
    require_one_view(recipe)
    pixels, counts = folder / _PIXELS, folder / _COUNTS
    if not pixels.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(readers) as pool:
            drawn = pool.map(partial(_draw, recipe, spec), slabs)
            _write(pixels, counts, reporter.track(drawn, "training pictures", len(slabs)))
    n = np.array(json.loads(counts.read_text(encoding="utf-8")), np.int64)
    side = spec.input_size
    found = np.memmap(pixels, np.uint8, "r", shape=(int(n.sum()), 3, side, side))
    return found, np.repeat(np.arange(len(n)), n)


def require_one_view(recipe: PictureRecipe) -> None:
    """Refuse several views.

    Raises:
        StopRun: ``config_value``.
    """
    if len(recipe.fusions) != 1:
        names = ", ".join(fusion.name for fusion in recipe.fusions)
        message = f"extract.fusions names the views {names}; a network is trained on one of them"
        raise StopRun("config_value", message, remedy="keep one in extract.fusions")


def _draw(recipe: PictureRecipe, spec: EncoderSpec, slab: Path) -> torch.Tensor:
    """The pictures of one patient."""
    try:
        prepared = Drawing(read_slab(slab), recipe).pictures(spec.input_size, mode=spec.interpolation)
    except SkipPatient as reason:  # she had a slab when the parts were laid out
        raise StopRun(reason.code, reason.message, remedy=reason.remedy) from reason
    (view,) = prepared.views.values()
    return view.contiguous()


def _write(pixels: Path, counts: Path, drawn: Iterator[torch.Tensor]) -> None:
    """Append patient after patient; the pictures get their name last."""
    lengths = []
    with replacing(pixels) as part:
        with part.open("wb") as handle:
            for view in drawn:
                handle.write(view.numpy().tobytes())
                lengths.append(len(view))
        write_json(counts, lengths)
