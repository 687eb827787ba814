"""What goes into a network: pictures and cubes, their masks, and the fixed ones that show drift."""

import numpy as np
import pytest
import torch

from extract.cache import Slab, cut_slab
from extract.crops import CropRecipe, lesion_cube
from extract.encoder_spec import EncoderSpec
from extract.exam import read_exam
from extract.fusion import find_fusion
from extract.inputs import CropInputs, PictureInputs, probe_pictures
from extract.normalization import find_normalization
from extract.pictures import Drawing, PictureRecipe
from extract.recipe import SlabRecipe
from triher.errors import StopRun
from triher.settings import RegionConfig

PHASES = ("pre", "early", "late")
CPU = torch.device("cpu")


def spec(**changes) -> EncoderSpec:
    facts = {"input_size": 48, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "license": "MIT", "citation": "none"}
    return EncoderSpec("toy", "toy:build", "toy", "file:none", **(facts | changes))


def cubes(**changes) -> CropInputs:
    return CropInputs(spec(dimensions=3, channels=1, **changes), CropRecipe("tight", 48))


@pytest.fixture
def slab(write_exam) -> Slab:
    return cut_slab(read_exam(write_exam().patient), SlabRecipe("box", 5.0))


def drawing(slab: Slab, *fusions: str, region: RegionConfig | None = None) -> Drawing:
    chosen = tuple(find_fusion(text, PHASES) for text in fusions)
    return Drawing(
        slab, PictureRecipe(find_normalization("clip98-joint"), chosen, "all", 8, region or RegionConfig())
    )


def test_pictures_are_scaled_as_the_textbook_says():
    inputs = PictureInputs(spec(), CPU)
    pictures = torch.from_numpy(probe_pictures(48))
    found = inputs.scale(pictures, torch.empty(pictures.shape))
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    torch.testing.assert_close(found, (pictures / 255 - mean) / std)


def test_masks_come_with_pictures_only_for_who_asks(slab):
    assert PictureInputs(spec(), CPU).prepare(drawing(slab, "rgb")).masks is None
    prepared = PictureInputs(spec(tokens="cls+mask"), CPU).prepare(drawing(slab, "rgb"))
    assert prepared.masks.shape == (len(prepared.slices.index), 48, 48)
    share = prepared.masks.float().mean(dim=(1, 2)) / 255
    height, width = (size * mm for size, mm in zip(slab.mask.shape[1:], slab.spacing_mm[1:], strict=True))
    np.testing.assert_allclose(share, slab.area_mm2() / max(height, width) ** 2, rtol=0.15)


@pytest.mark.parametrize("kind", ["mask", "ring"])
def test_what_the_region_hides_is_black_in_every_view(slab, kind):
    region = RegionConfig(kind=kind, ring_mm=3.0)
    for view in drawing(slab, "rgb", "late-pre", region=region).views.values():
        hidden = ~slab.mask if kind == "mask" else slab.mask
        assert view.transpose(0, 2, 3, 1)[hidden].max() == 0
        assert view.max() > 0


def test_a_cube_stands_at_the_slice_with_most_lesion(slab):
    prepared = cubes().prepare(drawing(slab, "early", "late-pre"))
    assert prepared.slices.index.tolist() == [slab.first_slice + int(np.argmax(slab.area_mm2()))]
    for view in prepared.views.values():
        assert view.shape == (1, 1, 48, 48, 48)
        assert float(view.mean()) == pytest.approx(0, abs=1e-4)
        assert float(view.std()) == pytest.approx(1, abs=1e-2)


def test_a_view_of_three_phases_is_refused_by_a_network_of_one_channel(slab):
    with pytest.raises(StopRun, match="takes 1 channels, the view 'rgb' has 3"):
        cubes().prepare(drawing(slab, "rgb"))


def test_the_lesion_lies_in_its_cube_as_the_voxels_do(slab):
    masks = cubes(tokens="mask").prepare(drawing(slab, "early")).masks
    assert masks.shape == (1, 48, 48, 48)
    share = lesion_cube(slab.mask, slab.spacing_mm, CropRecipe("tight", 48))
    tight = np.argwhere(slab.mask)
    filled = len(tight) / np.prod(np.ptp(tight, axis=0) + 1)
    assert share.mean() == pytest.approx(filled, rel=0.05)
    np.testing.assert_array_equal(masks[0].numpy(), np.rint(255 * share))


@pytest.mark.parametrize("tokens", ["default", "mask"])
def test_the_fixed_inputs_are_the_same_every_time_and_differ_from_one_another(tokens):
    for inputs in (PictureInputs(spec(tokens=tokens), CPU), cubes(tokens=tokens)):
        first, masks = inputs.probe()
        assert torch.equal(first, inputs.probe()[0])
        assert len(torch.unique(first.flatten(1).float(), dim=0)) == len(first) == 4
        assert (masks is not None) == (tokens == "mask")
        assert masks is None or 0 < masks.float().mean() < 255
