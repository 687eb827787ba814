"""Recalibration as a named act: predictions for other class shares, or with intercepts of each site's own.

Nothing here happens unless ``analysis.recalibrate`` names it, and nothing else in the analysis uses its result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy.special import softmax

from analysis.calibration.brier import LOG_CLIP
from analysis.calibration.calibrators import FOLDS, folds_of
from analysis.calibration.comparison import LEAST
from analysis.calibration.logistic_model import CLIP, class_design, fit_logistic, one_hot
from analysis.patients.samples import Sample, split_samples
from triher.errors import StopRun, unknown_name
from triher.predictions import probability_columns
from triher.types import Labels, Probabilities

_SUM_TOLERANCE = 1e-6

Shares = Float64[np.ndarray, " class"]


def stated_shares(prevalence: Mapping[str, float], classes: tuple[str, ...]) -> Shares:
    """The shares of ``analysis.prevalence`` in the order of the classes.

    Raises:
        StopRun: ``unknown_name`` for a class that the scheme lacks, ``config_value`` where a class of the scheme is
            missing or the shares do not sum to 1.

    >>> stated_shares({"low": 0.5, "zero": 0.3, "positive": 0.2}, ("zero", "low", "positive")).tolist()
    [0.3, 0.5, 0.2]
    """
    for name in prevalence:
        if name not in classes:
            raise unknown_name("class in analysis.prevalence", name, classes)
    missing = [name for name in classes if name not in prevalence]
    total = sum(prevalence.values())
    if missing or abs(total - 1) > _SUM_TOLERANCE:
        found = f"gives no share for {', '.join(missing)}" if missing else f"sums to {total:g}"
        message = f"analysis.prevalence {found}; expected a share for each of {', '.join(classes)}, together 1"
        remedy = "give the share of every class where the model is to be used"
        raise StopRun("config_value", message, remedy=remedy)
    return np.array([prevalence[name] for name in classes])


def weighed_alike(stages: Mapping[str, Any]) -> bool:
    """Whether the probabilities are those of a population in which all classes are equally common.

    A head that is fitted on a trained encoder learns the shares of its patients anew; the head ``network`` does not.

    Args:
        stages: the record of the run's stages; may be empty.
    """
    classified = stages.get("classify", {})
    if classified.get("settings", {}).get("class_weights") == "balanced":
        return True
    own = stages.get("finetune", {}).get("choices", {}).get("finetune", {})
    alike = own.get("class_weights") == "balanced" or bool(own.get("balanced_sampling"))
    return alike and classified.get("head") == "network"


def training_shares(
    samples: tuple[Sample, ...], stages: Mapping[str, Any], classes: tuple[str, ...]
) -> tuple[Shares, str]:
    """The class shares that the model learned, and in words where they come from.

    Those of the development patients, whom every model of the run was trained on but for a fold; equal shares where
    all classes were given the same weight, see `weighed_alike`.

    Args:
        samples: of each split.
        stages: the record of the run's stages; may be empty.
        classes: of the scheme.

    Raises:
        StopRun: ``config_value`` where there are no development patients, or none of some class.
    """
    if weighed_alike(stages):
        return np.full(len(classes), 1 / len(classes)), "equal shares, as classes were weighted alike in training"
    counts = np.zeros(len(classes))
    for sample in samples:
        if sample.split == "oof":
            counts = np.bincount(sample.y, minlength=len(classes)).astype(float)
    if not counts.all():
        message = (
            "analysis.recalibrate is 'prevalence', but the class shares of the training are not known: the "
            "prediction table holds no development patients (split 'oof') of every class"
        )
        raise StopRun("config_value", message, remedy="analyze the run that trained the model")
    return counts / counts.sum(), f"{int(counts.sum())} development patients"


def shift_prevalence(p: Probabilities, old: Shares, new: Shares) -> Probabilities:
    """Probabilities for a population with other class shares but the same images within each class.

    In proportion to p new / old (Saerens, Latinne & Decaestecker, Neural Comput 2002;14:21).

    >>> shift_prevalence(np.array([[0.5, 0.5]]), np.array([0.5, 0.5]), np.array([0.8, 0.2])).round(6).tolist()
    [[0.8, 0.2]]
    """
    scaled = p * (new / old)
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))


def fit_intercepts(p: Probabilities, y: Labels) -> Shares:
    """An intercept for each class, the first 0, with the slopes fixed (as `analysis.calibration.multinomial`).

    Args:
        p: probabilities, clipped at 1e-6.
        y: classes, at least 1 patient of each.
    """
    n_classes = p.shape[1]
    logs = np.log(np.clip(p, CLIP, 1))
    fit = fit_logistic(class_design(np.ones((len(p), 1)), n_classes), one_hot(y, n_classes), logs)
    return np.zeros(n_classes) if fit is None else np.concatenate([[0.0], fit.coefficients])


def add_intercepts(p: Probabilities, intercepts: Probabilities) -> Probabilities:
    """In proportion to p exp(intercept), with intercepts for each patient.

    >>> add_intercepts(np.array([[0.5, 0.5]]), np.array([[0.0, np.log(4)]])).round(6).tolist()
    [[0.2, 0.8]]
    """
    return softmax(np.log(np.maximum(p, LOG_CLIP)) + intercepts, axis=1)


@dataclass(frozen=True)
class SiteIntercepts:
    """What was done at one site of one split."""

    split: str
    cohort: str
    site: str
    counts: tuple[int, ...]
    """Labeled patients of each class."""
    intercepts: tuple[float, ...] | None
    """Of all labeled patients of the site, the first class 0; None where they were too few and nothing was done."""


def recalibrate_sites(frame: pd.DataFrame, scheme: str, seed: int) -> tuple[pd.DataFrame, tuple[SiteIntercepts, ...]]:
    """Give every site intercepts of its own, the slopes untouched.

    A labeled patient gets intercepts that were fitted on the site's other folds, an unlabeled one those of all its
    labeled patients. A site with fewer than 10 labeled patients of a class in a split is left as it is. With repeats,
    intercepts are fitted on the averaged probabilities and applied to each repeat.

    Args:
        frame: the prediction table, with all repeats.
        scheme: the label scheme.
        seed: of the folds.
    """
    changed, columns = frame.copy(), probability_columns(scheme)
    done: list[SiteIntercepts] = []
    for key, rows in frame.groupby(["split", "cohort", "site"], sort=True):
        split, cohort, site = (str(part) for part in (key if isinstance(key, tuple) else (key,)))
        [sample] = split_samples(rows, scheme)
        counts = tuple(int(n) for n in np.bincount(sample.y, minlength=len(columns)))
        if min(counts) < LEAST:
            done.append(SiteIntercepts(split, cohort, site, counts, None))
            continue
        own, everybody = _intercepts(sample, seed)
        shift = np.array([own.get(str(name), everybody) for name in rows["patient_id"]])
        changed.loc[rows.index, columns] = add_intercepts(rows[columns].to_numpy(np.float64), shift)
        done.append(SiteIntercepts(split, cohort, site, counts, tuple(everybody.tolist())))
    return changed, tuple(done)


def _intercepts(sample: Sample, seed: int) -> tuple[dict[str, Shares], Shares]:
    """The intercepts for each labeled patient, who did not help to fit them, and those of all."""
    own: dict[str, Shares] = {}
    for learn, rest in folds_of(sample.y, FOLDS, seed):
        found = fit_intercepts(sample.probabilities[learn], sample.y[learn])
        own |= {sample.patient_id[i]: found for i in rest}
    return own, fit_intercepts(sample.probabilities, sample.y)
