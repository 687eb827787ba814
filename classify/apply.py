"""A bundle applied to the feature store of a new cohort."""

from typing import Any

import numpy as np
import pandas as pd

from classify.applicability import outside
from classify.bundle import Bundle
from classify.pooling import choose_views, finite_patients, pool
from classify.splits import image_fingerprint
from classify.table import Place, prediction_frame
from triher.cohort import Cohort
from triher.errors import StopRun
from triher.store import COSMETIC, Features, Header

_TRAINED = "the bundle was trained on these very images, so this is no prediction"


def apply_bundle(
    bundle: Bundle, header: Header, features: Features, cohort: Cohort, *, labels: dict[str, int] | None
) -> pd.DataFrame:
    """Predict the patients of a cohort whose embeddings are in the store, in the order of the cohort.

    Patients with non-finite embeddings must be left out before, by `classify.pooling.skip_nonfinite`, which names
    them for ``skipped.csv``.

    Args:
        bundle: as read by `classify.bundle.read_bundle`.
        header: what made the embeddings.
        features: the embeddings.
        cohort: the new patients.
        labels: patient id -> position in the bundle's scheme, where known; only copied into the table.

    Returns:
        A prediction table (split ``new``) with two more columns: ``set``, the classes that cannot be ruled out,
        and ``outside``, what lies outside the training range (empty for a patient inside).

    Raises:
        StopRun: ``bundle_encoder`` (encoder, recipe or views differ), ``transform_drift`` (the encoder gives
            other embeddings than at the time of training), ``cohort_empty`` or ``embedding_nonfinite``.
    """
    _check_origin(bundle, header, features)
    place = {patient_id: i for i, patient_id in enumerate(features.patient_id)}
    patients = [patient for patient in cohort.patients if patient.patient_id in place]
    if not patients:
        message = f"none of the {len(cohort.patients)} patients of the cohort is in the feature store"
        raise StopRun("cohort_empty", message, remedy="check that store and cohort belong together")
    chosen = features.select([place[patient.patient_id] for patient in patients])
    finite = finite_patients(chosen, bundle.views)
    if not finite.all():
        bad = ", ".join(np.array(chosen.patient_id)[~finite][:5].tolist())
        raise StopRun("embedding_nonfinite", f"embeddings of {int((~finite).sum())} patients are not finite: {bad}")
    pooled = pool(chosen, bundle.views, bundle.pooling)
    p = bundle.model.predict(pooled)
    known = labels or {}
    y = np.array([known.get(patient.patient_id, np.nan) for patient in patients], dtype=np.float64)
    trained_on = set(bundle.training.images)
    reasons = [
        [*([_TRAINED] if image_fingerprint(digest) in trained_on else []), *found]
        for digest, found in zip(
            chosen.input_sha256, outside(bundle.seen, chosen.acquisition, pooled.vectors), strict=True
        )
    ]
    return prediction_frame(
        patients,
        y,
        p,
        model=bundle.model,
        scheme=bundle.scheme,
        place=Place("new", 0, 0, bundle.training.seed),
        reasons=reasons,
    )


def _check_origin(bundle: Bundle, header: Header, features: Features) -> None:
    """Stop unless the embeddings come from the encoder and recipe of the training."""
    differing = _differences(_origin(bundle.header), _origin(header))
    missing = sorted(set(bundle.views) - set(features.views))
    if missing:
        has = ", ".join(choose_views(list(features.views), []))
        differing.append(f"views: the bundle needs {', '.join(missing)}, the store has {has}")
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
