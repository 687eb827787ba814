"""The whole evaluation: every split, cohort and site judged, collected as rows and as material for figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.calibration.curves import Reliability
from analysis.calibration.metrics import judge_calibration, reliability_curves
from analysis.discrimination.agreement import quadratic_kappa
from analysis.discrimination.aucs import low_vs_positive, one_vs_rest, zero_vs_rest
from analysis.discrimination.beside import judge_beside
from analysis.discrimination.confusion import (
    Confusion,
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    majority_share,
    matthews,
    predictive_values,
    sensitivities,
    specificities,
)
from analysis.discrimination.hand_till import hand_till
from analysis.discrimination.partial_auc import partial_auc
from analysis.discrimination.shortcut import Shortcut, judge_shortcuts
from analysis.discrimination.within_site import within_site_auc
from analysis.inference.bootstrap import macro_auc_lead, macro_micro_auc
from analysis.inference.cross_validation import honest
from analysis.inference.strata import sample_strata
from analysis.metrics import Metric
from analysis.patients.samples import Sample, class_label, split_samples, subgroup_samples
from analysis.survival.followup import FollowUp
from analysis.survival.prognosis import Prognosis, judge_prognosis
from analysis.survival.prognosis_metrics import prognosis_metrics
from triher.estimate import Estimate, not_estimable
from triher.labels import scheme_classes
from triher.settings import Config
from triher.types import Labels

_FEWEST_FOR_PAIRS = 3  # classes; with two, Hand and Till's M is the AUC


@dataclass(frozen=True)
class SplitEvaluation:
    """What one split showed."""

    sample: Sample
    subgroups: tuple[Sample, ...]
    confusion: Confusion
    reliability: tuple[Reliability, ...]
    prognosis: Prognosis | None


@dataclass(frozen=True)
class Evaluation:
    """All splits, held-out ones first, and every number."""

    scheme: str
    classes: tuple[str, ...]
    splits: tuple[SplitEvaluation, ...]
    metrics: tuple[Metric, ...]


def evaluate(
    frame: pd.DataFrame,
    reference: pd.DataFrame | None,
    follow_ups: Mapping[str, FollowUp],
    config: Config,
    *,
    companions: pd.DataFrame | None = None,
    shortcuts: Sequence[Shortcut] = (),
) -> Evaluation:
    """Judge the predictions.

    Args:
        frame: the prediction table.
        reference: a prediction table of a reference classifier, compared on the same patients, or None.
        follow_ups: split -> patients with survival.
        config: the run's configuration; ``seed`` starts every bootstrap and simulation.
        companions: the prediction table of the models beside the model, or None.
        shortcuts: how the features tell site, vendor and cohort.
    """
    classes = scheme_classes(config.scheme)
    own = config.analysis
    prognoses = {
        split: judge_prognosis(split, followed, few_events=own.few_events, cutpoint=own.cutpoint)
        for split, followed in follow_ups.items()
    }
    splits: list[SplitEvaluation] = []
    metrics: list[Metric] = []
    samples = split_samples(frame, config.scheme)
    for sample in samples:
        subgroups = subgroup_samples(frame, config.scheme, sample.split)
        for part in (sample, *subgroups):
            metrics += honest(_discrimination(part, sample_strata(frame, part), config), frame)
        metrics += honest(_within_sites(sample, classes, config), frame)
        metrics += judge_calibration(sample, classes, config)
        if reference is not None:
            metrics += _reference(sample, sample_strata(frame, sample), reference, config)
        prognosis = prognoses.get(sample.split)
        metrics += prognosis_metrics(prognosis) if prognosis else []
        curves = reliability_curves(sample, classes, config)
        counts = confusion_matrix(sample.y, sample.probabilities)
        splits.append(SplitEvaluation(sample, subgroups, counts, curves, prognosis))
    metrics += [] if companions is None else judge_beside(companions, samples, config)
    metrics += judge_shortcuts(shortcuts, config)
    return Evaluation(config.scheme, classes, tuple(splits), tuple(metrics))


def _discrimination(sample: Sample, strata: Labels, config: Config) -> list[Metric]:
    """AUCs, nested tasks and proportions of one group of patients."""
    classes, y, probabilities = scheme_classes(config.scheme), sample.y, sample.probabilities
    draws: dict[str, Any] = {"resamples": config.analysis.resamples, "seed": config.seed}
    macro, micro = macro_micro_auc(y, probabilities, classes, strata=strata, **draws)
    counts = confusion_matrix(y, probabilities)
    overall = {
        "auc_macro": macro,
        "auc_micro": micro,
        "auc_hand_till": hand_till(y, probabilities, classes, strata=strata, **draws),
        "accuracy": accuracy(counts),
        "balanced_accuracy": balanced_accuracy(counts, classes, **draws),
        "majority_share": majority_share(counts),
        "kappa_quadratic": quadratic_kappa(counts),
        "mcc": matthews(counts, classes, **draws),
    }
    if len(classes) < _FEWEST_FOR_PAIRS:
        del overall["auc_hand_till"]
    each = {
        "auc": one_vs_rest(y, probabilities, classes),
        "auc_partial": _partial_areas(sample, classes, draws),
        "sensitivity": sensitivities(counts, classes),
        "specificity": specificities(counts, classes),
        "ppv": predictive_values(counts, classes),
    }
    rows = [_at(sample, "discrimination", name, estimate) for name, estimate in overall.items()]
    rows += [
        _at(sample, "discrimination", name, estimate, classes[c])
        for name, estimates in each.items()
        for c, estimate in enumerate(estimates)
    ]
    if config.scheme == "triple":
        rows.append(_at(sample, "nested", "auc_zero_vs_rest", zero_vs_rest(y, probabilities)))
        rows.append(_at(sample, "nested", "auc_low_vs_positive", low_vs_positive(y, probabilities)))
    return rows


def _partial_areas(sample: Sample, classes: tuple[str, ...], draws: dict[str, Any]) -> tuple[Estimate, ...]:
    """The partial AUC of each class against all others."""
    labels = [class_label(name) for name in classes]
    return tuple(
        partial_auc(sample.y == c, sample.probabilities[:, c], names=(label, f"other than {label}"), **draws)
        for c, label in enumerate(labels)
    )


def _within_sites(sample: Sample, classes: tuple[str, ...], config: Config) -> list[Metric]:
    """The AUC among patients of one site, where there are several."""
    if sample.n_places < 2:
        return []
    draws = {"resamples": config.analysis.resamples, "seed": config.seed}
    found = within_site_auc(sample.y, sample.probabilities, sample.place, classes, **draws)
    return [_at(sample, "discrimination", "auc_within_site", found)]


def _reference(sample: Sample, strata: Labels, reference: pd.DataFrame, config: Config) -> list[Metric]:
    """The reference classifier on exactly the patients of the sample, and the distance to it."""
    classes = scheme_classes(config.scheme)
    columns = [f"p_{name}" for name in classes]
    rows = reference.drop_duplicates("patient_id").set_index("patient_id")
    missing = [name for name in sample.patient_id if name not in rows.index]
    if missing:
        reason = f"the reference lacks {len(missing)} of {len(sample.y)} patients"
        nothing = not_estimable(reason, n=len(sample.y), method="reference")
        return [_at(sample, "reference", name, nothing) for name in ("reference_auc_macro", "auc_macro_behind")]
    best = rows.loc[list(sample.patient_id), columns].to_numpy(np.float64)
    macro, ahead = macro_auc_lead(
        sample.y,
        sample.probabilities,
        best,
        classes,
        resamples=config.analysis.resamples,
        seed=config.seed,
        strata=strata,
    )
    found = [_at(sample, "reference", "reference_auc_macro", macro)]
    behind = replace(ahead, value=0.0 - ahead.value, low=0.0 - ahead.high, high=0.0 - ahead.low)
    found.append(_at(sample, "reference", "auc_macro_behind", behind))
    areas = one_vs_rest(sample.y, best, classes)
    return found + [
        _at(sample, "reference", "reference_auc", a, name) for a, name in zip(areas, classes, strict=True)
    ]


def _at(sample: Sample, part: str, quantity: str, estimate: Estimate, class_name: str = "") -> Metric:
    """An estimate at the sample's place."""
    return Metric(part, sample.split, quantity, estimate, class_name, sample.cohort, sample.site)
