"""Sending doubtful patients to pathology: how right the model is on those whom it keeps.

Patients are kept by the largest probability (Chow, IEEE Trans Inf Theory 1970;16:41), by a prediction set of one
class, or by lying inside the training range. Over all shares kept, the error of the kept is the risk-coverage curve
(El-Yaniv & Wiener, J Mach Learn Res 2010;11:1605), and its mean the AURC (Geifman, Uziel & El-Yaniv, ICLR 2019).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from analysis.discrimination.auc_kernel import Multiplicities
from analysis.discrimination.confusion import accuracy, balanced_accuracy, confusion_matrix
from analysis.inference.bootstrap import macro_auc, percentile, resampled
from analysis.inference.intervals import FEWEST, wilson
from analysis.patients.samples import DECIMALS, class_label
from triher.estimate import Estimate, not_estimable
from triher.types import Labels, Probabilities, Scores

SHARES = tuple(round(0.05 * step, 2) for step in range(19))
"""Sent to pathology, along the curve: 0 to 90 %."""
NAMED_SHARES = (0.1, 0.2, 0.3, 0.5)
"""Those of the table."""

Errors = Bool[np.ndarray, " patient"]


@dataclass(frozen=True)
class RiskCoverage:
    """The error among the kept, over the share sent to pathology by the largest probability."""

    shares: tuple[float, ...]
    error: tuple[Estimate, ...]
    gain: tuple[Estimate, ...]
    """Accuracy of the kept minus that of all patients."""
    aurc: Estimate
    """Mean error over all numbers of kept patients; lower is better."""
    at_random: float
    """The AURC of keeping patients by lot, which is the error of all."""
    at_best: float
    """The AURC if every wrong answer were sent away before any right one."""


@dataclass(frozen=True)
class Option:
    """One rule, and what is known of those whom it keeps and sends away."""

    name: str
    """In ``metrics.csv``: ``share_20``, ``single_set``, ``inside``."""
    label: str
    """In print."""
    kept: int
    sent: Estimate
    """Share of all patients who are sent away."""
    sent_by_class: tuple[Estimate, ...]
    """Share of each class who are sent away."""
    accuracy: Estimate
    """Of the kept, as the next two."""
    balanced_accuracy: Estimate
    auc_macro: Estimate
    mix_kept: tuple[Estimate, ...]
    """Share of each class among the kept."""
    mix_sent: tuple[Estimate, ...]
    """Share of each class among those sent away."""


def confidence(probabilities: Probabilities) -> Scores:
    """The largest probability of each patient."""
    return np.round(probabilities.max(axis=1), DECIMALS)


def risk_coverage(y: Labels, probabilities: Probabilities, *, resamples: int, seed: int) -> RiskCoverage:
    """The risk-coverage curve with pointwise percentile intervals from a free patient bootstrap.

    Resamples repeat the whole procedure, and let the class mix vary as it would among other patients. Patients of
    equal confidence are kept in random order, in expectation.

    Args:
        y: position of each patient's class.
        probabilities: of the classes; the answer is the likeliest class.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    n, sure = len(y), confidence(probabilities)
    wrong = probabilities.argmax(axis=1) != y
    method = f"{resamples} bootstrap resamples, patients resampled freely, percentile"
    reason = _too_little(wrong, sure)
    if reason:
        return _without_curve(n, reason, method)

    def statistic(counts: Multiplicities) -> Float[np.ndarray, "resample statistic"]:
        risks = kept_error(wrong, sure, counts, np.array(SHARES))
        return np.column_stack([risks, risks[:, :1] - risks, area(wrong, sure, counts)])

    values = statistic(np.ones((1, n), np.int64))[0]
    draws = np.round(resampled(np.zeros(n, np.int64), statistic, resamples=resamples, seed=seed), DECIMALS)
    names = ["error of the kept"] * len(SHARES) + ["gain in accuracy"] * len(SHARES) + ["AURC"]
    found = [
        percentile(float(values[i]), draws[:, i], n=n, method=f"{name}, {method}") for i, name in enumerate(names)
    ]
    k = len(SHARES)
    best = area(wrong, -wrong.astype(float), np.ones((1, n), np.int64))
    return RiskCoverage(
        SHARES, tuple(found[:k]), tuple(found[k : 2 * k]), found[-1], float(wrong.mean()), float(best[0])
    )


def _too_little(wrong: Errors, sure: Scores) -> str:
    """Why there is no curve, if there is none."""
    if len(wrong) < FEWEST:
        return f"only {len(wrong)} labeled patients" if len(wrong) else "0 labeled patients"
    return "all patients have the same largest probability" if np.ptp(sure) == 0 else ""


def _without_curve(n: int, reason: str, method: str) -> RiskCoverage:
    """A curve that says why there is none."""
    nothing = not_estimable(reason, n=n, method=method)
    return RiskCoverage(SHARES, (nothing,) * len(SHARES), (nothing,) * len(SHARES), nothing, math.nan, math.nan)


def _by_confidence(
    wrong: Errors, sure: Scores, counts: Multiplicities
) -> tuple[Float64[np.ndarray, "resample level"], Float64[np.ndarray, "resample level"]]:
    """How many patients, and how many wrong ones, stand at each level of confidence, surest first."""
    order = np.argsort(-sure, kind="stable")
    _, starts = np.unique(-sure[order], return_index=True)
    counts = counts[:, order].astype(np.float64)
    return np.add.reduceat(counts, starts, axis=1), np.add.reduceat(counts * wrong[order], starts, axis=1)


def kept_error(
    wrong: Errors, sure: Scores, counts: Multiplicities, shares: Float64[np.ndarray, " share"]
) -> Float64[np.ndarray, "resample share"]:
    """The share of wrong answers among the surest, when a share of all patients is sent away.

    >>> wrong, sure = np.array([False, True, False, True]), np.array([0.9, 0.8, 0.8, 0.4])
    >>> kept_error(wrong, sure, np.ones((1, 4), int), np.array([0.0, 0.25, 0.5]))
    array([[0.5       , 0.33333333, 0.25      ]])
    """
    n_at, wrong_at = _by_confidence(wrong, sure, counts)
    so_far, wrong_so_far = np.cumsum(n_at, axis=1), np.cumsum(wrong_at, axis=1)
    found = np.empty((len(counts), len(shares)))
    for i, share in enumerate(shares):
        kept = np.maximum(1.0, np.round((1 - share) * so_far[:, -1]))[:, None]
        level = (so_far < kept).sum(axis=1)[:, None]
        n, errors, last, last_errors = (
            np.take_along_axis(a, level, axis=1) for a in (n_at, wrong_at, so_far, wrong_so_far)
        )
        found[:, i] = ((last_errors - errors * (last - kept) / n) / kept)[:, 0]
    return found


def area(wrong: Errors, sure: Scores, counts: Multiplicities) -> Float64[np.ndarray, " resample"]:
    """The AURC: the mean over k = 1..n of the error among the k surest; ties in expectation.

    >>> area(np.array([False, True]), np.array([0.9, 0.6]), np.ones((1, 2), int))
    array([0.25])
    """
    n_at, wrong_at = _by_confidence(wrong, sure, counts)
    so_far = np.cumsum(n_at, axis=1)
    before, wrong_before = so_far - n_at, np.cumsum(wrong_at, axis=1) - wrong_at
    harmonic = np.append(0.0, np.cumsum(1 / np.arange(1, int(so_far[0, -1]) + 1)))
    rate = np.divide(wrong_at, n_at, out=np.zeros_like(wrong_at), where=n_at > 0)
    # Within a level the k surest have `wrong_before + rate (k - before)` wrong answers; dividing by k gives this sum.
    spread = harmonic[so_far.astype(np.int64)] - harmonic[before.astype(np.int64)]
    return np.asarray((wrong_at + (wrong_before - rate * before) * spread).sum(axis=1) / so_far[:, -1])


def surest(probabilities: Probabilities, share: float) -> Bool[np.ndarray, " patient"]:
    """Who is kept when about a share is sent away; patients of equal confidence stay together, and are kept.

    >>> surest(np.array([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6], [0.8, 0.2]]), 0.5)
    array([ True, False, False,  True])
    """
    sure = confidence(probabilities)
    kept = max(1, round((1 - share) * len(sure)))
    return np.asarray(sure >= np.sort(sure)[-kept])


def judge_option(
    name: str,
    label: str,
    kept: Bool[np.ndarray, " patient"],
    y: Labels,
    probabilities: Probabilities,
    classes: tuple[str, ...],
    *,
    resamples: int,
    seed: int,
) -> Option:
    """What one rule does. Intervals take the kept patients as given.

    Args:
        name: for ``metrics.csv``.
        label: in print.
        kept: who is not sent away.
        y: position of each patient's class.
        probabilities: of the classes.
        classes: of the scheme.
        resamples: of the bootstraps.
        seed: of the bootstraps.
    """
    counts = confusion_matrix(y[kept], probabilities[kept])
    labels, draws = tuple(map(class_label, classes)), {"resamples": resamples, "seed": seed}
    by_class = tuple(
        wilson(int((~kept)[y == c].sum()), int(np.sum(y == c)), of_what=labels[c]) for c in range(len(classes))
    )
    return Option(
        name,
        label,
        int(kept.sum()),
        wilson(int((~kept).sum()), len(y), of_what="labeled patients"),
        by_class,
        accuracy(counts),
        balanced_accuracy(counts, classes, **draws),
        macro_auc(y[kept], probabilities[kept], labels, **draws),
        _mix(y[kept], classes, "patients kept"),
        _mix(y[~kept], classes, "patients sent away"),
    )


def _mix(y: Labels, classes: Sequence[str], of_what: str) -> tuple[Estimate, ...]:
    """The share of each class."""
    return tuple(wilson(int(np.sum(y == c)), len(y), of_what=of_what) for c in range(len(classes)))
