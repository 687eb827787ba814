"""What the parts of the explaining stage are given, and what each leaves."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from classify.attribution.everyone import Everyone
from classify.source import Source
from triher.cohort import Cohort
from triher.errors import Note
from triher.runfolder import RunFolder
from triher.settings import Config, ExplainConfig


@dataclass(frozen=True)
class Material:
    """A classified run."""

    config: Config
    run: RunFolder
    cohort: Cohort
    source: Source
    """The features that the model was trained on."""
    everyone: Everyone | None
    """The patients before the locked model; None where the head cannot be locked."""
    predictions: pd.DataFrame
    """As `triher.predictions.read_predictions` gives them."""

    @property
    def options(self) -> ExplainConfig:
        """The section ``explain``, or its defaults."""
        return self.config.explain or ExplainConfig()


@dataclass(frozen=True)
class Written:
    """What a part of the stage wrote."""

    files: tuple[Path, ...] = ()
    notes: tuple[Note, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    """For the record of the run."""

    def __add__(self, other: "Written") -> "Written":
        """What two parts wrote."""
        return Written(self.files + other.files, self.notes + other.notes, self.facts | other.facts)
