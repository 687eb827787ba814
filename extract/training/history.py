"""What a folder holds of a training: the epochs that were committed, the weights of the best, and the result.

After each epoch there are ``best-N.safetensors``, the weights of the best epoch N; ``last.ckpt``, from which the
training goes on and which names N; ``curve.csv``, a row an epoch. They are written in this order, each atomically:
whatever a killed process left, ``last.ckpt`` is whole, its best weights are there, and the rest is made from it. In
the end there are ``done.safetensors`` and ``curve.csv`` alone.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from pickle import UnpicklingError  # nosec B403  # the name of an error; nothing is unpickled
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from extract.checkpoints import Tensors
from extract.training.material import Epoch, Learned
from triher.files import replacing
from triher.tables import read_own_rows, write_table

CURVE = tuple(field.name for field in fields(Epoch))
KEY = "triher"
"""Under which `Kept.last` holds what is ours."""


@dataclass(frozen=True)
class History:
    """What has been committed."""

    rows: tuple[Epoch, ...] = ()
    seconds: tuple[float, ...] = ()
    """What the steps of each epoch took."""

    @classmethod
    def of(cls, state: dict[str, Any]) -> "History":
        """From `last`."""
        return cls(tuple(Epoch(**row) for row in state["rows"]), tuple(state["seconds"]))

    def state(self) -> dict[str, Any]:
        """For `last`."""
        return {"rows": [asdict(row) for row in self.rows], "seconds": list(self.seconds)}

    def and_then(self, row: Epoch, seconds: float) -> "History":
        """One more epoch."""
        return History((*self.rows, row), (*self.seconds, seconds))


@dataclass(frozen=True)
class Kept:
    """What a folder says of a training."""

    folder: Path
    key: str
    """Hash of all that decides the result."""

    @property
    def last(self) -> Path:
        """From which the training goes on."""
        return self.folder / "last.ckpt"

    @property
    def curve(self) -> Path:
        """The loss curve."""
        return self.folder / "curve.csv"

    def best(self, epoch: int) -> Path:
        """The weights of an epoch that was the best so far."""
        return self.folder / f"best-{epoch}.safetensors"

    @property
    def done(self) -> Path:
        """The result."""
        return self.folder / "done.safetensors"

    def remove_others(self, epoch: int) -> None:
        """Remove the weights of all epochs but one."""
        for path in self.folder.glob("best-*.safetensors"):
            if path != self.best(epoch):
                path.unlink()

    def history(self) -> History:
        """The epochs that an earlier process committed; none when it had another key, or `last` is damaged."""
        try:
            stored = torch.load(self.last, map_location="cpu", weights_only=True, mmap=True)
            state = stored["callbacks"][KEY]
            found = History.of(state) if state["key"] == self.key else History()
        except (OSError, EOFError, RuntimeError, UnpicklingError, ValueError, KeyError, TypeError):
            return History()
        return found if found.rows and self.best(best_of(found.rows).epoch).is_file() else History()


def best_of(rows: Sequence[Epoch]) -> Epoch:
    """The epoch with the least validation loss, the first of equals."""
    return min(rows, key=lambda row: row.validation_loss)


def is_over(rows: Sequence[Epoch], epochs: int, patience: int) -> bool:
    """Whether all epochs are done, or `patience` of them without a better one."""
    return bool(rows) and (len(rows) >= epochs or len(rows) - best_of(rows).epoch >= patience)


def write_curve(path: Path, rows: Sequence[Epoch]) -> None:
    """Write the loss curve."""
    write_table(path, CURVE, [tuple(asdict(row).values()) for row in rows])


def finish(kept: Kept, history: History, pictures_per_s: float) -> Learned:
    """Make the best weights the result, and remove what is not wanted any more."""
    best = best_of(history.rows)
    tensors: Tensors = load_file(kept.best(best.epoch))
    write_curve(kept.curve, history.rows)
    with replacing(kept.done) as part:
        save_file(tensors, part, metadata={"key": kept.key, "best_epoch": str(best.epoch)})
    kept.last.unlink()
    kept.remove_others(0)
    return Learned(tensors, history.rows, best.epoch, pictures_per_s)


def read_done(kept: Kept) -> Learned | None:
    """The result of an earlier process; None when there is none, or it had another key."""
    if not (kept.done.is_file() and kept.curve.is_file()):
        return None
    try:
        with safe_open(kept.done, "pt") as stored:
            facts = stored.metadata() or {}
        if facts.get("key") != kept.key:
            return None
        return Learned(load_file(kept.done), read_curve(kept.curve), int(facts["best_epoch"]), 0.0)
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None


def read_curve(path: Path) -> tuple[Epoch, ...]:
    """What `write_curve` wrote."""
    rows = [row for _, row in read_own_rows(path)]
    return tuple(Epoch(row["network"], int(row["epoch"]), *(float(row[name]) for name in CURVE[2:])) for row in rows)
