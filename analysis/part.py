"""What every part of the analysis is given, and what it hands back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.limits.facts import Limit
from analysis.metrics import Metric
from analysis.page import Section
from analysis.patients.samples import Sample
from analysis.survival.followup import FollowUp
from triher.cohort import Cohort
from triher.errors import Note
from triher.labels import scheme_classes
from triher.runfolder import RunFolder
from triher.settings import Config


@dataclass(frozen=True)
class Material:
    """All that a part may look at."""

    frame: pd.DataFrame
    """The prediction table, with all repeats."""
    companions: pd.DataFrame | None
    """The prediction table of the models beside the model, whose column ``model`` names them."""
    samples: tuple[Sample, ...]
    """The labeled patients of each split, repeats averaged, held-out splits first."""
    follow_ups: Mapping[str, FollowUp]
    """Split -> patients with survival; empty where the cohort has none."""
    cohort: Cohort
    config: Config
    record: Mapping[str, Any]
    """Contents of ``run.json``."""
    run: RunFolder | None = None
    """Where slabs, embeddings and explanations lie; None where predictions alone are judged."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the label scheme, in the order of the probability columns."""
        return scheme_classes(self.config.scheme)


@dataclass(frozen=True)
class Part:
    """Rows for ``metrics.csv``, and a section of the report with tables and figures that are saved as files."""

    metrics: tuple[Metric, ...] = ()
    section: Section | None = None
    notes: tuple[Note, ...] = ()
    """Rows for ``notes.csv``."""
    predictions: Mapping[str, pd.DataFrame] | None = None
    """File name without ending -> a prediction table to write into the run folder."""
    named: tuple[str, ...] = ()
    """Ids of patients whose own data the section shows."""
    summary: tuple[str, ...] = ()
    """Sentences about the foremost split for the top of the report, for a reader who stops there."""
    limits: tuple[Limit, ...] = ()
    """What may not be concluded, beside what the evaluation itself tells."""
