"""What may not be concluded from a run, each from the run's own numbers, the weightiest first."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.evaluation import Evaluation, SplitEvaluation
from analysis.flow import Flow
from analysis.metrics import find
from analysis.samples import class_label
from analysis.shortcut import EVERYBODY, FROM_SITE
from analysis.wording import count, interval, places, split_name
from triher.settings import Config

SMALL_CLASS = 20
"""Patients of a class; with fewer, an AUC of 0.7 has a 95 % interval of about +-0.15 or more."""
_STRONG = 0.8
_MANY_LEFT_OUT = 0.1
_FEW_EVENTS = 10  # a coefficient (Peduzzi et al., J Clin Epidemiol 1995;48:1503)
_PHOTOGRAPHS = re.compile(r"(?<!Rad)ImageNet|LVD-|LAION|\bweb", re.IGNORECASE)


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


def limits(facts: Facts) -> tuple[Limit, ...]:
    """All limits that apply, the weightiest first."""
    found = [limit for judge in _JUDGES for limit in judge(facts)]
    return tuple(sorted(found, key=lambda limit: -limit.weight))


def _synthetic(facts: Facts) -> list[Limit]:
    """Phantoms are no people."""
    if "phantom" not in facts.stages:
        return []
    text = (
        f"All {count(len(facts.flow.done), 'patient')} were computed by the program. The numbers show that it works; "
        "about women with breast cancer they say nothing."
    )
    return [Limit(100, "No real patients", text)]


def _shuffled(facts: Facts) -> list[Limit]:
    """A negative control."""
    if not facts.stages.get("classify", {}).get("labels_shuffled", False):
        return []
    return [Limit(95, "Shuffled labels", "This run is a negative control; none of its numbers is a model's quality.")]


def _validation(facts: Facts) -> list[Limit]:
    """Who the judged patients are in relation to those trained on."""
    judged = [s.sample.split for s in facts.evaluation.splits if s.sample.split in ("test", "new")]
    if not judged:
        n = len(facts.frame[["repeat", "fold"]].drop_duplicates())
        text = (
            f"No patients were held out: all {len(facts.flow.done)} took part in the development, each predicted by "
            f"one of {count(n, 'model')} that had not seen that patient. How the model does elsewhere is not known. "
            "See classify.split."
        )
        return [Limit(90, "Internal validation only", text)]
    test = facts.sites(judged[0])
    n_test = int(facts.frame.loc[facts.frame["split"] == judged[0], "patient_id"].nunique())
    shared = test & facts.sites("oof")
    if shared:
        text = (
            f"The {count(n_test, 'held-out patient')} come from {places(sorted(site for _, site in test))}, and "
            f"{'that' if len(test) == 1 else f'{len(shared)} of these'} also trained the model. A new hospital can "
            "do worse."
        )
        return [Limit(80, "Held-out patients of the same sites", text)]
    if len(test) > 1:
        return []
    text = (
        f"All {count(n_test, 'held-out patient')} are of {places([site for _, site in test])}. One site cannot tell "
        "how much results differ between hospitals."
    )
    return [Limit(60, "One site held out", text)]


def _opened(facts: Facts) -> list[Limit]:
    """Several looks at the held-out patients."""
    times = int(facts.stages.get("classify", {}).get("test_opened", 0))
    if times < 2:
        return []
    text = f"They were predicted with {times} settings, so the best-looking result is too good by an unknown amount."
    return [Limit(85, "Held-out patients looked at more than once", text)]


def _small_classes(facts: Facts) -> list[Limit]:
    """Few patients of a class, with the width of the interval."""
    split = facts.split
    if split is None:
        return []
    classes = enumerate(facts.evaluation.classes)
    counts = {class_label(name): int((split.sample.y == c).sum()) for c, name in classes}
    small = [f"{n} {name}" for name, n in counts.items() if n < SMALL_CLASS]
    if not small:
        return []
    macro = find(facts.evaluation.metrics, split.sample.split, "auc_macro")
    wide = ""
    if macro is not None and math.isfinite(macro.low):
        wide = f" The macro AUC is known to lie within {interval(macro)} only (95 % interval)."
    text = (
        f"{split_name(split.sample.split)}: {', '.join(small)}.{wide} A difference that was not found is no proof of "
        "equality."
    )
    return [Limit(70, "Few patients", text)]


def _baselines(facts: Facts) -> list[Limit]:
    """Not ahead of something simpler."""
    if facts.split is None:
        return []
    name = facts.split.sample.split
    ahead = {
        m.class_name: m.estimate
        for m in facts.evaluation.metrics
        if m.split == name
        and m.quantity == "auc_macro_ahead"
        and m.class_name in ("clinical", "volume", "acquisition")
    }
    even = [f"{_BASELINES[k]} (difference {interval(e)})" for k, e in ahead.items() if e.low <= 0]
    if not even:
        return []
    text = f"The images may add nothing to {' or '.join(even)}: the interval of the difference holds 0."
    return [Limit(72, "No sure gain over something simpler", text)]


_BASELINES = {
    "clinical": "the covariates",
    "volume": "the lesion's volume",
    "acquisition": "the way the images were taken",
}


def _shortcuts(facts: Facts) -> list[Limit]:
    """Features that give the site away, and sites that differ in their classes."""
    told = find(facts.evaluation.metrics, EVERYBODY, "shortcut_auc", FROM_SITE)
    found = []
    if told is not None and told.low > 0.5:
        text = (
            f"The site alone tells the HER2 class with an AUC of {told.value:.2f} ({interval(told)}). Part of any "
            "result over several sites can be knowledge of the site and none of the tumor."
        )
        found.append(Limit(75, "Sites differ in their classes", text))
    strong = {
        m.class_name: m.estimate.value
        for m in facts.evaluation.metrics
        if m.quantity == "shortcut_auc" and m.class_name != FROM_SITE and m.estimate.value > _STRONG
    }
    if strong:
        listed = " and ".join(f"the {name} (AUC {value:.2f})" for name, value in strong.items())
        text = f"They give away {listed}. Results on sites that also trained the model may rest on that."
        found.append(Limit(55, "The features know more than the tumor", text))
    return found


def _calibration(facts: Facts) -> list[Limit]:
    """Probabilities that are off beyond chance, or were never meant."""
    found = []
    if facts.config.classify.class_weights == "balanced":
        text = (
            "All classes weighed alike in training (class_weights), so probabilities do not follow the class shares."
        )
        found.append(Limit(64, "Probabilities are shifted", text))
    if facts.split is None:
        return found
    name, metrics = facts.split.sample.split, facts.evaluation.metrics
    error, chance = (find(metrics, name, f"ece_top_label{end}") for end in ("", "_if_calibrated"))
    if error is not None and chance is not None and error.value > chance.high:
        text = (
            f"Their error is {error.value:.2f}, and a well calibrated model would show {interval(chance)} with as "
            "many patients. Do not read a predicted 30 % as 30 of 100 patients before recalibration."
        )
        found.append(Limit(65, "Probabilities are off", text))
    return found


def _outside(facts: Facts) -> list[Limit]:
    """Judged patients unlike those trained on."""
    if facts.split is None or "outside" not in facts.frame:
        return []
    rows = facts.frame[facts.frame["split"] == facts.split.sample.split].drop_duplicates("patient_id")
    n = int((rows["outside"].fillna("") != "").sum())
    if facts.split.sample.split == "oof" or not n:
        return []
    text = f"{n} of {len(rows)} lie outside the range of images or features trained on, where no guarantee holds."
    return [Limit(58 if n > len(rows) / 10 else 35, "Patients unlike those trained on", text)]


def _left_out(facts: Facts) -> list[Limit]:
    """Many who are not in the numbers."""
    n, total = facts.flow.n_cohort - len(facts.flow.done), facts.flow.n_cohort
    unlabeled = sum(end.unlabeled for end in facts.flow.ends)
    found = []
    if total and n / total > _MANY_LEFT_OUT:
        text = f"{n} of {total} ({n / total:.0%}) were left out; the others may be a selection, with clearer images."
        found.append(Limit(62, "Many left out", text))
    if unlabeled:
        text = f"{unlabeled} predicted without a HER2 class are in no number on right and wrong."
        found.append(Limit(42, "Classes not known", text))
    return found


def _survival(facts: Facts) -> list[Limit]:
    """Few events."""
    part = next((split.prognosis for split in facts.evaluation.splits if split.prognosis is not None), None)
    if part is None:
        return []
    model = part.adjusted or part.alone
    events = int(part.follow_up.event.sum())
    n = max(1, len(model.coefficients) or len(part.follow_up.names) + 1)
    if events / n >= _FEW_EVENTS:
        return []
    text = (
        f"{count(events, 'event')} in {count(len(part.follow_up.patient_id), 'patient')}, {events / n:.1f} for each "
        "coefficient of the Cox model (10 are wanted). Hazard ratios are unstable, and one near 1 is no proof that "
        "there is no effect."
    )
    return [Limit(50, "Few events", text)]


def _repeats(facts: Facts) -> list[Limit]:
    """One division into folds."""
    folded = facts.frame[facts.frame["split"] == "oof"]
    if folded.empty or len(folded["repeat"].unique()) > 1 or facts.config.classify.split.kind.startswith("leave"):
        return []
    n = int(folded["fold"].nunique())
    text = (
        f"Patients were divided into {n} folds once (seed {facts.config.seed}); another division gives other numbers."
    )
    held_out = facts.split is not None and facts.split.sample.split != "oof"
    return [Limit(20 if held_out else 40, "One draw of the folds", text)]


def _encoder(facts: Facts) -> list[Limit]:
    """An encoder that saw photographs only, as far as its citation says."""
    stages = facts.stages
    encoder = stages.get("extract", {}).get("encoder", {}) or stages.get("classify", {}).get("encoder", {})
    citation = str(encoder.get("citation", ""))
    if not _PHOTOGRAPHS.search(citation):
        return []
    text = f"{encoder.get('name', 'It')} learned from everyday pictures ({citation}), and from no MRI."
    return [Limit(30, "Encoder without medical training", text)]


_JUDGES: tuple[Callable[[Facts], list[Limit]], ...] = (
    _synthetic, _shuffled, _validation, _opened, _small_classes, _baselines, _shortcuts, _calibration, _outside,
    _left_out, _survival, _repeats, _encoder,
)  # fmt: skip
