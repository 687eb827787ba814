"""Which pictures a network learns from, in which order and in which batches; decided by seed and epoch alone."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from extract.training.material import Lesson, Material
from triher.errors import StopRun
from triher.seeds import derived_seed
from triher.settings import FinetuneConfig

_ORDER = 1  # last number of the derived seed; `extract.training.learner` takes others
_LEAST = 2  # pictures of a batch on each device: of one alone, batch norm has no variance

Drawn = Int64[np.ndarray, " drawn"]


@dataclass(frozen=True)
class Part:
    """One device's share of a batch."""

    slices: Drawn
    weight: float
    """What its mean loss counts, so that the mean over the devices is the mean over the whole batch."""


def slices_of(material: Material, patients: Int64[np.ndarray, " some"]) -> Drawn:
    """The pictures of some patients, in the order of the material."""
    return np.flatnonzero(np.isin(material.patient, patients)).astype(np.int64)


def epoch_order(material: Material, lesson: Lesson, epoch: int, *, balanced: bool) -> Drawn:
    """The pictures of an epoch in their order, as many as the lesson's patients have.

    Args:
        material: all pictures.
        lesson: whose are learned from, and the seed.
        epoch: counted from 1.
        balanced: draw with replacement: a class, one of its patients, one of her pictures, each with equal chances.
            Else every picture comes once.
    """
    rng = np.random.default_rng(derived_seed(lesson.seed, epoch, _ORDER))
    own = slices_of(material, lesson.train)
    if not balanced:
        return rng.permutation(own)
    chance = _balanced_chances(material.patient[own], material.y)
    return rng.choice(own, size=len(own), p=chance)


def _balanced_chances(patient: Int64[np.ndarray, " own"], y: Int64[np.ndarray, " patient"]) -> np.ndarray:
    """The chance of each picture: 1 / classes / patients of the class / pictures of the patient."""
    present, who, n_slices = np.unique(patient, return_inverse=True, return_counts=True)
    classes, which, n_patients = np.unique(y[present], return_inverse=True, return_counts=True)
    return (1 / len(classes) / n_patients[which] / n_slices)[who]


def n_batches(n_pictures: int, batch_size: int) -> int:
    """Steps of an epoch."""
    return -(-n_pictures // batch_size)


def cut(order: Drawn, batch_size: int, rank: int = 0, world: int = 1) -> list[Part]:
    """The batches of one of several devices.

    The pictures are spread evenly over the least number of batches that are not too large, so that there is no small
    one at the end. A device takes every `world`-th picture of each.

    >>> [part.slices.tolist() for part in cut(np.arange(7), 3)]
    [[0, 1, 2], [3, 4], [5, 6]]
    >>> [part.slices.tolist() for part in cut(np.arange(7), 3, rank=1, world=2)]
    [[1], [4], [6]]
    """
    whole = np.array_split(order, n_batches(len(order), batch_size))
    shares = [(batch[rank::world], len(batch)) for batch in whole]
    return [Part(share, len(share) * world / n) for share, n in shares]


def check(material: Material, lesson: Lesson, options: FinetuneConfig, world: int) -> None:
    """Refuse a lesson that cannot be taught.

    Raises:
        StopRun: ``split_empty`` without pictures for validation, ``config_value`` when a device would get a batch
            of less than two pictures.
    """
    n_held_back = len(slices_of(material, lesson.validation))
    if not n_held_back:
        raise StopRun("split_empty", f"{lesson.name}: no picture is there to tell when the training should stop")
    n = len(slices_of(material, lesson.train))
    least = n // n_batches(n, options.batch_size) if n else 0
    if least < _LEAST * world or n_held_back < world:
        message = (
            f"{lesson.name}: finetune.batch_size is {options.batch_size}, and {n} pictures are trained on and "
            f"{n_held_back} held back by {world} devices; expected at least {_LEAST} a batch and device, and one "
            "held back for each"
        )
        raise StopRun("config_value", message, remedy="raise finetune.batch_size, or train on fewer devices")
