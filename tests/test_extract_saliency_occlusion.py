"""Occlusion: a network that sees one place alone, several slices and views, and cubes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from extract.builders import Network
from extract.cache import Slab
from extract.crops import CropRecipe
from extract.encoders import ENCODERS, find_encoder
from extract.fusion import find_fusion
from extract.histograms import count
from extract.models import Encoder
from extract.normalization import find_normalization
from extract.pictures import Drawing, PictureRecipe
from extract.saliency.occlusion import hide, occlude, places_of
from extract.saliency.placing import Axis

CPU = torch.device("cpu")
SHAPE = (5, 40, 40)


@pytest.fixture
def slab() -> Slab:
    """Gray noise with a bright square of 8 x 8 mm in the early phase, in slices 1 to 3 of the lesion."""
    rng = np.random.default_rng(0)
    voxels = rng.integers(90, 110, (3, *SHAPE)).astype(np.int16)
    voxels[1, 1:4, 24:32, 8:16] = 250
    mask = np.zeros(SHAPE, bool)
    mask[1:4, 24:32, 8:16] = True
    counts = tuple(tuple(count(plane) for plane in phase) for phase in voxels)
    names = ("pre", "early", "late")
    return Slab(names, voxels, mask, tuple(map(count, voxels)), counts, 0, (4.0, 1.0, 1.0), "axial", SHAPE)


def drawing_of(slab: Slab, *views: str) -> Drawing:
    fusions = tuple(find_fusion(view, slab.phases) for view in views)
    return Drawing(slab, PictureRecipe(find_normalization("clip98-volume"), fusions, "spread", 3))


@pytest.fixture
def encoder_with(monkeypatch):
    """An encoder whose features are means of its input over some parts of it."""

    def make(spec, *parts: tuple[slice, ...]) -> Encoder:
        def forward(batch, _masks):
            return torch.stack([batch[(slice(None), slice(None), *part)].flatten(1).mean(dim=1) for part in parts], 1)

        network = Network(torch.nn.Identity(), forward, None, is_convolutional=True)
        monkeypatch.setattr("extract.models.build", lambda _spec, _weights: network)
        return Encoder(spec, Path("none"), CPU, crop=CropRecipe("tight", spec.input_size, 8.0))

    return make


PICTURES = replace(find_encoder("efficientnet-lite0"), name="small", input_size=40)
EVERYWHERE = slice(None)


def log_odds(views):
    """Of two classes: for and against what the views' first feature says, the slices' mean."""
    total = sum(rows[:, :, 0].mean(axis=1) for rows in views.values()).astype(np.float64)
    return np.stack([3 * total, -3 * total], axis=1)


def test_the_bright_square_speaks_for_the_class_by_its_drop(slab, encoder_with):
    """A square lies on the lesion's edges, so that the drop lies inside it: but for 6 %, which interpolation between
    pixels carries over the edge."""
    encoder, drawing = encoder_with(PICTURES, (EVERYWHERE, EVERYWHERE)), drawing_of(slab, "early")
    maps = occlude(encoder, drawing, log_odds, 8, 8)
    assert maps.shape == (2, 3, 40, 40)
    np.testing.assert_allclose(maps[0], -maps[1], atol=1e-7)
    inside = drawing.mask
    assert maps[0][inside].sum() > 0.95 * np.clip(maps[0], 0, None).sum()
    prepared = encoder.prepare(drawing).views["early"]
    flat = prepared.clone()
    flat[:, :, 24:32, 8:16] = prepared[:, :, 20:24, 8:16].float().mean().round().byte()
    drop = log_odds({"early": encoder.embed(prepared).numpy()[None]}) - log_odds(
        {"early": encoder.embed(flat).numpy()[None]}
    )
    assert maps[0][inside].sum() == pytest.approx(drop[0, 0], rel=0.1)


def test_what_the_network_does_not_see_counts_nothing(slab, encoder_with):
    encoder = encoder_with(PICTURES, (slice(0, 20), EVERYWHERE))
    maps = occlude(encoder, drawing_of(slab, "early"), log_odds, 8, 4)
    assert (maps[:, :, 28:] == 0).all()
    assert (maps[:, :, :20] != 0).any()


def test_only_the_hidden_slice_changes_and_places_are_hidden_in_all_views(slab, encoder_with):
    encoder, drawing = encoder_with(PICTURES, (EVERYWHERE, EVERYWHERE)), drawing_of(slab, "early", "rgb")
    seen = []

    def keep(views):
        seen.append({view: rows.copy() for view, rows in views.items()})
        return log_odds(views)

    occlude(encoder, drawing, keep, 20, 20)
    whole, *hidden = seen
    assert [len(views["rgb"]) for views in hidden] == [4, 4, 4]
    for index, views in enumerate(hidden):
        for view, rows in views.items():
            changed = rows[:, :, 0] != whole[view][:, :, 0]
            assert changed[:, index].all()
            assert not np.delete(changed, index, axis=1).any()


def test_places_cover_the_picture_and_end_with_it():
    axes = [Axis(0, 10, 1.0), Axis(4, 6, 2.0)]
    found = list(places_of(axes, 4, 3))
    assert [(p.start, p.stop) for p, _ in found[::4]] == [(0, 4), (3, 7), (6, 10)]
    assert [(p.start, p.stop) for _, p in found[:4]] == [(4, 6), (6, 8), (7, 9), (8, 10)]
    assert len(list(places_of([Axis(0, 3, 1.0)], 8, 2))) == 1  # a picture smaller than the square


def test_the_mean_of_the_surroundings_fills_the_place():
    """Of a 2 x 2 place at the corner, they are the row and the column beside it."""
    picture = torch.arange(16, dtype=torch.uint8).reshape(1, 4, 4)
    axes = [Axis(0, 4, 1.0)] * 2
    changed = hide(picture, (slice(0, 2), slice(0, 2)), axes)
    around = (2 + 6 + 8 + 9 + 10) / 5
    assert changed[0, :2, :2].unique().tolist() == [round(around)]
    changed[0, :2, :2] = picture[0, :2, :2]
    assert (changed == picture).all()
    cube = torch.rand(1, 4, 4, 4)
    hidden = hide(cube, (slice(0, 4),) * 3, [Axis(0, 4, 1.0)] * 3)
    assert (hidden == cube).all()  # nothing is around the whole


def test_cubes_are_hidden_in_cubes(slab, encoder_with):
    spec = replace(ENCODERS["fm-bcmri"], input_size=12)
    encoder, drawing = encoder_with(spec, (EVERYWHERE,) * 3), drawing_of(slab, "early")
    maps = occlude(encoder, drawing, log_odds, 8, 8)
    assert maps.shape == (2, 3, 40, 40)
    assert maps[0][drawing.mask].sum() > 0.9 * np.clip(maps[0], 0, None).sum()
    assert maps[0][drawing.mask].sum() > 0
