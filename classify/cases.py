"""The patients that can be used: label, vector and group of each, in one order."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from classify.pooling import Pooled, pool, skip_nonfinite
from classify.splits import image_groups
from triher.cohort import Cohort, Patient
from triher.errors import Note, Skipped, StopRun
from triher.store import Features
from triher.types import Labels, Names


@dataclass(frozen=True)
class Cases:
    """What a head is trained on."""

    pooled: Pooled
    y: Labels
    """Position in the scheme."""
    cohort: Names
    group: Int[np.ndarray, " patient"]
    """Equal numbers (the same images) are never parted by a fold."""
    classes: tuple[str, ...]
    """The classes of the scheme, in order."""

    def take(self, rows: Int[np.ndarray, " row"]) -> "Cases":
        """The patients at the given positions."""
        return Cases(self.pooled.take(rows), self.y[rows], self.cohort[rows], self.group[rows], self.classes)


@dataclass(frozen=True)
class Gathered:
    """The cases, who they are, and who was left out."""

    cases: Cases
    patients: tuple[Patient, ...]
    acquisition: dict[str, Float64[np.ndarray, " patient"]]
    input_sha256: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[Note, ...]


def gather(
    cohort: Cohort,
    labels: Mapping[str, int],
    unlabeled: Sequence[Skipped],
    features: Features,
    *,
    accounted: Collection[str],
    views: Sequence[str],
    pooling: Sequence[str],
    classes: Sequence[str],
) -> Gathered:
    """Bring cohort, labels and embeddings together, sorted by patient id.

    Sorting makes the result independent of the order of the table and of the store.

    Args:
        cohort: the patients.
        labels: patient id -> position in the scheme.
        unlabeled: who has no label, and why.
        features: the embeddings.
        accounted: who the extraction left out and named; they are not counted again.
        views: which views to pool; all when empty.
        pooling: which statistics.
        classes: the classes of the scheme.

    Raises:
        StopRun: ``cohort_empty`` when nobody is left; as `triher.store` and `classify.pooling.pool`.
    """
    patients = {patient.patient_id: patient for patient in cohort.patients}
    place = {patient_id: i for i, patient_id in enumerate(features.patient_id)}
    usable = sorted(place.keys() & labels.keys() & patients.keys())
    chosen = features.select([place[patient_id] for patient_id in usable])
    cohort_of = {patient_id: patient.cohort for patient_id, patient in patients.items()}
    chosen, nonfinite = skip_nonfinite(chosen, views, cohort_of)
    skipped = [row for row in unlabeled if row.patient_id in place] + nonfinite
    lost = [patient for patient in cohort.patients if patient.patient_id not in {*place, *accounted}]
    skipped += [_not_extracted(patient) for patient in lost]
    people = tuple(patients[patient_id] for patient_id in chosen.patient_id)
    if not people:
        example = f"; for instance {skipped[0].patient_id}: {skipped[0].reason}" if skipped else ""
        message = (
            f"of {len(patients)} patients in the cohort and {len(place)} in the feature store nobody has a label "
            f"and embeddings{example}"
        )
        raise StopRun("cohort_empty", message, remedy="complete the labels; check that cohort and store fit")
    cases = Cases(
        pool(chosen, views, pooling),
        np.array([labels[patient.patient_id] for patient in people], dtype=np.int64),
        np.array([patient.cohort for patient in people], dtype=object),
        image_groups(chosen.input_sha256),
        tuple(classes),
    )
    notes = _same_images(cases.group, people)
    return Gathered(cases, people, chosen.acquisition, chosen.input_sha256, tuple(skipped), notes)


def _same_images(group: Int[np.ndarray, " patient"], patients: Sequence[Patient]) -> tuple[Note, ...]:
    """A remark for each patient whose images another patient has, too."""
    return tuple(
        Note(patient.patient_id, "image_duplicate", f"has the same images as '{patients[first].patient_id}'")
        for position, (patient, first) in enumerate(zip(patients, group.tolist(), strict=True))
        if first != position
    )


def shuffle_within(y: Labels, sites: Names, seed: int) -> Labels:
    """Permute the labels within each site, as a negative control that keeps site effects."""
    rng = np.random.default_rng(seed)
    shuffled = y.copy()
    for site in sorted(set(sites)):
        here = np.flatnonzero(sites == site)
        shuffled[here] = y[rng.permutation(here)]
    return shuffled


def _not_extracted(patient: Patient) -> Skipped:
    """A patient who joined the cohort after the extraction."""
    reason, remedy = "in the cohort table and not in the feature store", "run triher extract again"
    return Skipped(patient.patient_id, patient.cohort, "classify", "not_extracted", reason, remedy)
