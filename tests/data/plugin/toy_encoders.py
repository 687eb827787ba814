"""Small encoders as a package would add them; worker processes find them over PYTHONPATH.

``TOY_DIES`` names a file that lets the network end its process: "once", or whenever the file is still there; where
it holds "bright", only at a picture that is mostly bright.
"""

import os
import signal
from dataclasses import replace
from pathlib import Path

import torch

from extract.builders import Network
from extract.encoder_spec import EncoderSpec

_HALF = (0.5, 0.5, 0.5)
_BRIGHT = 0.5  # of 1
TOY = EncoderSpec("toy", "toy_encoders:build", "6", f"file:{__file__}", 32, _HALF, _HALF, "MIT", "none")
TOY_WIDE = replace(TOY, name="toy-wide", model="9", input_size=24)
TOY_CUBES = replace(TOY, name="toy-cubes", model="4", input_size=12, dimensions=3, channels=1)


def build(spec: EncoderSpec, _weights: Path) -> Network:
    """A convolution, an activation and a pooling, with fixed weights."""
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d if spec.dimensions == 2 else torch.nn.Conv3d
    module = torch.nn.Sequential(convolution(spec.channels, int(spec.model), 5, stride=3), torch.nn.ReLU())
    return Network(module, lambda batch, _masks: _forward(module, batch), None, is_convolutional=True)


def _forward(module: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """Pool the last layer; end the process where that is asked for."""
    trigger = os.environ.get("TOY_DIES", "")
    if trigger and len(batch) != 4 and Path(trigger).exists():  # the probe has 4 pictures
        asked = Path(trigger).read_text()
        if asked == "once":
            Path(trigger).unlink(missing_ok=True)
        if asked != "bright" or bool((batch.mean(dim=(1, 2, 3)) > _BRIGHT).any()):
            os.kill(os.getpid(), signal.SIGKILL)
    return module(batch).flatten(2).mean(2)
