"""One network as Lightning trains it: its steps, its optimizer, and what it loses on the validation patients."""

import math
import time
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from extract.inputs import PictureInputs
from extract.training.augment import vary
from extract.training.design import Design
from extract.training.feeding import Batch, Feed, MappedFile, Resident, place
from extract.training.lightning_parts import LightningModule
from extract.training.material import Lesson, Material
from extract.training.networks import Classifier
from extract.training.orders import Part, cut, epoch_order, n_batches, slices_of
from extract.training.outputs import loss, losses
from extract.training.quiet import hush
from triher.seeds import derived_seed
from triher.settings import FinetuneConfig

CLIP = 1.0
"""Largest norm of all gradients together, as ViT was trained (Dosovitskiy et al., ICLR 2021, appendix B)."""
_DROPOUT, _VARY = 2, 3  # numbers in the derived seed; `extract.training.orders` has 1


class Learner(LightningModule):
    """A classifier in training."""

    def __init__(
        self, classifier: Classifier, design: Design, material: Material, lesson: Lesson, resident: Resident
    ) -> None:
        """Nothing is put on a device yet.

        Args:
            classifier: as it is to begin with.
            design: what it is.
            material: all pictures.
            lesson: whose are learned from.
            resident: where they lie.
        """
        super().__init__()
        self.classifier = classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.design, self.material, self.lesson = design, material, lesson
        self.resident = resident
        self.training_loss = self.validation_loss = math.nan
        self.seconds = 0.0
        """What the steps of the last epoch took."""
        self._held_back = slices_of(material, lesson.validation)
        self._learned_from = slices_of(material, lesson.train)
        self._feed: Feed | None = None
        self._missed: list[torch.Tensor] = []

    def __getstate__(self) -> dict[str, Any]:
        """For the process of another GPU, which maps the file of the pictures for itself."""
        state: dict[str, Any] = super().__getstate__()
        mapped, known = MappedFile.of(self.material.pixels), self.material
        return state if mapped is None else state | {"material": (mapped, known.patient, known.y, known.tasks)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In that process, which is to be as silent as ours."""
        hush()
        if isinstance(state["material"], tuple):
            mapped, *known = state["material"]
            state["material"] = Material(mapped.array(), *known)
        super().__setstate__(state)

    # What Lightning asks for before it begins

    def setup(self, stage: str) -> None:
        """Put on the device what every step needs; the network is put there by Lightning."""
        del stage
        device = self.trainer.strategy.root_device
        self._inputs = PictureInputs(self.design.spec, device)
        self._generator = torch.Generator(device)
        self._weights = _class_weights(self.material, self._learned_from, self.design)
        if self._weights is not None:
            self._weights = self._weights.to(device)
        self._pictures = place(self.material.pixels, device, self.resident, self.design.options.batch_size)
        self._total = torch.zeros((), device=device)

    def train_dataloader(self) -> Feed:
        """This device's share of the pictures to learn from."""
        options = self.design.options

        def parts(epoch: int) -> list[Part]:
            order = epoch_order(self.material, self.lesson, epoch, balanced=options.balanced_sampling)
            return self._share(order)

        self._feed = Feed(self._pictures, self.material, self.trainer.strategy.root_device, parts)
        return self._feed

    def val_dataloader(self) -> Feed:
        """This device's share of the pictures that tell when to stop."""
        parts = self._share(self._held_back)
        return Feed(self._pictures, self.material, self.trainer.strategy.root_device, lambda _: parts)

    def _share(self, order: np.ndarray) -> list[Part]:
        """The batches of this device."""
        return cut(order, self.design.options.batch_size, self.global_rank, self.trainer.world_size)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW, whose learning rate rises linearly and falls as half a cosine."""
        optimizer = make_optimizer(self.classifier, self.design.options)
        options = self.design.options
        n_steps = options.epochs * n_batches(len(self._learned_from), options.batch_size)
        schedule = LambdaLR(optimizer, lambda step: rate(step, n_steps, options.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Batches come on the device."""
        del device, dataloader_idx
        return batch

    # Training

    def on_train_epoch_start(self) -> None:
        """Begin an epoch from its number and the seed alone, whatever was before."""
        epoch = self.current_epoch + 1
        if self._feed is not None:
            self._feed.epoch = epoch
        torch.manual_seed(derived_seed(self.lesson.seed, epoch, _DROPOUT, self.global_rank))
        self._total.zero_()
        self._began = time.monotonic()

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """The loss of a batch."""
        del batch_idx
        step = (self.current_epoch + 1, _VARY, batch.step, self.global_rank)
        self._generator.manual_seed(derived_seed(self.lesson.seed, *step))
        varied = vary(batch.pictures, self.design.options.augment, self._generator)
        outputs = self.classifier(self._inputs.scaled(varied))
        mean = loss(outputs, batch.y, batch.tasks, self.design, class_weights=self._weights)
        self._total += mean.detach() * len(batch.y)
        return mean * batch.weight

    # Validation, after the last step of each epoch

    def on_validation_epoch_start(self) -> None:
        """Close the books of the training."""
        self.training_loss = self._sum(self._total).item() / len(self._learned_from)  # waits for the device
        self.seconds = time.monotonic() - self._began
        self._missed = []

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The loss of each picture."""
        del batch_idx
        outputs = self.classifier(self._inputs.scaled(batch.pictures))
        self._missed.append(losses(outputs, batch.y, batch.tasks, self.design, class_weights=self._weights))

    def on_validation_epoch_end(self) -> None:
        """The mean over the patients of the mean over their pictures."""
        own = np.concatenate([part.slices for part in self._share(self._held_back)])
        patient, n = self.material.patient[own], len(self.material.y)
        missed = np.bincount(patient, torch.cat(self._missed).double().cpu().numpy(), minlength=n)
        sums = torch.from_numpy(np.stack([missed, np.bincount(patient, minlength=n)]))
        total, counts = self._sum(sums.to(self._total.device)).cpu().numpy()
        self.validation_loss = float(np.mean(total[counts > 0] / counts[counts > 0]))

    def _sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Over the devices."""
        summed: torch.Tensor = self.trainer.strategy.reduce(tensor, reduce_op="sum")
        return summed


def make_optimizer(classifier: torch.nn.Module, options: FinetuneConfig) -> Optimizer:
    """AdamW (Loshchilov & Hutter, ICLR 2019) without decay of biases and norms, whose parameters have one axis."""
    trained = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=options.learning_rate)


def rate(step: int, n_steps: int, warmup: float) -> float:
    """The learning rate of a step as a share of the largest.

    >>> [round(rate(step, 10, 0.2), 2) for step in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    rise = round(warmup * n_steps)
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / max(1, n_steps - rise))) / 2


def _class_weights(material: Material, slices: np.ndarray, design: Design) -> Float32[torch.Tensor, " class"] | None:
    """Pictures / classes / pictures of the class, of those that are learned from."""
    if design.options.class_weights == "none":
        return None
    counts = np.bincount(material.y[material.patient[slices]], minlength=design.n_classes)
    return torch.from_numpy((len(slices) / design.n_classes / np.maximum(counts, 1)).astype(np.float32))
