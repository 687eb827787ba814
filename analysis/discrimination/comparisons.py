"""Differences between the model and other models on the same patients, or between cohorts, with their p values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from analysis.discrimination.agreement import Disagreement, mcnemar_test
from analysis.discrimination.auc_tests import Tested, paired_test, unpaired_test
from analysis.discrimination.beside import Pair, is_label_noise, lead, pair_up, pairs
from analysis.discrimination.questions import Question, questions
from analysis.metrics import Metric
from analysis.part import Material
from analysis.patients.samples import Sample, subgroup_samples
from triher.errors import StopRun
from triher.estimate import Estimate
from triher.predictions import read_predictions
from triher.settings import Config

PART = "comparisons"


@dataclass(frozen=True)
class Comparison:
    """The model minus another one, on the patients whom both predicted."""

    name: str
    is_run: bool
    """Whether the other comes from another run, and not from beside the model."""
    split: str
    n: int
    areas: Mapping[str, Estimate]
    """As `analysis.discrimination.beside.lead` gives them."""
    tested: tuple[tuple[Question, Tested], ...]
    right: Disagreement
    """Of which only one names the right class."""


@dataclass(frozen=True)
class Contrast:
    """One cohort minus another, of the same split."""

    split: str
    cohorts: tuple[str, str]
    question: Question
    tested: Tested

    @property
    def name(self) -> str:
        """The two cohorts."""
        return f"{self.cohorts[0]} minus {self.cohorts[1]}"


def compare_models(material: Material) -> tuple[Comparison, ...]:
    """The model beside every companion (draws of label noise apart) and every run of ``analysis.compare``.

    Raises:
        StopRun: as `read_runs` and `analysis.discrimination.beside.pair_up`.
    """
    runs = read_runs(material)
    return tuple(
        _compare(pair, material.config, is_run=pair.name in runs)
        for sample in material.samples
        for pair in all_pairs(material, runs, sample)
    )


def read_runs(material: Material) -> dict[str, pd.DataFrame]:
    """The prediction tables of ``analysis.compare`` by name.

    Raises:
        StopRun: as `triher.predictions.read_predictions`; ``config_value`` when a run is called as a companion is, or
            has no split of this run.
    """
    config = material.config
    runs = {name: read_predictions(path, config.scheme) for name, path in config.analysis.compare.items()}
    _require_a_split(runs, [sample.split for sample in material.samples])
    known = set() if material.companions is None else set(material.companions["model"])
    for name in runs:
        if name in known:
            message = f"analysis.compare calls a run '{name}', as a model beside the model is called already"
            raise StopRun("config_value", message, remedy="choose another name")
    return runs


def _require_a_split(runs: Mapping[str, pd.DataFrame], splits: list[str]) -> None:
    """Demand of each run a split to compare, or it would be left out without a word."""
    for name, frame in runs.items():
        theirs = sorted(frame["split"].unique())
        if not set(theirs) & set(splits):
            both = f"'{name}' predicts the split {', '.join(theirs)}, this run {', '.join(splits)}"
            message = f"analysis.compare: {both}"
            raise StopRun("config_value", message, remedy="name a run that predicts the same split")


def all_pairs(material: Material, runs: Mapping[str, pd.DataFrame], sample: Sample) -> Iterator[Pair]:
    """The model beside everything that it is compared with, draws of label noise apart.

    Args:
        material: with the companions.
        runs: as `read_runs` gives them.
        sample: of the model; a split, or a part of one.
    """
    scheme = material.config.scheme
    if material.companions is not None:
        yield from (pair for pair in pairs(material.companions, sample, scheme) if not is_label_noise(pair.name))
    for name, frame in runs.items():
        rows = frame[frame["split"] == sample.split]
        if len(rows):
            yield pair_up(name, sample, rows, scheme)


def _compare(pair: Pair, config: Config, *, is_run: bool) -> Comparison:
    """All differences of one pair."""
    y, mine, theirs = pair.common.y, pair.common.probabilities, pair.companion
    tested = []
    for question in questions(config.scheme):
        condition, score = question.ask(y, mine)
        tested.append((question, paired_test(condition, score, question.ask(y, theirs)[1], names=question.names)))
    right = mcnemar_test(mine.argmax(axis=1) == y, theirs.argmax(axis=1) == y)
    return Comparison(pair.name, is_run, pair.common.split, len(y), lead(pair, config), tuple(tested), right)


def compare_cohorts(material: Material) -> tuple[Contrast, ...]:
    """Each pair of cohorts of each split; they share no patient, so the test is unpaired."""
    scheme = material.config.scheme
    found = []
    for sample in material.samples:
        cohorts = [part for part in subgroup_samples(material.frame, scheme, sample.split) if not part.site]
        for one, other in combinations(cohorts, 2):
            for question in questions(scheme):
                asked = [question.ask(part.y, part.probabilities) for part in (one, other)]
                tested = unpaired_test(asked[0], asked[1], names=question.names)
                found.append(Contrast(sample.split, (one.cohort, other.cohort), question, tested))
    return tuple(found)


def comparison_metrics(comparison: Comparison) -> list[Metric]:
    """The rows of one comparison; the macro AUC of companions is already among those of `beside`."""
    found = dict(comparison.areas) if comparison.is_run else {}
    for question, tested in comparison.tested:
        found[f"{question.quantity}_ahead"] = tested.difference
        found[f"{question.quantity}_ahead_p"] = tested.p
    found["mcnemar_p"] = comparison.right.exact_p
    return [Metric(PART, comparison.split, name, estimate, comparison.name) for name, estimate in found.items()]


def contrast_metrics(contrast: Contrast) -> list[Metric]:
    """The rows of two cohorts."""
    quantity = f"{contrast.question.quantity}_between_cohorts"
    found = {quantity: contrast.tested.difference, f"{quantity}_p": contrast.tested.p}
    return [Metric(PART, contrast.split, name, estimate, contrast.name) for name, estimate in found.items()]
