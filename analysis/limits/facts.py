"""What limits of a run are read from, and what one is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.evaluation import Evaluation, SplitEvaluation
from analysis.patients.flow import Flow
from triher.settings import Config


@dataclass(frozen=True)
class Limit:
    """One thing that may not be concluded."""

    weight: int
    """Higher comes first: 90 and more void the result for patients, below 40 it is a detail."""
    title: str
    text: str


@dataclass(frozen=True)
class Facts:
    """What limits are read from."""

    evaluation: Evaluation
    frame: pd.DataFrame
    flow: Flow
    config: Config
    record: Mapping[str, Any]
    further: tuple[Limit, ...] = ()
    """Of the further parts of the analysis."""

    @property
    def stages(self) -> Mapping[str, Mapping[str, Any]]:
        """The record of the stages."""
        found: Mapping[str, Mapping[str, Any]] = self.record.get("stages", {})
        return found

    @property
    def split(self) -> SplitEvaluation | None:
        """The foremost split with labeled patients."""
        return next((split for split in self.evaluation.splits if len(split.sample.y)), None)

    def sites(self, split: str) -> set[tuple[str, str]]:
        """Cohort and site of the patients of a split."""
        rows = self.frame[self.frame["split"] == split]
        return set(zip(rows["cohort"], rows["site"], strict=True))
