"""Let Lightning train a network on the devices, epoch by epoch."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.multiprocessing.spawn import ProcessException

from extract.training.commits import AtomicFiles, Commits
from extract.training.design import Design
from extract.training.history import History, Kept
from extract.training.learner import CLIP, Learner
from extract.training.lightning_parts import LightningEnvironment, Trainer
from extract.training.material import Lesson, Material
from extract.training.networks import untrained
from extract.training.quiet import quiet
from extract.training.shown import Shown
from triher.errors import StopRun
from triher.progress import Reporter

if TYPE_CHECKING:
    from extract.training.learn import Where


def fit(
    design: Design,
    weights: Path | None,
    material: Material,
    lesson: Lesson,
    where: "Where",
    kept: Kept,
    reporter: Reporter,
) -> History:
    """Train until all epochs are done, or the validation loss has not fallen for long enough.

    Args:
        design: what the network is, and how it is trained.
        weights: to begin with.
        material: the pictures.
        lesson: whose are learned from.
        where: the devices.
        kept: where the epochs are committed, and what an earlier process committed.
        reporter: where progress goes.

    Returns:
        All epochs, also those of earlier processes.

    Raises:
        StopRun: as `extract.training.learn.learn`.
    """
    goes_on = bool(kept.history().rows)
    learner = Learner(untrained(design, weights, lesson.seed), design, material, lesson, where.resident)
    commits = Commits(kept)
    with quiet(), _untouched(where.devices):
        trainer = _trainer(
            where, kept.folder, design.options.epochs, [commits, Shown(reporter, lesson.name, commits)]
        )
        _run(trainer, learner, kept.last if goes_on else None, lesson.name)
    return kept.history()


def _trainer(where: "Where", folder: Path, epochs: int, callbacks: list[Any]) -> Any:  # noqa: ANN401 - no types
    """Lightning's loop, without all that it would write, print or guess."""
    devices = where.devices
    on_gpu = devices[0].type == "cuda"
    several = len(devices) > 1
    return Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=[device.index or 0 for device in devices] if on_gpu else len(devices),
        # A process that has seen a GPU cannot be forked; several processors serve tests alone.
        strategy=("ddp_spawn" if on_gpu else "ddp_fork") if several else "auto",
        use_distributed_sampler=False,  # `extract.training.orders.cut` divides the batches
        sync_batchnorm=several and on_gpu,
        precision="bf16-mixed" if where.mixed else "32-true",
        max_epochs=epochs,
        gradient_clip_val=CLIP,
        benchmark=on_gpu,
        callbacks=callbacks,
        # A cluster's scheduler is asked for nothing: the devices are those that were named.
        plugins=[AtomicFiles(), LightningEnvironment()],
        default_root_dir=folder,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_autolog_hparams=False,
    )


def _run(trainer: Any, learner: Learner, last: Path | None, name: str) -> None:  # noqa: ANN401 - no types
    """Train, and say in our words what went wrong."""
    try:
        trainer.fit(learner, ckpt_path=last, weights_only=True)
    except torch.OutOfMemoryError as error:
        message = f"{name}: {trainer.strategy.root_device} has not enough memory for a batch"
        remedy = "lower finetune.batch_size, or set finetune.resident: host"
        raise StopRun("device_memory", message, remedy=remedy) from error
    except ProcessException as error:
        reason = str(error).strip().splitlines()[-1]
        raise StopRun(
            "worker_died", f"{name}: a process that trained for one of the devices ended: {reason}"
        ) from error
    except SystemExit as stopped:
        if isinstance(stopped.__context__, KeyboardInterrupt):  # which Lightning turns into an exit
            raise KeyboardInterrupt from None
        raise


@contextlib.contextmanager
def _untouched(devices: tuple[torch.device, ...]) -> Iterator[None]:
    """Leave torch's random numbers, its choice of algorithms and the signals as they were.

    On processors all algorithms are the deterministic ones meanwhile; on GPUs some have none that is as fast.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    in_main = threading.current_thread() is threading.main_thread()
    interrupt = signal.getsignal(signal.SIGINT)
    gpus = [device for device in devices if device.type == "cuda"]
    with torch.random.fork_rng(devices=gpus):
        try:
            if not gpus:
                torch.use_deterministic_algorithms(mode=True)
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            torch.backends.cudnn.benchmark = benchmark
            if in_main:
                signal.signal(signal.SIGINT, interrupt)
