"""Vary training pictures on the device, each by draws of its own."""

import math

import torch
from jaxtyping import Float32, UInt8
from torch.nn.functional import affine_grid, grid_sample

from triher.settings import AugmentConfig

_WHITE = 255.0

Pictures = UInt8[torch.Tensor, "picture 3 side side"]
Varied = Float32[torch.Tensor, "picture 3 side side"]


def vary(pictures: Pictures, options: AugmentConfig, generator: torch.Generator) -> Varied:
    """Flip, turn, scale and shift pictures, then change their grays.

    Every draw is made evenly between minus and plus what the options say. What comes in from outside is black, and
    is brightened with the rest, as the picture's own black is. Nothing is clipped and all channels change alike, so
    that a difference of two channels, the enhancement, is multiplied by the contrast and never by anything else.

    Args:
        pictures: 0..255, on the device.
        options: how much; with zeros and no flips the same pictures come back.
        generator: on the same device.

    Returns:
        Gray values in the same scale, 0 black and 255 white, which may lie beyond both.
    """
    varied = _moved(_flipped(pictures, options, generator).float(), options, generator)
    n = len(pictures)
    if options.contrast:
        varied = varied * (1 + options.contrast * _draw((n, 1, 1, 1), generator))
    if options.brightness:
        varied = varied + _WHITE * options.brightness * _draw((n, 1, 1, 1), generator)
    if options.noise:
        noise = torch.randn(varied.shape, generator=generator, device=varied.device)
        varied = varied + _WHITE * options.noise * noise
    return varied


def _draw(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Numbers between -1 and 1."""
    return 2 * torch.rand(shape, generator=generator, device=generator.device) - 1


def _flipped(pictures: Pictures, options: AugmentConfig, generator: torch.Generator) -> Pictures:
    """Mirror half of the pictures along each axis that the options name; bytes move, none is computed."""
    for axis in {"none": (), "horizontal": (-1,), "both": (-1, -2)}[options.flips]:
        is_mirrored = _draw((len(pictures), 1, 1, 1), generator) < 0
        pictures = torch.where(is_mirrored, pictures.flip(axis), pictures)
    return pictures


def _moved(pictures: Varied, options: AugmentConfig, generator: torch.Generator) -> Varied:
    """Turn, scale and shift in one interpolation."""
    if not (options.rotate_deg or options.scale or options.shift):
        return pictures
    grid = affine_grid(_matrices(len(pictures), options, generator), list(pictures.shape), align_corners=False)
    return grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _matrices(n: int, options: AugmentConfig, generator: torch.Generator) -> Float32[torch.Tensor, "picture 2 3"]:
    """From places in the new picture to places in the old one; half a side is 1, (col, row)."""
    angle, size, right, down = _draw((4, n), generator)
    angle = math.radians(options.rotate_deg) * angle
    size = 1 / (1 + options.scale * size)
    cosine, sine = torch.cos(angle) * size, torch.sin(angle) * size
    right, down = 2 * options.shift * right, 2 * options.shift * down
    rows = [torch.stack(row, dim=1) for row in ((cosine, -sine, right), (sine, cosine, down))]
    return torch.stack(rows, dim=1)
