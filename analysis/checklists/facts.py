"""What of a run the answers to reporting checklists look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.evaluation import Evaluation, SplitEvaluation
from analysis.metrics import Metric, find
from analysis.page import Page
from analysis.part import Material
from analysis.patients.flow import Flow, patient_flow
from analysis.patients.samples import class_label
from analysis.wording import count, interval, split_name
from triher.estimate import Estimate
from triher.runfolder import RunFolder
from triher.settings import Config

CHECKLISTS_ANCHOR, CHECKLISTS_TITLE = "checklists", "Reporting checklists"
"""Of the section that is added to the report with the answers."""
CHECKLIST_FILES = tuple(
    f"checklists/{name}.{ending}" for name in ("tripod_ai", "claim", "metrics") for ending in ("md", "html")
)
"""What is written with the answers, relative to the run folder."""
MANIFEST = "bundle/manifest.json"
"""Of the locked model, below the run folder."""
_FILES = (
    "run.json", "skipped.csv", "notes.csv", "label_audit.csv", "predictions.csv", "recalibrated.csv", "metrics.csv",
    MANIFEST, "explanations/sanity.csv",
)  # fmt: skip
_IN_TURN = ("leave-one-site-out", "leave-one-cohort-out")


@dataclass(frozen=True)
class Facts:
    """The run as an author would look it up."""

    material: Material
    evaluation: Evaluation
    metrics: Sequence[Metric]
    """Of the evaluation and of all parts."""
    flow: Flow
    sections: Mapping[str, str]
    """Anchor -> title of the sections that the report of this run has."""
    files: frozenset[str]
    """What lies in the run folder, by path relative to it."""

    @property
    def config(self) -> Config:
        """The run's configuration."""
        return self.material.config

    @property
    def classified(self) -> Mapping[str, Any]:
        """The record of the training; empty where a bundle was applied, or the predictions came from elsewhere."""
        return self.stage("classify")

    @property
    def settings(self) -> Mapping[str, Any]:
        """Keys of ``classify`` as the model was trained; empty where nothing was trained."""
        settings: Mapping[str, Any] = self.classified.get("settings", {})
        return settings

    @property
    def encoder(self) -> Mapping[str, Any]:
        """What the record says of the encoder; empty where there is none."""
        found: Mapping[str, Any] = self.classified.get("encoder") or self.stage("extract").get("encoder", {})
        return found

    @property
    def recipe(self) -> Mapping[str, Any]:
        """What the record says of the pictures that the encoder saw; empty where there are none."""
        found: Mapping[str, Any] = self.classified.get("recipe") or self.stage("extract").get("recipe", {})
        return found

    @property
    def labeled(self) -> list[SplitEvaluation]:
        """Splits with labeled patients, held-out ones first."""
        return [split for split in self.evaluation.splits if len(split.sample.y)]

    @property
    def first(self) -> str:
        """The foremost split with labeled patients; empty where nobody is labeled."""
        return self.labeled[0].sample.split if self.labeled else ""

    @property
    def is_trained(self) -> bool:
        """Whether this run trained the model."""
        return bool(self.classified)

    @property
    def is_held_out(self) -> bool:
        """Whether labeled patients were held out from all training."""
        return any(split.sample.split == "test" for split in self.labeled)

    @property
    def is_in_turn(self) -> bool:
        """Whether sites or cohorts were held out one after the other."""
        return self.split_kind in _IN_TURN

    @property
    def split_kind(self) -> str:
        """How patients were held out; empty where nothing was trained."""
        return str(self.settings.get("split", {}).get("kind", ""))

    @property
    def trained_encoder(self) -> Mapping[str, Any]:
        """What the record says of the encoder's own training in this run; empty where it stayed as it was."""
        return self.stage("finetune")

    @property
    def has_trained_encoder(self) -> bool:
        """Whether the encoder was trained end to end, in this run or in another."""
        return bool(self.trained_encoder) or self.encoder.get("builder") == "trained"

    @property
    def fits_head(self) -> bool:
        """Whether a head was fitted on the features, and its parameters tuned."""
        return self.classified.get("head") != "network"

    @property
    def unseen(self) -> list[tuple[str, str]]:
        """Cohort and site of held-out patients of whose site no patient trained the model that predicted them."""
        frame = self.material.frame
        pairs = {
            split: {(str(c), str(s)) for c, s in zip(rows["cohort"], rows["site"], strict=True)}
            for split, rows in frame.groupby("split")
        }
        held_out = pairs.get("test", set())
        learned = {*pairs.get("oof", set()), *self.flow.learned}
        return sorted(held_out if self.is_in_turn else held_out - learned)

    @property
    def unseen_cohorts(self) -> list[str]:
        """Cohorts of held-out patients of which no patient trained the model that predicted them."""
        if self.split_kind == "leave-one-site-out":
            return []
        learned = {*self.cohorts("oof"), *(cohort for cohort, _ in self.flow.learned)}
        return sorted(set(self.cohorts("test")) - (set() if self.is_in_turn else learned))

    def stage(self, name: str) -> Mapping[str, Any]:
        """What the record says of a stage."""
        found: Mapping[str, Any] = self.material.record.get("stages", {}).get(name, {})
        return found

    def value(self, quantity: str, class_name: str = "", split: str = "") -> Estimate | None:
        """A number of all patients of a split, the foremost when none is named."""
        return find(self.metrics, split or self.first, quantity, class_name)

    def names(self, quantity: str) -> list[str]:
        """The classes, companions or targets for which a quantity was computed, in order."""
        return list(dict.fromkeys(m.class_name for m in self.metrics if m.quantity == quantity and m.class_name))

    @property
    def groupings(self) -> list[str]:
        """By what the patients were grouped for the tests of interaction, in order."""
        tests = [m for m in self.metrics if m.part == "subgroups" and m.quantity.startswith("interaction_")]
        return list(dict.fromkeys([*self.config.analysis.subgroups, *(m.class_name for m in tests)]))

    def sites(self, split: str = "") -> list[str]:
        """The sites of the predicted patients of a split, or of all."""
        frame = self.material.frame
        return sorted(str(s) for s in frame.loc[frame["split"].eq(split) if split else slice(None), "site"].unique())

    def cohorts(self, split: str = "") -> list[str]:
        """The cohorts of the predicted patients of a split, or of all."""
        frame = self.material.frame
        chosen = frame.loc[frame["split"].eq(split) if split else slice(None), "cohort"]
        return sorted(str(c) for c in chosen.unique())

    def counts(self) -> str:
        """The labeled patients of each split by class, in words."""
        return "; ".join(_counted(split, self.evaluation.classes) for split in self.labeled)


def _counted(split: SplitEvaluation, classes: Sequence[str]) -> str:
    """One split's patients by class."""
    y = split.sample.y
    parts = ", ".join(f"{int((y == c).sum())} {class_label(name)}" for c, name in enumerate(classes))
    return f"{split_name(split.sample.split).lower()}: {count(len(y), 'patient')} ({parts})"


def spoken(estimate: Estimate | None) -> str:
    """A number with its interval in a sentence; empty where it is not estimable.

    >>> spoken(Estimate(0.861, 0.764, 0.941, 40, "AUC"))
    '0.86 (95 % interval 0.76 to 0.94)'
    """
    if estimate is None or estimate.value != estimate.value:
        return ""
    if estimate.low != estimate.low:
        return f"{estimate.value:z.2f}"
    return f"{estimate.value:z.2f} (95 % interval {interval(estimate)})"


def gather(
    evaluation: Evaluation, metrics: Sequence[Metric], material: Material, page: Page, run: RunFolder
) -> Facts:
    """Look up what answers are made from, once the report is laid out and the tables are written.

    Args:
        evaluation: the basic evaluation.
        metrics: its numbers and those of all parts.
        material: what every part was given.
        page: the report without its section on checklists.
        run: the run folder.
    """
    flow = patient_flow(material.frame, material.cohort, run.read_skipped())
    sections = {section.anchor: section.title for section in page.sections} | {CHECKLISTS_ANCHOR: CHECKLISTS_TITLE}
    there = {name for name in _FILES if (run.path / name).is_file()}
    return Facts(material, evaluation, metrics, flow, sections, frozenset({*there, *CHECKLIST_FILES}))
