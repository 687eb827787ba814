"""Run the frozen networks of the encoder table on pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from extract.builders import build
from extract.encoder_spec import EncoderSpec
from extract.onnx_runtime import agreement, gains, to_onnx_runtime
from extract.pictures import Drawing, Prepared
from triher.errors import StopRun
from triher.types import Embeddings

_PROBE_PICTURES = 4
_EQUAL = 0.9999  # least cosine with torch, below which another runtime computes something else

Pictures = UInt8[torch.Tensor, "picture 3 row col"]
Masks = UInt8[torch.Tensor, "picture row col"]
Forward = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


@dataclass(frozen=True)
class Running:
    """How a network is run; what it computes stays the same up to rounding."""

    precision: str = "float32"
    """``float32`` or ``bfloat16``; the latter only on GPUs, as processors without such units take 6 to 20 times as
    long for it."""
    runtime: str = "torch"
    """``torch``, ``onnx``, or ``auto`` for what `extract.onnx_runtime` says."""
    compiles: bool = False
    """Whether torch compiles the network for a GPU first."""

    def uses_bfloat16(self, device: torch.device) -> bool:
        """Whether this device computes in bfloat16."""
        return self.precision == "bfloat16" and device.type == "cuda"

    def uses_onnx(self, device: torch.device, module: torch.nn.Module) -> bool:
        """Whether ONNX Runtime runs this network on this device."""
        is_wanted = self.runtime == "onnx" or (self.runtime == "auto" and gains(module))
        return is_wanted and device.type == "cpu"


class Encoder:
    """A frozen network on a device: 8-bit pictures in, embeddings out."""

    def __init__(self, spec: EncoderSpec, weights: Path, device: torch.device, how: Running = Running()) -> None:
        """Build the network and load its weights; takes seconds."""
        self.spec = spec
        self.device = device
        self.how = how
        self.remarks: list[str] = []
        network = build(spec, weights)
        network.module.requires_grad_(requires_grad=False).eval()
        self._module = network.module.to(device)
        self._layout = torch.channels_last
        for parameter in self._module.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._forward: Forward = network.forward
        self._wants_masks = "mask" in spec.tokens.split("+")
        shape = (1, 3, 1, 1)
        self._mean = 255 * torch.tensor(spec.mean, device=device).reshape(shape)
        self._scale = 1 / (255 * torch.tensor(spec.std, device=device).reshape(shape))
        self._buffer = torch.empty(0, device=device)
        self._most: int | None = None
        """Pictures that fit into the device's memory at once, where that was found out."""
        if how.uses_onnx(device, self._module) and not self._wants_masks:
            self._move_to_onnx_runtime()
        elif how.compiles and device.type == "cuda":
            self._forward = torch.compile(self._forward)

    def _move_to_onnx_runtime(self) -> None:
        """Let ONNX Runtime compute, if it computes the same."""
        eager, layout = self._forward, self._layout
        expected = self.embed(torch.from_numpy(probe_pictures(self.spec.input_size)))
        run = to_onnx_runtime(self._module, lambda batch: eager(batch, None), self.spec.input_size)
        self._forward, self._layout = (lambda batch, _masks: run(batch)), torch.contiguous_format
        self._buffer = torch.empty(0)
        found = self.embed(torch.from_numpy(probe_pictures(self.spec.input_size)))
        cosine = agreement(found, expected)
        if cosine < _EQUAL:
            self._forward, self._layout = eager, layout
            self._buffer = torch.empty(0)
            self.remarks.append(
                f"cpu: ONNX Runtime agrees with torch only to a cosine of {cosine:.5f}; torch is used"
            )

    @property
    def name(self) -> str:
        """The encoder's name in the table."""
        return self.spec.name

    def prepare(self, drawing: Drawing) -> Prepared:
        """The pictures of a patient at the size of the network's input."""
        return drawing.pictures(self.spec.input_size, masks=self._wants_masks, mode=self.spec.interpolation)

    @torch.inference_mode()
    def embed(self, pictures: Pictures, masks: Masks | None = None) -> Float32[torch.Tensor, "picture feature"]:
        """Embed a batch; scaling to the network's channel statistics happens on the device.

        Where the device's memory does not suffice the batch is halved, and that is remembered and remarked.

        Returns:
            The rows on the device, where they may still be being computed.

        Raises:
            StopRun: ``device_memory`` when not even one picture fits.
        """
        done: list[torch.Tensor] = []
        start = 0
        while start < len(pictures):
            n = min(len(pictures) - start, self._most or len(pictures))
            part = slice(start, start + n)
            try:
                done.append(self._run(pictures[part], None if masks is None else masks[part]))
            except torch.OutOfMemoryError as error:
                self._halve(n, error)
            else:
                start += n
        return torch.cat(done) if len(done) != 1 else done[0]

    def _run(self, pictures: Pictures, masks: Masks | None) -> Float32[torch.Tensor, "picture feature"]:
        """One forward pass."""
        if self._buffer.shape[:1] < pictures.shape[:1]:
            self._buffer = torch.empty(pictures.shape, device=self.device, memory_format=self._layout)
        batch = self._buffer[: len(pictures)]
        batch.copy_(pictures, non_blocking=True)
        batch.sub_(self._mean).mul_(self._scale)
        lesion = None if masks is None else masks.to(self.device, non_blocking=True).float() / 255
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.how.uses_bfloat16(self.device)):
            return self._forward(batch, lesion).float()

    def _halve(self, n: int, error: torch.OutOfMemoryError) -> None:
        """Remember that a batch of this size is too much."""
        if n == 1:
            message = f"{self.device} has not enough memory for one picture of encoder '{self.name}'"
            raise StopRun("device_memory", message) from error
        self._most = n // 2
        self._buffer = torch.empty(0, device=self.device)
        torch.cuda.empty_cache()
        self.remarks.append(f"{self.device}: batch of {n} pictures halved to {self._most}, out of memory")

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

    def probe(self) -> Embeddings:
        """Embed the fixed synthetic pictures, whose drift shows a change of weights, library or transform."""
        pictures = torch.from_numpy(probe_pictures(self.spec.input_size))
        masks = pictures[:, 0] if self._wants_masks else None
        return self.embed(pictures, masks).cpu().numpy()


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
