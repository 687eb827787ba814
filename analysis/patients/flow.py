"""The flow of patients: from the cohort table, step by step, to those who were trained on and held out.

After the flow diagrams of STARD 2015 (Bossuyt et al., BMJ 2015;351:h5527) and CONSORT 2010: who comes in at the top
comes out at the bottom or leaves at the side, each counted once.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.patients.samples import SPLIT_ORDER
from triher.cohort import Cohort
from triher.errors import Skipped
from triher.trained import LEARNED_FROM

_UNLABELED = "her2_unknown"


@dataclass(frozen=True)
class Exit:
    """Who left at one step."""

    title: str
    """What they lacked."""
    reached: str
    """What those are called who went on."""
    reasons: Mapping[str, int]
    """Code -> patients, the most frequent first; each patient once."""
    left: int
    """Patients who went on."""

    @property
    def n(self) -> int:
        """How many left."""
        return sum(self.reasons.values())


@dataclass(frozen=True)
class End:
    """The predicted patients of one split."""

    split: str
    n: int
    classes: tuple[int, ...]
    """Patients of each class."""
    unlabeled: int
    kind: str
    """What `places` are: ``cohort``, or ``site`` where there is one cohort."""
    places: Mapping[str, int]
    """Cohort or site -> patients; the largest first."""


@dataclass(frozen=True)
class Flow:
    """In = done + left out + unaccounted; whoever is in none of the first two is named."""

    n_cohort: int
    cohorts: Mapping[str, int]
    """Cohort -> patients of the table, the largest first."""
    done: tuple[str, ...]
    left_out: tuple[Skipped, ...]
    """Why somebody was left out: all entries, of which one patient can have several."""
    unaccounted: tuple[str, ...]
    exits: tuple[Exit, ...]
    """Steps at which somebody left, in their order."""
    ends: tuple[End, ...]
    """The splits, held-out ones first; their patients add up to those predicted."""
    strangers: tuple[str, ...]
    """Predicted or left out, and not in the cohort table."""
    learned: tuple[tuple[str, str], ...] = ()
    """Cohort and site of each patient who is left out because the encoder was trained on her."""


def patient_flow(
    frame: pd.DataFrame, cohort: Cohort, skipped: Sequence[Skipped], *, n_classes: int = 3, has_images: bool = True
) -> Flow:
    """Compare the cohort table with the predictions and with ``skipped.csv``.

    A patient with several entries counts at the first step that left her out.

    Args:
        frame: the prediction table.
        cohort: the cohort table.
        skipped: rows of ``skipped.csv``.
        n_classes: of the label scheme.
        has_images: whether the features are from images, and not from a table.
    """
    predicted = set(frame["patient_id"])
    known = cohort.ids()
    done = tuple(name for name in known if name in predicted)
    left_out = tuple(row for row in skipped if row.patient_id not in predicted)
    named = {row.patient_id for row in left_out}
    rest = tuple(name for name in known if name not in predicted and name not in named)
    strangers = tuple(sorted((predicted | named) - set(known)))
    cohorts = dict(Counter(patient.cohort for patient in cohort.patients).most_common())
    exits = _exits(set(known), left_out, rest, has_images=has_images)
    ends = _ends(frame[frame["patient_id"].isin(done)], n_classes)
    return Flow(len(known), cohorts, done, left_out, rest, exits, ends, strangers, _learned(cohort, left_out))


def _learned(cohort: Cohort, left_out: Sequence[Skipped]) -> tuple[tuple[str, str], ...]:
    """Cohort and site of those whom the encoder was trained on."""
    names = {row.patient_id for row in left_out if row.code == LEARNED_FROM}
    return tuple((patient.cohort, patient.site) for patient in cohort.patients if patient.patient_id in names)


def _step(row: Skipped) -> int:
    """At which of the steps of `_exits` an entry leaves a patient out."""
    if row.stage != "classify" or row.code == "not_extracted":
        return 0
    return {_UNLABELED: 1, LEARNED_FROM: 2}.get(row.code, 3)


def _exits(
    known: set[str], left_out: Sequence[Skipped], unaccounted: Sequence[str], *, has_images: bool
) -> tuple[Exit, ...]:
    """The steps at which somebody left, each patient at the first one."""
    first: dict[str, tuple[int, str]] = {}
    for row in left_out:
        place = _step(row), row.code
        if row.patient_id in known and place[0] < first.get(row.patient_id, (9, ""))[0]:
            first[row.patient_id] = place
    n = len(known)
    no_images = ("Images or lesion not usable", "Images read and embedded")
    steps = {
        0: no_images if has_images else ("Features not usable", "With features"),
        1: ("HER2 class not known", "With a HER2 class"),
        2: ("The encoder was trained on them", "Not known to the encoder"),
        3: ("Left out of training and testing", "Trained on or tested"),
    }
    exits = []
    for step, (title, reached) in steps.items():
        reasons = Counter(code for at, code in first.values() if at == step)
        if reasons:
            n -= reasons.total()
            exits.append(Exit(title, reached, dict(reasons.most_common()), n))
    if unaccounted:
        reasons = Counter({"": len(unaccounted)})
        exits.append(Exit("Neither predicted nor named", "Accounted for", dict(reasons), n - len(unaccounted)))
    return tuple(exits)


def _ends(done: pd.DataFrame, n_classes: int) -> tuple[End, ...]:
    """The splits; a patient in several of them counts in the foremost."""
    order = {split: k for k, split in enumerate(SPLIT_ORDER)}
    people = done.assign(order=done["split"].map(lambda split: order.get(split, len(order))))
    people = people.sort_values("order", kind="stable").drop_duplicates("patient_id")
    place = "cohort" if len(people["cohort"].unique()) > 1 else "site"
    ends = []
    for split, rows in people.groupby("split", sort=False):
        classes = tuple(int((rows["y"] == c).sum()) for c in range(n_classes))
        places = {str(name): int(n) for name, n in rows[place].value_counts(sort=True).items()}
        ends.append(End(str(split), len(rows), classes, int(rows["y"].isna().sum()), place, places))
    return tuple(ends)
