"""The part of the stage that counts: what views, covariates and features do to the log-odds, and who is near whom."""

from collections.abc import Sequence
from pathlib import Path

from classify.attribution.everyone import Everyone
from classify.attribution.leading_features import feature_shares, why_none
from classify.attribution.neighborhood import purities, standard_vectors
from classify.attribution.projection import METHODS, project
from classify.attribution.shapley import group_shares
from triher.errors import Note
from triher.explain.material import Material, Written
from triher.explanation_tables import (
    PROJECTION,
    PURITY,
    SHAP_FEATURES,
    SHAP_GROUPS,
    FeatureShare,
    GroupShare,
    Projected,
    Purity,
    write_rows,
)
from triher.labels import scheme_classes
from triher.progress import Reporter

MOST = 500
"""Patients whose features and groups are attributed; a table of more is hardly read."""
_SEEN = "oof"  # split of the patients whom the locked model was trained on


def attribute(material: Material, reporter: Reporter) -> Written:
    """Write the Shapley values and projections of everybody who is predicted.

    Raises:
        StopRun: ``extra_missing``.
    """
    everyone = material.everyone
    if everyone is None:
        return Written(facts={"n_attributed": 0})
    reporter.say(f"explain: {' and '.join(METHODS)} of {len(everyone.patients)} patients, at first a minute")
    written = _projections(material, everyone)
    training = _training(material, everyone)
    if not training:
        text = "none of the patients whom the model was trained on has features, so there is nobody to compare with"
        return written + Written(notes=(Note("", "shap_impossible", text),), facts={"n_attributed": 0})
    return written + _shares(material, everyone, training, reporter)


def _projections(material: Material, everyone: Everyone) -> Written:
    """Places in the plane, and what there is in all dimensions."""
    folder, seed = material.run.explanations, material.config.seed
    vectors = standard_vectors(everyone.inputs)
    ids = [patient.patient_id for patient in everyone.patients]
    write_rows(folder / PROJECTION, Projected, project(vectors, ids, list(METHODS), seed=seed))
    labels = dict(zip(material.predictions["patient_id"], material.predictions["y"], strict=True))
    names = scheme_classes(material.config.scheme)
    classes = [names[int(y)] if (y := labels.get(one, float("nan"))) == y else "" for one in ids]
    sites = [patient.site for patient in everyone.patients]
    write_rows(folder / PURITY, Purity, purities(vectors, classes, sites, seed=seed))
    return Written((folder / PROJECTION, folder / PURITY))


def _shares(material: Material, everyone: Everyone, training: Sequence[int], reporter: Reporter) -> Written:
    """Shapley values of groups and, where the head allows, of features."""
    folder, options = material.run.explanations, material.options
    explained = _explained(material, everyone)
    draws = {"most": options.background, "seed": material.config.seed}
    tracked = reporter.track(explained, "explain: Shapley values", len(explained))
    write_rows(folder / SHAP_GROUPS, GroupShare, group_shares(everyone, tracked, training, **draws))
    files: list[Path] = [folder / SHAP_GROUPS]
    notes = _bounded(len(explained), len(everyone.patients))
    reason = why_none(everyone)
    if reason:
        notes.append(Note("", "shap_impossible", reason))
    else:
        write_rows(folder / SHAP_FEATURES, FeatureShare, feature_shares(everyone, explained, training, **draws))
        files.append(folder / SHAP_FEATURES)
    return Written(tuple(files), tuple(notes), {"n_attributed": len(explained)})


def _bounded(n: int, n_all: int) -> list[Note]:
    """A remark where not everybody is attributed."""
    if n == n_all:
        return []
    text = f"Shapley values are of {n} of {n_all} patients: held-out patients first, then by the order of the cohort"
    return [Note("", "shap_bounded", text)]


def _training(material: Material, everyone: Everyone) -> list[int]:
    """Positions of those whom the model was trained on; of a table, which has no images, by their split."""
    seen = everyone.in_training.tolist()
    if material.source.is_table:
        by_split = dict(zip(material.predictions["patient_id"], material.predictions["split"], strict=True))
        seen = [by_split.get(patient.patient_id) == _SEEN for patient in everyone.patients]
    return [place for place, was_seen in enumerate(seen) if was_seen]


def _explained(material: Material, everyone: Everyone) -> list[int]:
    """At most `MOST` positions, held-out patients first, in the order of the cohort."""
    training = set(_training(material, everyone))
    order = sorted(range(len(everyone.patients)), key=lambda place: place in training)
    return sorted(order[:MOST])
