"""The folder of an ablation study: its cells, what each was computed from, and where its predictions lie.

A study folder is a run folder with ``slabs/``, ``encoders/`` and ``features/`` that all cells share, and further

- ``study.json``: axes, cells, and for each cell the runs that belong to it, one a seed (`Study`);
- ``trainings/KEY.json``: one trained encoder, what it cost and from how many patients it learned (`Training`);
- ``embeddings/KEY.json``: one feature store, what it cost and who was left out (`Embedding`);
- ``cells/KEY/``: ``cell.json`` (`CellRun`) and ``predictions.csv``, the prediction table.

Keys are hashes of everything that the files depend on, so that a level added to an axis, or another axis, finds what
is there already. A cell is written last and at once: what has a ``cell.json`` is whole.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from triher.errors import StopRun
from triher.files import write_json
from triher.runfolder import RunFolder
from triher.settings import Section

FORMAT, VERSION = "triher-ablation", 1
Record = TypeVar("Record", bound=Section)
BASE = "base"
"""Name of the cell that is the configuration itself."""


class Cell(Section):
    """One variant of the configuration."""

    name: str
    """``base``, or the levels of the axes that differ from it: ``normalization=clahe-joint, n4=shared``."""
    levels: dict[str, str]
    """Axis -> label of its level; empty for a cell that was listed by name."""
    changes: dict[str, Any]
    """Key of the configuration -> value, for those that differ from the base."""

    @property
    def is_base(self) -> bool:
        """Whether this is the configuration itself."""
        return self.name == BASE


class LeftOut(Section):
    """Who was left out, as in ``skipped.csv``."""

    patient_id: str
    cohort: str
    stage: str
    code: str
    reason: str
    remedy: str


class Remark(Section):
    """A remark about a patient, as in ``notes.csv``."""

    patient_id: str
    code: str
    text: str


class Training(Section):
    """An encoder that was trained for the study."""

    key: str
    file: str
    """Its name in ``encoders/``."""
    encoder: str
    """That the training started from."""
    start_sha256: str
    """Of its weights; empty for random ones."""
    sha256: str
    """Of the trained file."""
    seed: int
    n_networks: int
    """One for each part of the development patients, who were kept from it, and the final one."""
    n_patients: int
    """Development patients: trained on, or asked when to stop."""
    n_learned: int
    """Patients that the final network learned from; the others decided when to stop."""
    seconds: float | None
    """Wall clock of drawing the pictures and training all networks, without reading volumes; on ``device``. None
    where they were not trained at one go."""
    device: str
    skipped: tuple[LeftOut, ...] = ()

    @property
    def judges_development(self) -> bool:
        """Whether every development patient has a network that was not trained on her."""
        return self.n_networks > 1


class Embedding(Section):
    """A feature store of the study."""

    key: str
    store: str
    """File name in ``features/``."""
    encoder: str
    """As the configuration names it; where it was trained, that it started from."""
    training: str = ""
    """Key of the trained encoder; empty where it stayed as it came."""
    n_patients: int
    n_slices: int
    n_features: int
    n_bytes: int
    seconds: float | None
    """Wall clock of loading the encoder and embedding, without reading volumes; on ``device``. None where the store
    was not made at one go."""
    device: str
    skipped: tuple[LeftOut, ...] = ()

    @property
    def label(self) -> str:
        """The encoder's name, marked where it was trained."""
        return f"{self.encoder}, trained" if self.training else self.encoder


class CellRun(Section):
    """A cell computed with one seed."""

    key: str
    seed: int
    state: Literal["done", "failed"]
    code: str = ""
    """Of the error, where it failed."""
    reason: str = ""
    embedding: str = ""
    """Key of the feature store that it was trained on; empty where features come from a table."""
    shown: str = ""
    """Key of the feature store of the held-out patients, where that is another one."""
    head: str = ""
    sha256: str = ""
    """Of the prediction table, as it was written."""
    n: int = 0
    """Patients predicted."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    skipped: tuple[LeftOut, ...] = ()
    notes: tuple[Remark, ...] = ()


class Study(Section):
    """What ``study.json`` says."""

    format: Literal["triher-ablation"] = "triher-ablation"
    version: Literal[1] = 1
    axes: dict[str, tuple[str, ...]]
    """Axis -> labels of its levels, that of the base first."""
    design: str
    cells: tuple[Cell, ...]
    """The base first."""
    runs: dict[str, tuple[str, ...]]
    """Name of a cell -> keys of its runs, one a seed; none for a cell that could not be begun."""
    broken: dict[str, tuple[str, str]]
    """Name of a cell that could not be begun -> code and reason."""
    config: dict[str, Any]
    """Of the base."""


@dataclass(frozen=True)
class StudyFolder:
    """The folder given by ``--out``, and the names of what lies in it."""

    run: RunFolder

    @property
    def study_file(self) -> Path:
        """Axes, cells and keys."""
        return self.run.path / "study.json"

    @property
    def registration_file(self) -> Path:
        """What was fixed before held-out patients were predicted."""
        return self.run.path / "registration.json"

    @property
    def results_file(self) -> Path:
        """One row a cell and quantity."""
        return self.run.path / "results.csv"

    def predictions(self, key: str) -> Path:
        """Prediction table of a run."""
        return self.run.path / "cells" / key / "predictions.csv"

    def write_study(self, study: Study) -> None:
        """Write down what belongs to the study."""
        write_json(self.study_file, study.model_dump(mode="json"))

    def read_study(self) -> Study:
        """Read it.

        Raises:
            StopRun: ``file_unreadable`` when there is none, or it is damaged.
        """
        found = _read(self.study_file, Study)
        if found is None:
            message = f"{self.run.path} holds no ablation study: there is no sound {self.study_file.name}"
            raise StopRun("file_unreadable", message, remedy="run 'triher ablate CONFIG' with the same --out first")
        return found

    def write_cell(self, cell: CellRun) -> None:
        """Write down how a run ended, after its predictions."""
        write_json(self._cell_file(cell.key), cell.model_dump(mode="json"))

    def read_cell(self, key: str) -> CellRun | None:
        """How a run ended; None when it did not, or its file is damaged."""
        return _read(self._cell_file(key), CellRun)

    def begin_training(self, key: str) -> bool:
        """Mark that a training begins; whether an earlier run began it and did not end it."""
        marker = self._training_file(key).with_suffix(".begun")
        is_resumed = marker.exists()
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        return is_resumed

    def write_training(self, training: Training) -> None:
        """Write down what a trained encoder is; its training is at an end."""
        write_json(self._training_file(training.key), training.model_dump(mode="json"))
        self._training_file(training.key).with_suffix(".begun").unlink(missing_ok=True)

    def read_training(self, key: str) -> Training | None:
        """What a trained encoder is; None when it was not finished, or its record is damaged or the encoder gone."""
        found = _read(self._training_file(key), Training)
        return found if found is not None and (self.run.encoders / found.file).is_file() else None

    def write_embedding(self, embedding: Embedding) -> None:
        """Write down what a feature store is."""
        write_json(self._embedding_file(embedding.key), embedding.model_dump(mode="json"))

    def read_embedding(self, key: str) -> Embedding | None:
        """What a feature store is; None when it was not finished, or its file is damaged or the store gone."""
        found = _read(self._embedding_file(key), Embedding)
        return found if found is not None and (self.run.features / found.store).is_file() else None

    def _cell_file(self, key: str) -> Path:
        """Record of a run."""
        return self.run.path / "cells" / key / "cell.json"

    def _training_file(self, key: str) -> Path:
        """Record of a trained encoder."""
        return self.run.path / "trainings" / f"{key}.json"

    def _embedding_file(self, key: str) -> Path:
        """Record of a feature store."""
        return self.run.path / "embeddings" / f"{key}.json"


def _read(path: Path, kind: type[Record]) -> Record | None:
    """Read a record of ours, if it is there and sound."""
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None
