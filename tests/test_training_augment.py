"""Training pictures are varied by draws of their own, and by nothing that changes what enhancement says."""

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from extract.training.augment import vary
from triher.settings import AugmentConfig

NOTHING = {"flips": "none", "rotate_deg": 0, "scale": 0.0, "shift": 0.0, "brightness": 0.0, "contrast": 0.0}


def options_of(**changed) -> AugmentConfig:
    return AugmentConfig.model_validate(NOTHING | changed)


def pictures_of(n=8, side=32, seed=0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, 3, side, side), dtype=np.uint8))


def varied_by(options, pictures=None, seed=3):
    pictures = pictures_of() if pictures is None else pictures
    return vary(pictures, options, torch.Generator().manual_seed(seed))


def test_nothing_gives_the_same_picture():
    assert torch.equal(varied_by(options_of()), pictures_of().float())


@pytest.mark.parametrize(("flips", "axes"), [("horizontal", [(), (3,)]), ("both", [(), (2,), (3,), (2, 3)])])
def test_flips_move_pixels_and_compute_none(flips, axes):
    pictures = pictures_of(64)
    varied = varied_by(options_of(flips=flips), pictures)
    mirrored = [pictures.float().flip(axis) for axis in axes]
    chosen = [[k for k, other in enumerate(mirrored) if torch.equal(other[i], varied[i])] for i in range(64)]
    assert all(len(one) == 1 for one in chosen)
    counts = np.bincount(np.concatenate(chosen), minlength=len(axes))
    assert counts.min() > 0.5 * 64 / len(axes)


def test_grays_change_alike_in_all_channels():
    pictures = pictures_of()
    varied = varied_by(options_of(brightness=0.2, contrast=0.3), pictures)
    before, after = pictures.float(), varied
    for k in range(len(pictures)):
        contrast = float((after[k] - after[k].mean()).norm() / (before[k] - before[k].mean()).norm())
        assert 0.7 <= contrast <= 1.3
        enhancement = before[k, 1] - before[k, 0]
        assert torch.allclose(after[k, 1] - after[k, 0], contrast * enhancement, atol=1e-3)
        brightness = (after[k] - contrast * before[k]) / 255
        assert torch.allclose(brightness, brightness.mean(), atol=1e-5)
        assert abs(float(brightness.mean())) <= 0.2
    assert len({round(float(one.mean()), 3) for one in varied}) == len(pictures)  # each has draws of its own


def test_turning_and_shifting_agree_with_scipy():
    yes = pictures_of(1, side=33)
    options = options_of(rotate_deg=40, scale=0.3, shift=0.2)
    varied = varied_by(options, yes)[0]
    angle, size, right, down = (2 * torch.rand((4, 1), generator=torch.Generator().manual_seed(3)) - 1)[:, 0].tolist()
    angle = np.radians(40) * angle
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / (1 + 0.3 * size)
    center = np.array([16.0, 16.0])
    offset = center - turn @ center + 33 * 0.2 * np.array([down, right])
    for channel in range(3):
        expected = affine_transform(
            yes[0, channel].numpy().astype(float), turn, offset, order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(varied[channel].numpy(), expected, atol=0.01)


def test_what_comes_in_from_outside_is_black():
    white = torch.full((16, 3, 32, 32), 255, dtype=torch.uint8)
    varied = varied_by(options_of(shift=0.4), white)
    assert varied.min() == 0
    assert varied.max() == pytest.approx(255)
    lost = 1 - varied.mean(dim=(1, 2, 3)) / 255
    assert 0 < lost.min() < lost.max() <= 1 - 0.6**2


def test_noise_has_the_deviation_that_was_asked_for():
    gray = torch.full((8, 3, 64, 64), 128, dtype=torch.uint8)
    noise = varied_by(options_of(noise=0.1), gray) - 128
    assert noise.std() / 255 == pytest.approx(0.1, rel=0.02)
    assert abs(noise.mean() / 255) < 0.003


def test_the_same_seed_varies_alike_and_each_picture_has_its_own_draws():
    same = pictures_of(1).expand(6, -1, -1, -1)
    first, again, other = (varied_by(AugmentConfig(), same, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert all(not torch.equal(first[0], first[k]) for k in range(1, 6))
