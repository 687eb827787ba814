"""Everybody whom a bundle can predict, as the model sees them together: what all explanations start from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool

from classify.apply import is_bare
from classify.attribution.chain import Chain, chain_of
from classify.bundle import Bundle
from classify.cases import inputs_of, leave_out_gaps
from classify.inputs import Inputs
from classify.source import Source
from classify.view_algebra import derive_views
from triher.cohort import Cohort, Patient
from triher.errors import StopRun
from triher.images import image_fingerprint
from triher.store import Features


@dataclass(frozen=True)
class Everyone:
    """Patients of a cohort with features, in the order of the cohort."""

    bundle: Bundle
    """Settled, so that no patient's prediction depends on who else is predicted: see `settle`."""
    patients: tuple[Patient, ...]
    features: Features
    """With the stored views."""
    derived: Features
    """With the views in use."""
    inputs: Inputs
    names: Mapping[str, tuple[str, ...]]
    """View -> names of its columns, where they have names."""
    is_bare: bool
    """Whether columns of a table are taken as they stand."""

    @property
    def in_training(self) -> Bool[np.ndarray, " patient"]:
        """On whose images the bundle was trained; nobody's where it was trained on a table."""
        known = set(self.bundle.training.images)
        return np.array([image_fingerprint(digest) in known for digest in self.features.input_sha256], dtype=bool)

    def chain(self, place: int) -> Chain:
        """The patient at a position before the model.

        Raises:
            StopRun: as `classify.attribution.chain.chain_of`.
        """
        return chain_of(self.bundle, self.patients[place], self.features.select([place]), self.names)


def everyone_of(bundle: Bundle, source: Source, cohort: Cohort) -> Everyone:
    """Bring a cohort and its features before a bundle, as `classify.apply.apply_bundle` does.

    Args:
        bundle: as read by `classify.bundle.read_bundle`.
        source: features of the patients, from the bundle's encoder and recipe.
        cohort: the patients; who has no features, or gaps that the model cannot fill, is left out.

    Raises:
        StopRun: ``cohort_empty``; as `classify.training.Model.predict`.
    """
    config, place = bundle.config(), {name: i for i, name in enumerate(source.features.patient_id)}
    people = {patient.patient_id: patient for patient in cohort.patients if patient.patient_id in place}
    stored = source.features.select([place[name] for name in people])
    derived, _ = leave_out_gaps(derive_views(stored, bundle.views), people, config, source.names)
    patients = tuple(people[name] for name in derived.patient_id)
    if not patients:
        raise StopRun("cohort_empty", f"none of the {len(cohort.patients)} patients of the cohort can be predicted")
    bare = is_bare(bundle, source)
    inputs = inputs_of(derived, patients, config, source.names, bare=bare)
    bundle.model.predict(inputs)
    stored = source.features.select([place[patient.patient_id] for patient in patients])
    return Everyone(settle(bundle, inputs), patients, stored, derived, inputs, source.names, bare)


def settle(bundle: Bundle, inputs: Inputs) -> Bundle:
    """The bundle with the sites of some patients made known, where unseen sites are standardized by their own rows.

    Elsewhere the bundle as it is. The settled bundle predicts the patients as before, and each of them alone, too.

    Args:
        bundle: any bundle.
        inputs: everybody who is predicted together.
    """
    preparation = bundle.model.preparation
    harmonizer = preparation.harmonizer
    if harmonizer is None or harmonizer.effects is None or harmonizer.unseen != "standardize":
        return bundle
    effects = harmonizer.effects_with_new(preparation.filled_rows(inputs), inputs.site_of_row)
    settled = replace(preparation, harmonizer=replace(harmonizer, effects=effects, unseen="pass"))
    return replace(bundle, model=replace(bundle.model, preparation=settled))
