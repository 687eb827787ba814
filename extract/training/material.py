"""The nouns of a training: pictures with their labels, who learns from whom, and what came of it."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8


@dataclass(frozen=True)
class Material:
    """The pictures of all patients who may be trained on, and what is known of these."""

    pixels: UInt8[np.ndarray, "slice 3 side side"]
    """As the encoder will see them later, unvaried; may be mapped from a file."""
    patient: Int64[np.ndarray, " slice"]
    """Position of each picture's patient."""
    y: Int64[np.ndarray, " patient"]
    """Position in the scheme."""
    tasks: Int64[np.ndarray, "patient task"]
    """Further labels; -1 where one is not known."""


@dataclass(frozen=True)
class Lesson:
    """One network to train: positions of the patients that it learns from, and of those who tell when to stop."""

    name: str
    train: Int64[np.ndarray, " train"]
    validation: Int64[np.ndarray, " validation"]
    seed: int


@dataclass(frozen=True)
class Epoch:
    """One pass over the training pictures."""

    network: str
    epoch: int
    """Counted from 1."""
    training_loss: float
    """Mean over the pictures, varied and with dropout, while they were learned from."""
    validation_loss: float
    """Mean over the validation patients of the mean over their pictures, neither varied nor with dropout."""
    learning_rate: float
    """At the end of the epoch."""


@dataclass(frozen=True)
class Learned:
    """What came of a lesson."""

    tensors: dict[str, torch.Tensor]
    """Of the epoch with the best validation loss, on the host."""
    curve: tuple[Epoch, ...]
    best_epoch: int
    pictures_per_s: float
    """Of training alone; 0 where an earlier run did it."""
