"""What is used of Lightning, importable beside a CPU build of torch."""

from extract.torchvision_cure import import_torchvision

import_torchvision()  # Lightning's measures import it, and would fail beside a CPU build of torch

from lightning import LightningModule, Trainer  # noqa: E402
from lightning.fabric.plugins.environments import LightningEnvironment  # noqa: E402
from lightning.pytorch.callbacks import Callback, Checkpoint  # noqa: E402
from lightning.pytorch.plugins.io import CheckpointIO  # noqa: E402

__all__ = ["Callback", "Checkpoint", "CheckpointIO", "LightningEnvironment", "LightningModule", "Trainer"]
