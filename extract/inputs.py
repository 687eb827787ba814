"""What goes into a network: pictures of slices, or cubes of voxels."""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Shaped, UInt8

from extract.crops import CropRecipe, lesion_cube, volumes
from extract.encoder_spec import EncoderSpec
from extract.pictures import Drawing, Prepared
from extract.visible import visible
from triher.errors import StopRun

_PROBE_PICTURES = 4
Batch = Float32[torch.Tensor, "input ..."]


@runtime_checkable
class Inputs(Protocol):
    """How a patient's drawing is put before a network."""

    def prepare(self, drawing: Drawing) -> Prepared:
        """What goes into the network, on the host."""

    def scale(self, inputs: Shaped[torch.Tensor, "input ..."], batch: Batch) -> Batch:
        """Bring inputs to the device and to the network's statistics; `batch` is memory for them there."""

    def probe(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Fixed synthetic inputs and masks."""


class PictureInputs:
    """Square 8-bit pictures of slices, scaled on the device to the network's channel statistics."""

    def __init__(self, spec: EncoderSpec, device: torch.device) -> None:
        """Put the statistics on the device."""
        self._side = spec.input_size
        self._mode = spec.interpolation
        self._masks = "mask" in spec.tokens.split("+")
        shape = (1, 3, 1, 1)
        self._mean = 255 * torch.tensor(spec.mean, device=device).reshape(shape)
        self._scale = 1 / (255 * torch.tensor(spec.std, device=device).reshape(shape))

    def prepare(self, drawing: Drawing) -> Prepared:
        """The pictures of a patient at the size of the network's input."""
        return drawing.pictures(self._side, masks=self._masks, mode=self._mode)

    def scale(self, inputs: Shaped[torch.Tensor, "input 3 row col"], batch: Batch) -> Batch:
        """From gray values, 0 to 255, to the network's statistics."""
        batch.copy_(inputs, non_blocking=True)
        return batch.sub_(self._mean).mul_(self._scale)

    def scaled(self, pictures: Shaped[torch.Tensor, "input 3 row col"]) -> Batch:
        """The same in memory of its own."""
        memory = torch.empty(pictures.shape, device=self._mean.device, memory_format=torch.channels_last)
        return self.scale(pictures, memory)

    def probe(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The pictures of `probe_pictures`; one channel is the mask."""
        pictures = torch.from_numpy(probe_pictures(self._side))
        return pictures, pictures[:, 0] if self._masks else None


class CropInputs:
    """One cube of voxels a patient and view, with mean 0 and SD 1."""

    def __init__(self, spec: EncoderSpec, recipe: CropRecipe) -> None:
        """Remember how cubes are cut."""
        self._name = spec.name
        self._channels = spec.channels
        self._masks = "mask" in spec.tokens.split("+")
        self._recipe = recipe

    def prepare(self, drawing: Drawing) -> Prepared:
        """The cubes of a patient; in the store each stands at the slice with most lesion.

        Raises:
            StopRun: ``config_value`` when a view has another number of channels than the network takes.
        """
        shown = visible(drawing.slab, drawing.recipe.region)
        views = {}
        for fusion in drawing.recipe.fusions:
            cube = volumes(drawing.slab, fusion, self._recipe, shown)
            if len(cube) != self._channels:
                message = f"encoder '{self._name}' takes {self._channels} channels, the view '{fusion.name}' has "
                raise StopRun("config_value", message + f"{len(cube)}", remedy="name a phase, or early-pre, as view")
            views[fusion.name] = cube[None]
        largest = np.argmax(drawing.slab.area_mm2(), keepdims=True)
        return Prepared(drawing.slices_at(largest), views, self._lesion(drawing) if self._masks else None)

    def _lesion(self, drawing: Drawing) -> UInt8[torch.Tensor, "1 side side side"]:
        """The lesion in the cube, for pooling by it."""
        share = lesion_cube(drawing.slab.mask, drawing.slab.spacing_mm, self._recipe)
        return torch.from_numpy(np.rint(255 * share).astype(np.uint8))[None]

    def scale(self, inputs: Float32[torch.Tensor, "input channel row col side"], batch: Batch) -> Batch:
        """Cubes are scaled already."""
        batch.copy_(inputs, non_blocking=True)
        return batch

    def probe(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Slices of the fixed pictures, turned so that every cube differs along each axis."""
        side = self._recipe.side
        plane = torch.from_numpy(probe_pictures(side)).float()[:, : self._channels]
        ramp = torch.arange(side, dtype=torch.float32).reshape(1, 1, side, 1, 1)
        cubes = plane[:, :, None] + 4 * ramp
        mean, deviation = cubes.mean(dim=(2, 3, 4), keepdim=True), cubes.std(dim=(2, 3, 4), keepdim=True)
        scaled = (cubes - mean) / deviation
        return scaled, (255 * (scaled[:, 0] > 0)).byte() if self._masks else None


def probe_pictures(side: int) -> UInt8[np.ndarray, "picture 3 row col"]:
    """Fixed pictures from integer arithmetic alone: ramps, rings and stripes of different pitch."""
    rows, cols = np.indices((side, side), dtype=np.int64)
    rings = (rows - side // 2) ** 2 + (cols - side // 2) ** 2
    pictures = [
        np.stack([(rows * (k + 1) + cols * channel) % 256, (rings // (k + 2)) % 256, (cols * rows // (k + 3)) % 256])
        for k in range(_PROBE_PICTURES)
        for channel in (k + 1,)
    ]
    return np.stack(pictures).astype(np.uint8)
