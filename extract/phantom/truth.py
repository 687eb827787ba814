"""What is true of the phantom's patients: lesion traits by class, the best possible classifier, survival."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int
from numpy.random import Generator
from scipy.special import expit, logit, softmax
from scipy.stats import rankdata

from triher.errors import unknown_name
from triher.labels import scheme_classes
from triher.types import Labels, Probabilities, Scores, Vectors

CLASSES = scheme_classes("triple")
PRIOR = (0.3, 0.4, 0.3)
"""Part of the patients in each class."""


@dataclass(frozen=True)
class Trait:
    """A property of a lesion whose mean depends on the class.

    Its score is normal with SD 1 in every class, independent of the other traits; the value is the score
    after shift, scale and the inverse of `link`.
    """

    name: str
    link: Literal["log", "logit"]
    center: float
    """Value at score 0."""
    spread: float
    """SD of the linked value within a class."""
    means: tuple[float, float, float]
    """Mean score of zero, low and positive."""


TRAITS = (
    # Ktrans and ve lie in the range reported for breast cancers (Tofts et al., Magn Reson Med 1995;33:564).
    Trait("ktrans_per_min", "log", 0.20, 0.75, (-1.85, 0.4, 0.8)),
    Trait("ve_fraction", "logit", 0.40, 0.35, (0.1, 0.1, -0.2)),
    Trait("heterogeneity_log_sd", "log", 0.28, 0.75, (-0.3, -0.45, 1.3)),
    Trait("rim_fraction", "logit", 0.40, 0.90, (-0.2, 0.3, -0.1)),
    Trait("irregularity_fraction", "logit", 0.09, 0.85, (0.2, -1.15, 0.9)),
)
_MEANS = np.array([trait.means for trait in TRAITS]).T

LOG_HAZARD = (0.0, 0.5, 1.1)
"""Of each class against zero."""
LOG_HAZARD_PER_DECADE = 0.25
"""Of age, centered at 55 years."""
_WEIBULL_SHAPE = 1.3
_WEIBULL_SCALE_MONTHS = 150.0
_FOLLOW_UP_MONTHS = (48.0, 96.0)  # from entry, uniform over the accrual, to the end of the study
_LOSS_PER_MONTH = 0.003


def class_means(signal: Sequence[str] = ()) -> Float64[np.ndarray, "class trait"]:
    """Mean score of each trait in each class.

    Args:
        signal: the traits that tell the classes apart, all where it is empty. Of every other trait each class has the
            mean of all patients.

    Raises:
        StopRun: ``unknown_name`` for a trait that is none.
    """
    names = [trait.name for trait in TRAITS]
    for name in signal:
        if name not in names:
            raise unknown_name("trait of the phantom", name, names)
    differs = np.array([not signal or name in signal for name in names])
    return np.where(differs, _MEANS, np.array(PRIOR) @ _MEANS)


def draw_scores(y: Labels, rng: Generator, signal: Sequence[str] = ()) -> Vectors:
    """Draw the trait scores of lesions of known class, one column a trait of `TRAITS`; `signal` as `class_means`."""
    return class_means(signal)[y] + rng.standard_normal((len(y), len(TRAITS)))


def trait_values(scores: Float64[np.ndarray, " trait"]) -> dict[str, float]:
    """One lesion's traits by name, in their units.

    >>> round(trait_values(np.zeros(5))["ktrans_per_min"], 2)
    0.2
    """
    values = {}
    for trait, score in zip(TRAITS, scores, strict=True):
        shift = trait.spread * float(score)
        if trait.link == "log":
            values[trait.name] = trait.center * math.exp(shift)
        else:
            values[trait.name] = float(expit(logit(trait.center) + shift))
    return values


def posterior(scores: Vectors, signal: Sequence[str] = ()) -> Probabilities:
    """Probability of each class given the true traits: no classifier can do better.

    Bayes' rule with normal densities of equal, spherical covariance, which is linear discriminant analysis with known
    means: ``softmax(log prior - |score - mean|^2 / 2)``. `signal` as for `class_means`.
    """
    distance = ((scores[:, None, :] - class_means(signal)) ** 2).sum(axis=2)
    return softmax(np.log(PRIOR) - distance / 2, axis=1)


def best_possible_auc(*, n_draws: int = 100_000, seed: int = 0, signal: Sequence[str] = ()) -> float:
    """Macro one-vs-rest AUC of `posterior` in the population, by drawing patients; `signal` as for `class_means`.

    >>> 0.95 < best_possible_auc(n_draws=20_000) < 0.97
    True
    """
    rng = np.random.default_rng(seed)
    y = rng.choice(len(CLASSES), size=n_draws, p=PRIOR)
    p = posterior(draw_scores(y, rng, signal), signal)
    return float(np.mean([_auc(y == k, p[:, k]) for k in range(len(CLASSES))]))


def _auc(is_case: np.ndarray, score: Scores) -> float:
    """Mann-Whitney statistic divided by the number of pairs."""
    n_cases = int(is_case.sum())
    above = rankdata(score)[is_case].sum() - n_cases * (n_cases + 1) / 2
    return float(above / (n_cases * (len(score) - n_cases)))


def draw_survival(
    y: Labels, age_years: Float64[np.ndarray, " patient"], rng: Generator
) -> tuple[Float64[np.ndarray, " patient"], Int[np.ndarray, " patient"]]:
    """Draw follow-up under proportional hazards (Bender et al., Stat Med 2005;24:1713).

    Weibull baseline; censored by the end of the study, or earlier by loss at a constant rate.

    Returns:
        Time in months to event or censoring, above 0; 1 for an event, 0 for censoring.
    """
    log_hazard = np.array(LOG_HAZARD)[y] + LOG_HAZARD_PER_DECADE * (age_years - 55) / 10
    to_event = _WEIBULL_SCALE_MONTHS * (rng.exponential(size=len(y)) / np.exp(log_hazard)) ** (1 / _WEIBULL_SHAPE)
    to_end = np.minimum(rng.uniform(*_FOLLOW_UP_MONTHS, len(y)), rng.exponential(1 / _LOSS_PER_MONTH, len(y)))
    return np.minimum(to_event, to_end), (to_event <= to_end).astype(int)
