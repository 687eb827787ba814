"""A bundle applied to the feature store of a new cohort."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from classify.applicability import outside
from classify.bundle import Bundle
from classify.cases import inputs_of, leave_out, not_extracted
from classify.source import Source
from classify.table import Place, prediction_frame
from classify.view_algebra import derive_views, needed_views
from triher.cohort import Cohort
from triher.errors import Skipped, StopRun
from triher.images import image_fingerprint
from triher.predictions import TRAINED, VALIDATED
from triher.store import COSMETIC, Features, Header


def apply_bundle(
    bundle: Bundle,
    source: Source,
    cohort: Cohort,
    *,
    labels: Mapping[str, int] | None,
    accounted: Collection[str] = (),
) -> tuple[pd.DataFrame, list[Skipped]]:
    """Predict the patients of a cohort whose features are at hand, in the order of the cohort.

    Args:
        bundle: as read by `classify.bundle.read_bundle`.
        source: features of the new patients, and what made them.
        cohort: the new patients.
        labels: patient id -> position in the bundle's scheme, where known; only copied into the table.
        accounted: who the extraction left out and named; they are not counted again.

    Returns:
        A prediction table (split ``new``) with two more columns: ``set``, the classes that cannot be ruled out,
        and ``outside``, what lies outside the training range (empty for a patient inside); and who was left out
        because of gaps, for want of features, or because a trained encoder was trained on her.

    Raises:
        StopRun: ``bundle_encoder`` (encoder, recipe, views or columns differ), ``transform_drift`` (the encoder
            gives other embeddings than at the time of training), ``cohort_empty`` or ``site_unseen``.
    """
    features, config = source.features, bundle.config()
    _check_origin(bundle, source)
    place = {patient_id: i for i, patient_id in enumerate(features.patient_id)}
    people = {patient.patient_id: patient for patient in cohort.patients if patient.patient_id in place}
    views = derive_views(features.select([place[name] for name in people]), bundle.views)
    unseen = leave_out(views, people, config, source.names)
    chosen, skipped = unseen.features, unseen.skipped
    patients = [people[name] for name in chosen.patient_id]
    if not patients:
        raise _nobody(len(cohort.patients), len(people), len(skipped))
    known = {*people, *accounted}
    skipped = [*skipped, *(not_extracted(one) for one in cohort.patients if one.patient_id not in known)]
    inputs = inputs_of(chosen, patients, config, source.names, bare=is_bare(bundle, source))
    p = bundle.model.predict(inputs)
    given = labels or {}
    y = np.array([given.get(patient.patient_id, np.nan) for patient in patients], dtype=np.float64)
    found = outside(bundle.seen, chosen.acquisition, inputs.means())
    known_images = _known_images(bundle, chosen, unseen.validated)
    reasons = [[*knows, *what] for knows, what in zip(known_images, found, strict=True)]
    place_new = Place("new", 0, 0, bundle.training.seed)
    frame = prediction_frame(
        patients, y, p, model=bundle.model, scheme=bundle.scheme, place=place_new, reasons=reasons
    )
    return frame, skipped


def _nobody(n_patients: int, n_stored: int, n_left_out: int) -> StopRun:
    """That no patient can be predicted."""
    message = (
        f"of the {n_patients} patients of the cohort {n_stored} are in the feature store, and "
        f"{n_left_out} of these were left out"
    )
    return StopRun("cohort_empty", message, remedy="check that store and cohort belong together")


def _known_images(bundle: Bundle, features: Features, validated: Collection[str]) -> list[list[str]]:
    """For each patient, whether the head was trained on her images, or the encoder's training stopped by them."""
    trained_on = set(bundle.training.images)
    pairs = zip(features.patient_id, features.input_sha256, strict=True)
    return [
        [TRAINED] * (image_fingerprint(digest) in trained_on) + [VALIDATED] * (name in validated)
        for name, digest in pairs
    ]


def _check_origin(bundle: Bundle, source: Source) -> None:
    """Stop unless the features come from the encoder and recipe of the training."""
    header, features = source.header, source.features
    differing = _differences(_origin(bundle.header), _origin(header))
    stored = tuple(sorted(features.views))
    try:
        needed_views(bundle.views, stored)
    except StopRun:
        differing.append(f"views: the bundle needs {', '.join(bundle.views)}, the store has {', '.join(stored)}")
    if differing and source.is_table and bundle.feature_names:
        what = _column_differences(bundle, source) or "; ".join(differing)
        remedy = "give the columns of the training, in their order"
        raise StopRun("bundle_encoder", f"bundle and table of features differ: {what}", remedy=remedy)
    if differing:
        raise StopRun("bundle_encoder", f"bundle and feature store differ: {'; '.join(differing)}")
    if not bundle.header.resembles(header):
        drift = bundle.header.drift(header)
        versions = _differences(bundle.header.versions, header.versions)
        message = (
            f"the probe differs by {drift:.2g} of its largest value (allowed {header.tolerance:g}); "
            f"versions that differ: {'; '.join(versions) or 'none'}"
        )
        raise StopRun("transform_drift", message)


def _column_differences(bundle: Bundle, source: Source) -> str:
    """How a table's columns differ from those of the training; nothing where the model names only what it pooled."""
    here, there = [name for names in source.names.values() for name in names], bundle.feature_names
    lacking, unknown = [name for name in there if name not in here], [name for name in here if name not in there]
    if len(lacking) == len(there):
        return ""
    if not lacking and not unknown:
        i = next(i for i, pair in enumerate(zip(here, there, strict=True)) if pair[0] != pair[1])
        return f"the columns are in another order, of which number {i + 1} is '{here[i]}' and should be '{there[i]}'"
    said = [("the table lacks", lacking), ("the bundle does not know", unknown)]
    return "; ".join(f"{what} {len(names)} columns: {', '.join(names[:5])}" for what, names in said if names)


def is_bare(bundle: Bundle, source: Source) -> bool:
    """Whether the model was trained on a table's columns as they stand, one row a patient."""
    columns = {name for names in source.names.values() for name in names}
    return bool(bundle.feature_names) and columns.issuperset(bundle.feature_names)


def _origin(header: Header) -> dict[str, Any]:
    """What embeddings depend on besides the input."""
    encoder = {key: value for key, value in header.encoder.items() if key not in COSMETIC}
    return {"encoder": encoder, "recipe": header.recipe}


def _differences(then: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Name the keys whose values differ, with both values."""
    found = []
    for key in sorted(then.keys() | now.keys()):
        a, b = then.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} (bundle {a!r:.60}, store {b!r:.60})")
    return found
