"""The models beside the model: how each tells the classes apart, and how far the model is ahead of it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.discrimination.aucs import shortage
from analysis.discrimination.delong import delong
from analysis.discrimination.within_site import within_site_auc
from analysis.inference.bootstrap import macro_auc_lead
from analysis.inference.cross_validation import Folds, folds_of, widened
from analysis.inference.strata import sample_strata
from analysis.metrics import Metric
from analysis.patients.samples import Sample, class_label, split_samples
from analysis.wording import count
from triher.errors import StopRun
from triher.estimate import Estimate, not_estimable
from triher.labels import scheme_classes
from triher.predictions import read_predictions
from triher.settings import Config
from triher.tables import require_column
from triher.types import Labels, Probabilities

TOLD_BY = {
    "clinical": "the covariates",
    "volume": "the lesion's volume",
    "acquisition": "the way the images were taken",
}
"""What baselines go by, within a sentence."""
BASELINES = ("majority", "clinical", "volume", "acquisition")
"""What needs no image, or nothing of what it shows but a size: a claim for the model must beat all of them."""
CONTROL = "control region"
"""The model on regions without lesion."""
_NAMED = 5  # patients in a message
_NOISE = re.compile(r"(label noise .+), draw [0-9]+")


@dataclass(frozen=True)
class Pair:
    """The model and a companion on the patients whom both predicted."""

    name: str
    common: Sample
    """The model's predictions of those patients."""
    companion: Probabilities
    strata: Labels
    """Class and cohort together, within which patients are resampled."""
    folds: Folds | None
    """How the patients were predicted, where several models did it."""


def read_companions(path: Path, scheme: str) -> pd.DataFrame:
    """Read the prediction table of the companions, whose column ``model`` names them.

    Raises:
        StopRun: as `triher.predictions.read_predictions`; ``column_missing``.
    """
    frame = read_predictions(path, scheme)
    require_column(frame, "model", purpose="prediction table of the companions", where=str(path))
    return frame


def judge_beside(companions: pd.DataFrame, samples: Sequence[Sample], config: Config) -> list[Metric]:
    """Judge every companion in every split, in the order of the table.

    Truth is what the model is judged by, ``n`` counts the patients whom model and companion have in common.

    Args:
        companions: as `read_companions` gives it; repeats are averaged for each companion.
        samples: the model's splits.
        config: the run's configuration; ``seed`` starts every bootstrap.

    Returns:
        For each companion ``companion_auc_macro``, ``auc_macro_ahead`` (model minus companion), and
        ``companion_auc_within_site`` where there are several sites. Draws of label noise are one companion a rate,
        with the smallest and largest draw in the place of limits, and ``companion_draws``.
    """
    metrics: list[Metric] = []
    for sample in samples:
        noisy: dict[str, list[Pair]] = {}
        for pair in pairs(companions, sample, config.scheme):
            drawn = _NOISE.fullmatch(pair.name)
            if drawn:
                noisy.setdefault(drawn[1], []).append(pair)
            else:
                metrics += _judge(pair, config)
        for rate, draws in noisy.items():
            metrics += _judge_noise(rate, draws, config)
    return metrics


def pairs(companions: pd.DataFrame, sample: Sample, scheme: str) -> Iterator[Pair]:
    """The model beside each companion that has predictions in the split."""
    within = companions[companions["split"] == sample.split]
    for name, rows in within.groupby("model", sort=False):
        yield pair_up(str(name), sample, rows, scheme)


def pair_up(name: str, sample: Sample, rows: pd.DataFrame, scheme: str) -> Pair:
    """The model beside another on the patients whom both predicted, in the order of the sample.

    Args:
        name: what the other is called.
        sample: the model's patients of a split.
        rows: the other's prediction table of the same split, not empty; repeats are averaged.
        scheme: the label scheme of both.

    Raises:
        StopRun: ``truth_differs`` when a patient's class is another one in the other table.
    """
    [other] = split_samples(rows, scheme)
    place = {patient_id: i for i, patient_id in enumerate(other.patient_id)}
    mine = [i for i, patient_id in enumerate(sample.patient_id) if patient_id in place]
    ids = tuple(sample.patient_id[i] for i in mine)
    theirs = [place[patient_id] for patient_id in ids]
    _require_equal_truth(name, sample.y[mine], other.y[theirs], ids)
    common = replace(
        sample,
        patient_id=ids,
        y=sample.y[mine],
        probabilities=sample.probabilities[mine],
        place=sample.place[mine],
    )
    folds = folds_of(rows, sample.split, cohort=sample.cohort, site=sample.site)
    return Pair(name, common, other.probabilities[theirs], sample_strata(rows, common), folds)


def _require_equal_truth(name: str, mine: Labels, theirs: Labels, ids: Sequence[str]) -> None:
    """Refuse to compare predictions of different classes."""
    differing = [ids[i] for i in np.flatnonzero(mine != theirs).tolist()]
    if differing:
        named = ", ".join(differing[:_NAMED])
        how_many = f"{count(len(differing), 'patient')} of {len(ids)}"
        message = f"'{name}' gives {how_many} another class than this run does: {named}"
        raise StopRun("truth_differs", message)


def lead(pair: Pair, config: Config) -> dict[str, Estimate]:
    """The companion's macro AUC, how far the model is ahead of it, and its AUC within sites if there are several.

    Where several models predicted the patients, intervals are widened as the model's own are.
    """
    common, classes = pair.common, scheme_classes(config.scheme)
    n, seed = config.analysis.resamples, config.seed
    macro, ahead = macro_auc_lead(
        common.y, common.probabilities, pair.companion, classes, resamples=n, seed=seed, strata=pair.strata
    )
    found = {"companion_auc_macro": macro, "auc_macro_ahead": ahead}
    if common.n_places > 1:
        within = within_site_auc(common.y, pair.companion, common.place, classes, resamples=n, seed=seed)
        found["companion_auc_within_site"] = within
    if pair.folds is None:
        return found
    return {name: widened(e, pair.folds, bounds=(-1.0 if e is ahead else 0.0, 1.0)) for name, e in found.items()}


def is_label_noise(name: str) -> bool:
    """Whether a companion is a draw of label noise."""
    return _NOISE.fullmatch(name) is not None


def _judge(pair: Pair, config: Config) -> list[Metric]:
    """The rows of one companion."""
    return [Metric("beside", pair.common.split, q, e, pair.name) for q, e in lead(pair, config).items()]


def _judge_noise(rate: str, drawn: Sequence[Pair], config: Config) -> list[Metric]:
    """The rows of one rate of label noise."""
    common, classes = drawn[0].common, scheme_classes(config.scheme)
    n, draws = len(common.y), f"mean of {len(drawn)} draws of labels; low and high are the smallest and largest draw"
    macro, ahead = f"macro one-vs-rest AUC, {draws}", f"difference in macro one-vs-rest AUC, {draws}"
    missing = shortage({class_label(name): int(np.sum(common.y == c)) for c, name in enumerate(classes)}, fewest=1)
    if missing:
        found = {
            "companion_auc_macro": not_estimable(missing, n=n, method=macro),
            "auc_macro_ahead": not_estimable(missing, n=n, method=ahead),
        }
    else:
        noisy = np.array([_macro(pair.common, pair.companion) for pair in drawn])
        own = np.array([_macro(pair.common, pair.common.probabilities) for pair in drawn])
        found = {"companion_auc_macro": _range(noisy, n, macro), "auc_macro_ahead": _range(own - noisy, n, ahead)}
    found["companion_draws"] = Estimate(float(len(drawn)), np.nan, np.nan, n, "number of draws of labels")
    return [Metric("beside", common.split, name, estimate, rate) for name, estimate in found.items()]


def _macro(sample: Sample, probabilities: Probabilities) -> float:
    """The macro AUC as a number."""
    areas = [delong(p[sample.y == c], p[sample.y != c])[0] for c, p in enumerate(probabilities.T)]
    return float(np.mean(areas))


def _range(values: np.ndarray, n: int, method: str) -> Estimate:
    """Mean, smallest and largest."""
    return Estimate(float(values.mean()), float(values.min()), float(values.max()), n, method)
