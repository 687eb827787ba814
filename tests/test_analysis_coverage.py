"""Coverage of prediction sets: by hand, against another implementation, and in simulated cohorts."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from statsmodels.stats.multitest import multipletests

from analysis.decisions.coverage import (
    GIVEN,
    always_in,
    coverage_p,
    cross_conformal,
    fewest_calibration,
    judge_coverage,
    read_sets,
    set_sizes,
    split_sets,
)
from classify.conformal import order_statistic
from triher.errors import StopRun

CLASSES = ("zero", "low", "positive")


def draw(rng, n, *, shift=0.0, prior=(0.4, 0.4, 0.2)):
    y = rng.choice(3, n, p=prior)
    p = np.exp(rng.normal(size=(n, 3)) + np.eye(3)[y] * (1.2 - shift)) * np.array(prior)
    return y, p / p.sum(axis=1, keepdims=True)


def table(y, p, *, split="oof", sets=None, fold=0, cohort="A", site="A", repeat=0, start=0):
    frame = pd.DataFrame({"patient_id": [f"P{start + i:04d}" for i in range(len(y))], "cohort": cohort, "site": site})
    frame = frame.assign(split=split, repeat=repeat, fold=fold, seed=0, y=np.asarray(y, float))
    frame[["p_zero", "p_low", "p_positive"]] = p
    return frame if sets is None else frame.assign(set=sets)


def by_place(rows):
    return {(row.cohort, row.site, row.class_name): row for row in rows}


def test_coverage_by_hand():
    sets = ["zero", "zero|low", "low", "", "zero|low|positive", "low", "positive", "zero|low|positive"]
    y = [0, 0, 0, 1, 1, 1, 2, 2]
    found = split_sets(table(y, np.full((8, 3), 1 / 3), sets=sets, site=list("ABABABAB")), "triple", "oof", 0.1)
    assert found.origin == GIVEN
    rows = by_place(judge_coverage(found, CLASSES, 0.1))
    shares = {place: row.covered.value for place, row in rows.items() if place[1] == ""}
    assert shares == pytest.approx(
        {("", "", ""): 6 / 8, ("", "", "zero"): 2 / 3, ("", "", "low"): 2 / 3, ("", "", "positive"): 1}
    )
    # Patients 0, 2, 4, 6 are at site A: covered, not, covered, covered.
    assert rows["A", "A", ""].covered.value == 0.75
    assert rows["A", "A", "zero"].covered.value == 0.5
    assert rows["A", "A", "zero"].p is None
    # P(X <= 6 | 8, 0.9) = 1 - 0.9^8 - 8 * 0.1 * 0.9^7.
    assert rows["", "", ""].p.value == pytest.approx(1 - 0.9**8 - 0.8 * 0.9**7)
    sizes = set_sizes(found.members)
    assert {name: e.value for name, e in sizes.items()} == pytest.approx(
        {"set_size": 12 / 8, "sets_empty": 1 / 8, "sets_single": 4 / 8, "sets_full": 2 / 8}
    )


def test_p_values_are_binomial_and_corrected_over_the_split():
    rng = np.random.default_rng(0)
    y, p = draw(rng, 120)
    sets = ["|".join(np.array(CLASSES)[rng.random(3) < 0.8]) for _ in y]
    found = split_sets(table(y, p, sets=sets, site=[f"s{i % 4}" for i in range(120)]), "triple", "oof", 0.1)
    rows = [row for row in judge_coverage(found, CLASSES, 0.1) if row.p is not None]
    assert len(rows) == 1 + 3 + 4
    for row in rows:
        hits = round(row.covered.value * row.covered.n)
        assert row.p.value == pytest.approx(binom.cdf(hits, row.covered.n, 0.9))
    corrected = multipletests([row.p.value for row in rows], method="fdr_bh")[1]
    assert [row.p_adjusted.value for row in rows] == pytest.approx(corrected.tolist())


def test_quantiles_by_hand_over_two_folds():
    # Fold 1 calibrates fold 0 and the other way round; at alpha 0.5 and three patients a class the quantile is the
    # second smallest score, ceil(4 * 0.5) = 2.
    p0 = np.array([0.9, 0.6, 0.3, 0.8, 0.5, 0.2])
    y, fold = np.zeros(6, int), np.array([0, 0, 0, 1, 1, 1])
    members = cross_conformal(np.column_stack([p0, 1 - p0]), y, fold, 0.5)
    assert order_statistic(3, 0.5) == 2
    assert members[:, 0].tolist() == [True, True, False, True, False, False], "p at least 0.5, and at least 0.6"
    assert members[:, 1].all(), "nobody calibrates the second class"


def test_exchangeable_patients_are_covered_as_promised():
    rng = np.random.default_rng(1)
    hits, n = np.zeros(3), np.zeros(3)
    for _ in range(60):
        y, p = draw(rng, 300)
        found = split_sets(table(y, p, fold=np.arange(300) % 5), "triple", "oof", 0.05)
        for c in range(3):
            hits[c] += found.members[y == c, c].sum()
            n[c] += (y == c).sum()
    coverage = hits / n
    # At least 95 %, at most 1 / (48 + 1) more where 48 patients calibrate a class; 3.5 standard errors of n / 5.
    slack = 3.5 * np.sqrt(0.05 * 0.95 / (n / 5))
    assert (coverage > 0.95 - slack).all()
    assert (coverage < 0.95 + 1 / 40 + slack).all()
    assert (coverage > 0.93).all()
    assert (coverage < 0.975).all()


def test_a_shift_between_cohorts_voids_the_promise_and_is_found():
    rng = np.random.default_rng(2)
    y, p = draw(rng, 400)
    new_y, new_p = draw(rng, 400, shift=1.2)
    frame = pd.concat([table(y, p), table(new_y, new_p, split="test", start=400)])
    found = split_sets(frame, "triple", "test", 0.1)
    assert found.origin.startswith("made by quantiles of the development patients")
    [overall, *_] = judge_coverage(found, CLASSES, 0.1)
    assert overall.covered.high < 0.9
    assert overall.p_adjusted.value < 0.001


def test_the_first_repeat_counts_and_the_order_of_rows_does_not():
    y, p = [0, 1, 2, 0], np.full((4, 3), 1 / 3)
    first = table(y, p, sets=["zero", "low", "zero", "low"])
    frame = pd.concat([first, table(y, p, sets=[""] * 4, repeat=1)])
    found = split_sets(frame, "triple", "oof", 0.1)
    assert judge_coverage(found, CLASSES, 0.1)[0].covered.value == 0.5
    turned = split_sets(frame.sample(frac=1, random_state=0), "triple", "oof", 0.1)
    assert judge_coverage(turned, CLASSES, 0.1) == judge_coverage(found, CLASSES, 0.1)


@pytest.mark.fault("E2", "E17")
def test_what_cannot_be_judged_says_why():
    y, p = np.array([0, 1, 0, 1]), np.full((4, 3), 1 / 3)
    one_fold = "the table has no column `set`, and no other fold to calibrate on"
    assert split_sets(table(y, p), "triple", "oof", 0.1) == one_fold, "nobody calibrates on themselves"
    assert split_sets(table(y, p, split="new"), "triple", "new", 0.1) == one_fold
    assert split_sets(table(np.full(4, np.nan), p), "triple", "oof", 0.1) == "0 labeled patients"
    found = split_sets(table(y, p, sets=["zero"] * 4), "triple", "oof", 0.1)
    rows = by_place(judge_coverage(found, CLASSES, 0.1))
    assert rows["", "", "positive"].covered.reason == "0 HER2-positive"
    assert rows["", "", "positive"].p.reason == "0 HER2-positive"
    assert rows["", "", "positive"].p_adjusted is None
    assert "over 3 tests" in rows["", "", "zero"].p_adjusted.method
    assert math.isnan(set_sizes(found.members[:1])["set_size"].value)


def test_a_set_with_an_unknown_class_stops():
    with pytest.raises(StopRun, match="unknown class in the column set 'lou'; did you mean 'low'"):
        read_sets(["zero|lou"], CLASSES)


def test_too_few_calibration_patients_make_a_class_inevitable():
    y = np.array([0] * 20 + [1] * 20 + [2] * 8)
    p = np.random.default_rng(3).dirichlet(np.ones(3), 48)
    found = split_sets(table(y, p, fold=np.arange(48) % 4), "triple", "oof", 0.1)
    assert always_in(found.members, CLASSES) == ("positive",)
    assert fewest_calibration(0.1) == 9
    for alpha in (0.05, 0.1, 0.2, 0.3):
        n = fewest_calibration(alpha)
        assert order_statistic(n, alpha) <= n < order_statistic(n - 1, alpha) + 1


def test_p_value_of_nobody():
    assert coverage_p(0, 0, 0.1, of_what="patients").reason == "0 patients"
