"""Run the frozen networks of the encoder table on a device."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float32, Shaped, UInt8

from extract.builders import build
from extract.crops import CropRecipe
from extract.encoder_spec import EncoderSpec
from extract.inputs import CropInputs, Inputs, PictureInputs
from extract.onnx_runtime import NotTranslated, agreement, gains, to_onnx_runtime
from extract.pictures import Drawing, Prepared
from triher.errors import StopRun
from triher.types import Embeddings

_EQUAL = 0.9999  # least cosine with torch, below which another runtime computes something else
_LAYOUTS = {4: torch.channels_last, 5: torch.contiguous_format}

Masks = UInt8[torch.Tensor, "input ..."]
Rows = Float32[torch.Tensor, "input feature"]
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

    def uses_onnx(self, device: torch.device, module: torch.nn.Module, spec: EncoderSpec) -> bool:
        """Whether ONNX Runtime runs this network on this device."""
        is_wanted = self.runtime == "onnx" or (self.runtime == "auto" and gains(module))
        return is_wanted and device.type == "cpu" and spec.dimensions == 2 and "mask" not in spec.tokens


class Encoder:
    """A frozen network on a device: 8-bit pictures or cubes of voxels in, embeddings out."""

    def __init__(
        self,
        spec: EncoderSpec,
        weights: Path,
        device: torch.device,
        how: Running | None = None,
        crop: CropRecipe | None = None,
    ) -> None:
        """Build the network and load its weights; takes seconds.

        Args:
            spec: the entry of the table.
            weights: the file on this machine.
            device: where to compute.
            how: precision and runtime.
            crop: how cubes are cut, for encoders of volumes.
        """
        self.spec = spec
        self.weights = weights
        self.device = device
        self.how = how or Running()
        self.crop = crop or CropRecipe("tight", spec.input_size)
        self.remarks: list[str] = []
        self._inputs: Inputs = PictureInputs(spec, device)
        if spec.dimensions == 3:
            self._inputs = CropInputs(spec, self.crop)
        network = build(spec, weights)
        self.layout = network.layout
        """What the network's last layer holds; None where that is not known."""
        network.module.requires_grad_(requires_grad=False).eval()
        self._module = network.module.to(device)
        for parameter in self._module.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._eager: Forward = network.forward
        self._forward = self._eager
        self._layout = _LAYOUTS[spec.dimensions + 2]
        self._buffer = torch.empty(0, device=device)
        self._most: int | None = None
        """Inputs that fit into the device's memory at once, where that was found out."""
        if self.how.uses_onnx(device, self._module, spec):
            self._move_to_onnx_runtime()
        elif self.how.compiles and device.type == "cuda":
            self._forward = torch.compile(self._forward)

    def _move_to_onnx_runtime(self) -> None:
        """Let ONNX Runtime compute, if it computes the same."""
        expected = self.embed(*self._inputs.probe())
        try:
            run = to_onnx_runtime(self._module, lambda batch: self._eager(batch, None), self.spec.input_size)
        except NotTranslated as reason:
            self.remarks.append(f"cpu: torch is used, as {reason}")
            return
        self._use(lambda batch, _masks: run(batch), torch.contiguous_format)
        cosine = agreement(self.embed(*self._inputs.probe()), expected)
        if not cosine >= _EQUAL:  # nor where it gives NaN
            self._use(self._eager, torch.channels_last)
            self.remarks.append(f"cpu: torch is used, as ONNX Runtime agrees only to a cosine of {cosine:.5f}")

    def _use(self, forward: Forward, layout: torch.memory_format) -> None:
        """Compute in another way, from inputs that lie in memory in another order."""
        self._forward, self._layout = forward, layout
        self._buffer = torch.empty(0)

    @property
    def name(self) -> str:
        """The encoder's name in the table."""
        return self.spec.name

    @property
    def module(self) -> torch.nn.Module:
        """The frozen network itself, on the device."""
        return self._module

    def prepare(self, drawing: Drawing) -> Prepared:
        """What goes into the network for one patient."""
        return self._inputs.prepare(drawing)

    def trace(self, inputs: Shaped[torch.Tensor, "input ..."], masks: Masks | None = None) -> Rows:
        """The same rows as `embed` up to rounding, by torch itself, layer by layer and in float32.

        Hooks on the network's modules are called, and gradients reach whatever asks for them. The weights are frozen:
        a batch alone asks for none.
        """
        batch = self._inputs.scale(inputs, torch.empty(inputs.shape, device=self.device))
        lesion = None if masks is None else masks.to(self.device).float() / 255
        return self._eager(batch, lesion).float()

    @torch.inference_mode()
    def embed(self, inputs: Shaped[torch.Tensor, "input ..."], masks: Masks | None = None) -> Rows:
        """Embed a batch; scaling to the network's statistics happens on the device.

        Where the device's memory does not suffice the batch is halved, and that is remembered and remarked.

        Returns:
            The rows on the device, where they may still be being computed.

        Raises:
            StopRun: ``device_memory`` when not even one input fits.
        """
        done: list[torch.Tensor] = []
        start = 0
        while start < len(inputs):
            n = min(len(inputs) - start, self._most or len(inputs))
            part = slice(start, start + n)
            try:
                done.append(self._run(inputs[part], None if masks is None else masks[part]))
            except torch.OutOfMemoryError as error:
                self._halve(n, error)
            else:
                start += n
        return torch.cat(done) if len(done) != 1 else done[0]

    def _run(self, inputs: Shaped[torch.Tensor, "input ..."], masks: Masks | None) -> Rows:
        """One forward pass."""
        if self._buffer.shape[:1] < inputs.shape[:1]:
            self._buffer = torch.empty(inputs.shape, device=self.device, memory_format=self._layout)
        batch = self._inputs.scale(inputs, self._buffer[: len(inputs)])
        lesion = None if masks is None else masks.to(self.device, non_blocking=True).float() / 255
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.how.uses_bfloat16(self.device)):
            return self._forward(batch, lesion).float()

    def _halve(self, n: int, error: torch.OutOfMemoryError) -> None:
        """Remember that a batch of this size is too much."""
        if n == 1:
            message = f"{self.device} has not enough memory for one input of encoder '{self.name}'"
            raise StopRun("device_memory", message) from error
        self._most = n // 2
        self._buffer = torch.empty(0, device=self.device)
        torch.cuda.empty_cache()
        self.remarks.append(f"{self.device}: batch of {n} halved to {self._most}, out of memory")

    @torch.inference_mode()
    def memory_bytes(self, batch_size: int) -> int:
        """Bytes that weights and the largest layer's input and output take for a batch; the allocator adds to it."""
        largest = 0

        def look(_: torch.nn.Module, inputs: tuple[object, ...], output: object) -> None:
            nonlocal largest
            tensors = [t for t in (*inputs, output) if isinstance(t, torch.Tensor)]
            largest = max(largest, sum(t.nbytes for t in tensors))

        hooks = [module.register_forward_hook(look) for module in self._module.modules()]
        used, self._forward = self._forward, self._eager  # other runtimes call no hooks
        inputs, masks = self._inputs.probe()
        self.embed(inputs[:1], None if masks is None else masks[:1])
        self._forward = used
        for hook in hooks:
            hook.remove()
        return sum(p.nbytes for p in self._module.parameters()) + largest * batch_size

    def probe_inputs(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The fixed synthetic inputs, and their masks where the network pools by them."""
        return self._inputs.probe()

    def probe(self) -> Embeddings:
        """Embed the fixed synthetic inputs, whose drift shows a change of weights, library or transform."""
        return self.embed(*self._inputs.probe()).cpu().numpy()
