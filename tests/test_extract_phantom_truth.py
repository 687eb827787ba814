"""The phantom's planted truth: the best possible classifier and the hazards."""

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from scipy.special import logit
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from extract.phantom.truth import (
    LOG_HAZARD,
    LOG_HAZARD_PER_DECADE,
    PRIOR,
    TRAITS,
    best_possible_auc,
    draw_scores,
    draw_survival,
    posterior,
    trait_values,
)


def _drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.choice(3, size=n, p=PRIOR)
    return y, draw_scores(y, rng)


def test_posterior_agrees_with_discriminant_analysis_on_the_traits_as_written() -> None:
    """LDA fitted by another implementation on log or logit of the values reaches the same AUC and probabilities."""
    y, scores = _drawn(30_000, 1)
    values = pd.DataFrame([trait_values(row) for row in scores])
    linked = np.column_stack(
        [np.log(values[t.name]) if t.link == "log" else logit(values[t.name]) for t in TRAITS],
    )
    lda = LinearDiscriminantAnalysis().fit(linked[:20_000], y[:20_000])
    theirs, ours = lda.predict_proba(linked[20_000:]), posterior(scores[20_000:])
    held = y[20_000:]
    auc = [roc_auc_score(held, p, multi_class="ovr", average="macro") for p in (theirs, ours)]
    assert auc[0] == pytest.approx(auc[1], abs=0.01)
    assert best_possible_auc(n_draws=50_000) == pytest.approx(auc[0], abs=0.01)
    assert np.abs(theirs - ours).mean() < 0.01


def test_best_possible_auc_leaves_room_and_is_reproducible() -> None:
    assert 0.95 < best_possible_auc(n_draws=50_000, seed=4) < 0.97
    assert best_possible_auc(n_draws=1_000, seed=4) == best_possible_auc(n_draws=1_000, seed=4)


def test_a_single_signal_has_a_best_possible_auc_of_its_own() -> None:
    """Uptake alone: the macro AUC agrees with scikit-learn's of the posterior, and zero against rest stays easy."""
    rng = np.random.default_rng(5)
    y = rng.choice(3, size=20_000, p=PRIOR)
    p = posterior(draw_scores(y, rng, ["ktrans_per_min"]), ["ktrans_per_min"])
    theirs = roc_auc_score(y, p, multi_class="ovr", average="macro")
    assert best_possible_auc(n_draws=20_000, signal=["ktrans_per_min"]) == pytest.approx(theirs, abs=0.01)
    assert theirs < 0.85 < 0.94 < roc_auc_score(y == 0, p[:, 0])


def test_posterior_is_calibrated() -> None:
    """Of the patients given 60 to 80 % for a class, that many have it."""
    y, scores = _drawn(60_000, 2)
    p = posterior(scores)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    for k in range(3):
        some = (p[:, k] > 0.6) & (p[:, k] < 0.8)
        assert (y[some] == k).mean() == pytest.approx(p[some, k].mean(), abs=0.03)


def test_every_class_differs_from_the_rest() -> None:
    y, scores = _drawn(40_000, 3)
    p = posterior(scores)
    for k in range(3):
        assert roc_auc_score(y == k, p[:, k]) > 0.93


def test_trait_values_stay_in_their_ranges() -> None:
    for score in (-5.0, 5.0):
        values = trait_values(np.full(len(TRAITS), score))
        for trait in TRAITS:
            assert values[trait.name] > 0
            assert trait.link == "log" or values[trait.name] < 1


def test_cox_finds_the_planted_hazard_ratios() -> None:
    """5,000 patients: every log hazard ratio within three standard errors, by lifelines."""
    rng = np.random.default_rng(0)
    y = rng.choice(3, size=5_000, p=PRIOR)
    age = rng.uniform(35, 75, 5_000)
    time, event = draw_survival(y, age, rng)
    frame = pd.DataFrame({"time": time, "event": event, "low": y == 1, "positive": y == 2, "decade": age / 10})
    fit = CoxPHFitter().fit(frame.astype(float), "time", "event")
    planted = {"low": LOG_HAZARD[1], "positive": LOG_HAZARD[2], "decade": LOG_HAZARD_PER_DECADE}
    for name, beta in planted.items():
        assert abs(fit.params_[name] - beta) < 3 * fit.standard_errors_[name]
        assert fit.standard_errors_[name] < 0.07
    assert (time > 0).all()
    assert 0.38 < event.mean() < 0.48
