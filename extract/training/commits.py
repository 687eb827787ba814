"""Commit every epoch to disk as `extract.training.history` says, and say when to stop."""

import io
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from extract.training.history import KEY, History, Kept, best_of, is_over, write_curve
from extract.training.learner import Learner
from extract.training.lightning_parts import Checkpoint, CheckpointIO
from extract.training.material import Epoch
from extract.training.networks import tensors_of
from triher.errors import StopRun
from triher.files import replacing


class Commits(Checkpoint):
    """Called by Lightning after each epoch."""

    def __init__(self, kept: Kept) -> None:
        """Nothing is committed yet; Lightning restores what was."""
        self.kept = kept
        self.history = History()

    @property
    def state_key(self) -> str:
        """Under which `last` holds the state."""
        return KEY

    def state_dict(self) -> dict[str, Any]:
        """For `last`."""
        return {"key": self.kept.key} | self.history.state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From `last`."""
        self.history = History.of(state_dict)

    def on_train_epoch_end(self, trainer: Any, pl_module: Learner) -> None:  # noqa: ANN401 - Lightning has no types
        """Commit the epoch.

        Raises:
            StopRun: ``training_diverged`` for a loss that is no number; nothing of the epoch is kept.
        """
        row = self._row(trainer, pl_module)
        self.history = self.history.and_then(row, pl_module.seconds)
        rows, options = self.history.rows, pl_module.design.options
        best = best_of(rows)
        if trainer.is_global_zero and best is row:
            with replacing(self.kept.best(row.epoch)) as part:
                save_file(tensors_of(pl_module.classifier), part)
        trainer.save_checkpoint(self.kept.last)
        if trainer.is_global_zero:
            write_curve(self.kept.curve, rows)
            self.kept.remove_others(best.epoch)
        trainer.should_stop = is_over(rows, options.epochs, options.patience)

    def _row(self, trainer: Any, learner: Learner) -> Epoch:  # noqa: ANN401 - Lightning has no types
        """What happened in the epoch."""
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        row = Epoch(
            learner.lesson.name, len(self.history.rows) + 1, learner.training_loss, learner.validation_loss, rate
        )
        if not (math.isfinite(row.training_loss) and math.isfinite(row.validation_loss)):
            message = (
                f"{row.network}: epoch {row.epoch} ended with a training loss of {row.training_loss} and a "
                f"validation loss of {row.validation_loss}; expected finite ones. The learning rate was {rate:.3g} "
                f"at its end, and {learner.design.options.learning_rate:.3g} at most"
            )
            raise StopRun("training_diverged", message)
        return row


_HANDED_OVER = ".temp.ckpt"
"""The weights that Lightning would hand from the process of a GPU to ours, by a file elsewhere; `Kept` has them."""


class AtomicFiles(CheckpointIO):
    """How Lightning writes and reads checkpoints: under their name only when whole, and nothing is unpickled."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        """Write one."""
        del storage_options
        if Path(path).name == _HANDED_OVER:
            return
        held = io.BytesIO()  # torch itself does not say that a disk is full
        torch.save(checkpoint, held)
        with replacing(Path(path)) as part:
            part.write_bytes(held.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: object = None
    ) -> dict[str, Any]:
        """Read one on the host; Lightning copies what it holds to where it belongs."""
        del map_location, weights_only
        if Path(path).name == _HANDED_OVER:
            return {}
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove one, and the folder that was made for what is handed over."""
        Path(path).unlink(missing_ok=True)
        if Path(path).name == _HANDED_OVER:
            Path(path).parent.rmdir()
