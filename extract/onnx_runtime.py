"""Networks on the processor by ONNX Runtime, for those that gain from it.

It fuses convolution, batch norm and activation. Measured on two cores against eager torch with channels last, CPU
time a picture: EfficientNet-Lite0 2.5 times as fast, ResNet-50 1.2, ConvNeXt-T and ViT-S no faster.
"""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

Forward = Callable[[torch.Tensor], torch.Tensor]


class NotTranslated(Exception):
    """A network that ONNX has no words for, or that its runtime does not take."""


def gains(module: torch.nn.Module) -> bool:
    """Whether a network belongs to those that are clearly faster: depthwise convolutions with batch norm."""
    layers = list(module.modules())
    has_norm = any(isinstance(layer, torch.nn.BatchNorm2d) for layer in layers)
    return has_norm and any(isinstance(layer, torch.nn.Conv2d) and layer.groups > 1 for layer in layers)


class _Whole(torch.nn.Module):
    """A network with its pooling, as one module."""

    def __init__(self, module: torch.nn.Module, forward: Forward) -> None:
        """Hold the network, so that its weights are exported."""
        super().__init__()
        self.inner = module
        self._forward = forward

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """From scaled pictures to features."""
        return self._forward(batch)


def to_onnx_runtime(module: torch.nn.Module, forward: Forward, side: int) -> Forward:
    """Translate a network; takes about two seconds.

    Args:
        module: on the processor, frozen.
        forward: from scaled pictures [picture, 3, side, side] to features, by the module.
        side: of the pictures.

    Raises:
        NotTranslated: when that cannot be done.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        _export(_Whole(module, forward).eval(), side, path)
        session = _open(path)
    _try(session, side)
    return lambda batch: torch.from_numpy(_run(session, batch.contiguous().numpy()))


def _export(network: torch.nn.Module, side: int, path: Path) -> None:
    """Write a network as ONNX."""
    with warnings.catch_warnings():
        # torch's newer exporter takes 25 s where this one takes 2; both warn about themselves.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network,
                (torch.zeros((2, 3, side, side)),),
                path,
                dynamo=False,
                input_names=["pictures"],
                output_names=["features"],
                dynamic_axes={"pictures": {0: "picture"}, "features": {0: "picture"}},
            )
        except RuntimeError as error:  # the exporter's own errors, and those of tracing
            said = str(error).strip().partition("\n")[0]  # what follows is the whole network, layer by layer
            raise NotTranslated(f"the network cannot be written as ONNX: {said}") from error


def _open(path: Path) -> Any:  # noqa: ANN401 - an untyped library
    """Load a network with as many threads as torch has, which sleep while they wait."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidGraph, errors.NotImplemented) as error:
        raise NotTranslated(f"ONNX Runtime does not take the network: {error}") from error


def _try(session: Any, side: int) -> None:  # noqa: ANN401 - an untyped library
    """Run a batch of another size than the network was written with, to which a fixed size may have been written."""
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    try:
        _run(session, np.zeros((3, 3, side, side), np.float32))
    except (errors.Fail, errors.InvalidArgument, errors.RuntimeException) as error:
        reason = str(error).splitlines()[0]
        raise NotTranslated(f"ONNX Runtime runs the network for one size of batch only: {reason}") from error


def _run(session: Any, pictures: np.ndarray) -> np.ndarray:  # noqa: ANN401 - an untyped library
    """One forward pass."""
    rows: np.ndarray = session.run(None, {"pictures": pictures})[0]
    return rows


def agreement(one: torch.Tensor, other: torch.Tensor) -> float:
    """The least cosine between rows of the same pictures."""
    return float(torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=1).min())
