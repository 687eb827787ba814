"""Run the frozen networks of the encoder table on pictures."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from extract.builders import build
from extract.encoders import EncoderSpec
from triher.errors import StopRun

_PROBE_PICTURES = 4


class Encoder:
    """A frozen network on a device: 8-bit pictures in, embeddings out."""

    def __init__(self, spec: EncoderSpec, weights: Path, device: torch.device) -> None:
        """Build the network and load its weights; takes seconds."""
        self.spec = spec
        self.device = device
        network = build(spec, weights)
        network.module.requires_grad_(requires_grad=False).eval()
        self._module = network.module.to(device)
        for parameter in self._module.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._forward = network.forward
        shape = (1, 3, 1, 1)
        self._mean = 255 * torch.tensor(spec.mean, device=device).reshape(shape)
        self._scale = 1 / (255 * torch.tensor(spec.std, device=device).reshape(shape))
        self._buffer = torch.empty(0, device=device)

    @torch.inference_mode()
    def embed(self, pictures: UInt8[torch.Tensor, "picture 3 row col"]) -> Float32[np.ndarray, "picture feature"]:
        """Embed a batch; scaling to the network's channel statistics happens on the device."""
        if self._buffer.shape[:1] < pictures.shape[:1]:
            self._buffer = torch.empty(pictures.shape, device=self.device).contiguous(
                memory_format=torch.channels_last
            )
        batch = self._buffer[: len(pictures)]
        batch.copy_(pictures, non_blocking=True)
        batch.sub_(self._mean).mul_(self._scale)
        return self._forward(batch, None).float().cpu().numpy()

    @torch.inference_mode()
    def memory_bytes(self, batch_size: int) -> int:
        """Bytes that weights and the largest layer's input and output take for a batch; the allocator adds to it."""
        largest = 0

        def look(_: torch.nn.Module, inputs: tuple[object, ...], output: object) -> None:
            nonlocal largest
            tensors = [t for t in (*inputs, output) if isinstance(t, torch.Tensor)]
            largest = max(largest, sum(t.nbytes for t in tensors))

        hooks = [module.register_forward_hook(look) for module in self._module.modules()]
        self.embed(torch.zeros((1, 3, self.spec.input_size, self.spec.input_size), dtype=torch.uint8))
        for hook in hooks:
            hook.remove()
        return sum(p.nbytes for p in self._module.parameters()) + largest * batch_size

    def probe(self) -> Float32[np.ndarray, "picture feature"]:
        """Embed the fixed synthetic pictures, whose drift shows a change of weights, library or transform."""
        return self.embed(torch.from_numpy(probe_pictures(self.spec.input_size)))


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


def choose_device(name: str) -> torch.device:
    """``auto`` takes a GPU where there is one.

    Raises:
        StopRun: ``device_missing`` or, for a name that torch does not know, ``config_value``.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise StopRun("config_value", f"extract.device: '{name}' is no device; auto, cpu, cuda or cuda:0") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise StopRun("device_missing", f"extract.device is '{name}', and torch sees no GPU")
    return device
