"""The patients that can be used: label, inputs and group of each, in one order."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int

from classify.encoder_saw import Unseen, leave_out_seen
from classify.heads import find_head
from classify.inputs import Inputs
from classify.near_copies import merge_groups
from classify.pooling import instances, pool, skip_nonfinite
from classify.view_algebra import derive_views
from triher.cohort import Cohort, Patient
from triher.errors import Note, Skipped, StopRun
from triher.folds import image_groups
from triher.held_out import is_unused
from triher.settings import ClassifyConfig
from triher.store import Features
from triher.types import Labels, Names


@dataclass(frozen=True)
class Cases:
    """What a head is trained on."""

    inputs: Inputs
    y: Labels
    """Position in the scheme."""
    cohort: Names
    group: Int[np.ndarray, " patient"]
    """Equal numbers (the same images) are never parted by a fold."""
    classes: tuple[str, ...]
    """The classes of the scheme, in order."""

    def take(self, rows: Int[np.ndarray, " row"]) -> "Cases":
        """The patients at the given positions."""
        return Cases(self.inputs.take(rows), self.y[rows], self.cohort[rows], self.group[rows], self.classes)


@dataclass(frozen=True)
class Gathered:
    """The cases, who they are, and who was left out."""

    cases: Cases
    patients: tuple[Patient, ...]
    acquisition: dict[str, Float64[np.ndarray, " patient"]]
    input_sha256: tuple[str, ...]
    views: tuple[str, ...]
    """Views in use, in their order."""
    skipped: tuple[Skipped, ...]
    notes: tuple[Note, ...]
    developed: frozenset[str] = frozenset()
    """Those on whom a trained encoder was developed, by networks that did without them."""


def gather(
    cohort: Cohort,
    labels: Mapping[str, int],
    unlabeled: Sequence[Skipped],
    features: Features,
    *,
    accounted: Collection[str],
    config: ClassifyConfig,
    classes: Sequence[str],
    feature_names: Mapping[str, Sequence[str]],
) -> Gathered:
    """Bring cohort, labels and embeddings together, sorted by patient id.

    Sorting makes the result independent of the order of the table and of the store. Patients of whom the split makes
    no use are left out, and those whom a trained encoder was trained on.

    Args:
        cohort: the patients.
        labels: patient id -> position in the scheme.
        unlabeled: who has no label, and why.
        features: the embeddings.
        accounted: who the extraction left out and named; they are not counted again.
        config: views, pooling, covariates, split, and what to do about gaps.
        classes: the classes of the scheme.
        feature_names: view -> names of its columns, where they have names.

    Raises:
        StopRun: ``cohort_empty`` when nobody is left; as `triher.held_out.check_names`, `triher.store` and
            `classify.pooling.pool`.
    """
    unused = {patient.patient_id for patient in cohort.patients if is_unused(config.split, patient)}
    patients = {patient.patient_id: patient for patient in cohort.patients if patient.patient_id not in unused}
    features = derive_views(features, config.views)
    place = {patient_id: i for i, patient_id in enumerate(features.patient_id)}
    usable = sorted(place.keys() & labels.keys() & patients.keys())
    chosen = features.select([place[patient_id] for patient_id in usable])
    unseen = leave_out(chosen, patients, config, feature_names)
    chosen = unseen.features
    skipped = [row for row in unlabeled if row.patient_id in place.keys() & patients.keys()]
    skipped += unseen.skipped
    known = {*place, *accounted, *unused}
    skipped += [not_extracted(patient) for patient in cohort.patients if patient.patient_id not in known]
    left_out = unused - {*accounted}
    skipped += [_split_unused(patient, config) for patient in cohort.patients if patient.patient_id in left_out]
    people = tuple(patients[patient_id] for patient_id in chosen.patient_id)
    if not people:
        raise _nobody(len(patients), len(place), skipped)
    inputs = inputs_of(chosen, people, config, feature_names)
    cases = Cases(
        inputs,
        np.array([labels[patient.patient_id] for patient in people], dtype=np.int64),
        np.array([patient.cohort for patient in people], dtype=object),
        merge_groups(_image_groups(chosen, feature_names), inputs.means()),
        tuple(classes),
    )
    notes = (*unseen.notes(chosen.patient_id), *_same_images(cases.group, people))
    views = tuple(features.views)
    developed = unseen.developed.intersection(chosen.patient_id)
    return Gathered(cases, people, chosen.acquisition, chosen.input_sha256, views, tuple(skipped), notes, developed)


def _nobody(n_patients: int, n_stored: int, skipped: Sequence[Skipped]) -> StopRun:
    """That no patient has both a label and embeddings."""
    example = f"; for instance {skipped[0].patient_id}: {skipped[0].reason}" if skipped else ""
    message = (
        f"of {n_patients} patients in the cohort and {n_stored} in the feature store nobody has a label "
        f"and embeddings{example}"
    )
    return StopRun("cohort_empty", message, remedy="complete the labels; check that cohort and store fit")


def _image_groups(features: Features, feature_names: Mapping[str, Sequence[str]]) -> Int[np.ndarray, " patient"]:
    """Patients with the same images; those of a table have none, and few numbers can be equal by chance."""
    return np.arange(len(features.patient_id)) if feature_names else image_groups(features.input_sha256)


def leave_out(
    features: Features,
    patients: Mapping[str, Patient],
    config: ClassifyConfig,
    feature_names: Mapping[str, Sequence[str]],
) -> Unseen:
    """Leave out whom a trained encoder was trained on, then who lacks what the model needs, and name them.

    Args:
        features: the views in use.
        patients: patient id -> patient, for all of them.
        config: as for `leave_out_gaps`.
        feature_names: as for `leave_out_gaps`.
    """
    unseen = leave_out_seen(features, {name: patient.cohort for name, patient in patients.items()})
    complete, gaps = leave_out_gaps(unseen.features, patients, config, feature_names)
    return replace(unseen, features=complete, skipped=[*unseen.skipped, *gaps])


def leave_out_gaps(
    features: Features,
    patients: Mapping[str, Patient],
    config: ClassifyConfig,
    feature_names: Mapping[str, Sequence[str]],
) -> tuple[Features, list[Skipped]]:
    """Leave out the patients who lack what the model needs, and name them.

    Args:
        features: the views in use.
        patients: patient id -> patient, for all of them.
        config: covariates, and whether gaps are filled instead.
        feature_names: view -> names of its columns, where they have names; these are measured one by one.
    """
    cohort_of = {patient_id: patient.cohort for patient_id, patient in patients.items()}
    features, skipped = skip_nonfinite(features, (), cohort_of, config.missing, by_column=feature_names.keys())
    if config.missing == "impute":
        return features, skipped
    lacking = {i: _lacking(patients[name], config.covariates) for i, name in enumerate(features.patient_id)}
    skipped += [_covariate_missing(patients[features.patient_id[i]], names) for i, names in lacking.items() if names]
    complete = [i for i, names in lacking.items() if not names]
    return (features.select(complete) if len(complete) < len(lacking) else features), skipped


def _lacking(patient: Patient, covariates: Sequence[str]) -> list[str]:
    """The covariates that are not known of a patient."""
    return [name for name in covariates if not math.isfinite(patient.covariates[name])]


def _covariate_missing(patient: Patient, names: Sequence[str]) -> Skipped:
    """A patient whose covariates have gaps."""
    reason = f"no value of {', '.join(names)}, which classify.covariates names"
    return Skipped(patient.patient_id, patient.cohort, "classify", "covariate_missing", reason, "")


def inputs_of(
    features: Features,
    patients: Sequence[Patient],
    config: ClassifyConfig,
    feature_names: Mapping[str, Sequence[str]],
    *,
    bare: bool | None = None,
) -> Inputs:
    """What a model may see of some patients.

    Args:
        features: the views in use, in the order of the patients.
        patients: who they are.
        config: head, pooling and covariates.
        feature_names: view -> names of its columns, where they have names.
        bare: as for `classify.pooling.pool`.
    """
    if find_head(config.head).takes_bags:
        (rows, names), indptr = instances(features, tuple(features.views), feature_names), features.indptr
    else:
        pooled = pool(features, tuple(features.views), config.pooling, feature_names, bare=bare)
        rows, indptr, names = pooled.vectors, np.arange(len(patients) + 1, dtype=np.int64), pooled.names
    covariates = [[patient.covariates[name] for name in config.covariates] for patient in patients]
    shape = (len(patients), len(config.covariates))
    site = np.array([patient.site for patient in patients], dtype=object)
    return Inputs(rows, indptr, names, np.array(covariates, np.float64).reshape(shape), config.covariates, site)


def _same_images(group: Int[np.ndarray, " patient"], patients: Sequence[Patient]) -> tuple[Note, ...]:
    """A remark for each patient whose images another patient has, too."""
    return tuple(
        Note(patient.patient_id, "image_duplicate", f"has the same images as '{patients[first].patient_id}'")
        for position, (patient, first) in enumerate(zip(patients, group.tolist(), strict=True))
        if first != position
    )


def not_extracted(patient: Patient) -> Skipped:
    """A patient without features, for instance one who joined the cohort after the extraction."""
    reason = "in the cohort table and not among the features"
    remedy = "run triher extract again, or add the patient to your table of features"
    return Skipped(patient.patient_id, patient.cohort, "classify", "not_extracted", reason, remedy)


def _split_unused(patient: Patient, config: ClassifyConfig) -> Skipped:
    """A patient on neither side of the split."""
    kind, name = ("site", patient.site) if config.split.kind == "sites" else ("cohort", patient.cohort)
    reason = f"of the {kind} '{name}', which is neither in classify.split.train nor in classify.split.test"
    return Skipped(patient.patient_id, patient.cohort, "classify", "split_unused", reason, "")
