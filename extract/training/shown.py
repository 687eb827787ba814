"""Show how far a training is: a bar over its steps, and a line for each epoch."""

import contextlib
from typing import Any

from extract.training.commits import Commits
from extract.training.history import best_of
from extract.training.lightning_parts import Callback
from triher.progress import Advance, Reporter


class Shown(Callback):
    """Called by Lightning after each step."""

    def __init__(self, reporter: Reporter, name: str, commits: Commits) -> None:
        """Nothing is shown before the training begins."""
        self._reporter, self._name, self._commits = reporter, name, commits
        self._open = contextlib.ExitStack()
        self._advance: Advance | None = None

    def __reduce__(self) -> tuple[object, ...]:
        """For the processes of other GPUs; the first of them shows."""
        return _rebuilt, (self._reporter.quiet, self._name, self._commits)

    def on_train_start(self, trainer: Any, pl_module: object) -> None:  # noqa: ANN401 - Lightning has no types
        """Open the bar."""
        del pl_module
        if trainer.is_global_zero:
            n = (trainer.max_epochs - trainer.current_epoch) * trainer.num_training_batches
            self._advance = self._open.enter_context(self._reporter.work(f"training {self._name}", ["step"] * n))

    def on_train_batch_end(self, *_: object) -> None:
        """Count a step."""
        if self._advance is not None:
            self._advance("step")

    def on_train_epoch_start(self, trainer: object, pl_module: object) -> None:
        """Tell of the epoch before, which is committed by now."""
        del trainer, pl_module
        self._tell()

    def on_train_end(self, trainer: object, pl_module: object) -> None:
        """Close the bar."""
        del trainer, pl_module
        self._tell()
        self._open.close()

    def on_exception(self, *_: object) -> None:
        """Close the bar."""
        self._open.close()

    def _tell(self) -> None:
        """One line on the last epoch."""
        rows = self._commits.history.rows
        if rows and self._advance is not None:
            best = best_of(rows)
            text = f"{self._name}: epoch {rows[-1].epoch}, validation loss {rows[-1].validation_loss:.4f}"
            self._reporter.say(f"{text} (best {best.validation_loss:.4f}, epoch {best.epoch})")


def _rebuilt(quiet: bool, name: str, commits: Commits) -> Shown:  # noqa: FBT001 - called by pickle
    """Make it again in another process."""
    return Shown(Reporter(quiet=quiet), name, commits)
