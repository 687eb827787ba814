"""The whole evaluation: every split, cohort and site judged, collected as rows and as material for figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.beside import judge_beside
from analysis.bootstrap import macro_auc_difference, macro_micro_auc
from analysis.calibration_curves import Reliability
from analysis.calibration_metrics import judge_calibration, reliability_curves
from analysis.confusion import (
    Confusion,
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    majority_share,
    sensitivities,
    specificities,
)
from analysis.cross_validation import honest
from analysis.discrimination import low_vs_positive, one_vs_rest, zero_vs_rest
from analysis.followup import FollowUp
from analysis.metrics import Metric
from analysis.prognosis import Prognosis, judge_prognosis
from analysis.prognosis_metrics import prognosis_metrics
from analysis.samples import Sample, split_samples, subgroup_samples
from analysis.shortcut import Shortcut, judge_shortcuts
from analysis.within_site import within_site_auc
from triher.estimate import Estimate, not_estimable
from triher.labels import scheme_classes
from triher.settings import Config


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
            metrics += honest(_discrimination(part, classes, config), frame)
        metrics += honest(_within_sites(sample, classes, config), frame)
        metrics += judge_calibration(sample, classes, config)
        if reference is not None:
            metrics += _reference(sample, reference, classes, config)
        prognosis = prognoses.get(sample.split)
        metrics += prognosis_metrics(prognosis) if prognosis else []
        curves = reliability_curves(sample, classes, config)
        counts = confusion_matrix(sample.y, sample.probabilities)
        splits.append(SplitEvaluation(sample, subgroups, counts, curves, prognosis))
    metrics += [] if companions is None else judge_beside(companions, samples, config)
    metrics += judge_shortcuts(shortcuts, config)
    return Evaluation(config.scheme, classes, tuple(splits), tuple(metrics))


def _discrimination(sample: Sample, classes: tuple[str, ...], config: Config) -> list[Metric]:
    """AUCs, nested tasks and proportions of one group of patients."""
    y, probabilities = sample.y, sample.probabilities
    draws = {"resamples": config.analysis.resamples, "seed": config.seed}
    macro, micro = macro_micro_auc(y, probabilities, classes, **draws)
    counts = confusion_matrix(y, probabilities)
    overall = {
        "auc_macro": macro,
        "auc_micro": micro,
        "accuracy": accuracy(counts),
        "balanced_accuracy": balanced_accuracy(counts, classes, **draws),
        "majority_share": majority_share(counts),
    }
    each = {
        "auc": one_vs_rest(y, probabilities, classes),
        "sensitivity": sensitivities(counts, classes),
        "specificity": specificities(counts, classes),
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


def _within_sites(sample: Sample, classes: tuple[str, ...], config: Config) -> list[Metric]:
    """The AUC among patients of one site, where there are several."""
    if sample.n_places < 2:
        return []
    draws = {"resamples": config.analysis.resamples, "seed": config.seed}
    found = within_site_auc(sample.y, sample.probabilities, sample.place, classes, **draws)
    return [_at(sample, "discrimination", "auc_within_site", found)]


def _reference(sample: Sample, reference: pd.DataFrame, classes: tuple[str, ...], config: Config) -> list[Metric]:
    """The reference classifier on exactly the patients of the sample, and the distance to it."""
    columns = [f"p_{name}" for name in classes]
    rows = reference.drop_duplicates("patient_id").set_index("patient_id")
    missing = [name for name in sample.patient_id if name not in rows.index]
    if missing:
        reason = f"the reference lacks {len(missing)} of {len(sample.y)} patients"
        nothing = not_estimable(reason, n=len(sample.y), method="reference")
        return [_at(sample, "reference", name, nothing) for name in ("reference_auc_macro", "auc_macro_behind")]
    best = rows.loc[list(sample.patient_id), columns].to_numpy(np.float64)
    macro, behind = macro_auc_difference(
        sample.y,
        best,
        sample.probabilities,
        classes,
        resamples=config.analysis.resamples,
        seed=config.seed,
    )
    found = [_at(sample, "reference", "reference_auc_macro", macro)]
    found.append(_at(sample, "reference", "auc_macro_behind", behind))
    areas = one_vs_rest(sample.y, best, classes)
    return found + [
        _at(sample, "reference", "reference_auc", a, name) for a, name in zip(areas, classes, strict=True)
    ]


def _at(sample: Sample, part: str, quantity: str, estimate: Estimate, class_name: str = "") -> Metric:
    """An estimate at the sample's place."""
    return Metric(part, sample.split, quantity, estimate, class_name, sample.cohort, sample.site)
