import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from analysis.inference.cross_validation import Folds
from analysis.patients.matched import (
    Matched,
    Member,
    Pair,
    low_scores,
    matched_pairs,
    repaired_auc,
    share_right,
    share_strictly_right,
    shown_pairs,
    unmatched_auc,
)
from analysis.patients.matching import criteria, match
from triher.cohort import Cohort, Patient
from triher.errors import StopRun
from triher.labels import scheme_classes
from triher.predictions import probability_columns
from triher.settings import ExplainConfig

CLASSES = scheme_classes("triple")


def patient(name, *, site="A", covariates=None, **groups):
    return Patient(name, "here", site, "", {}, None, covariates=covariates or {}, groups=groups)


def aged(name, age, **groups):
    return patient(name, covariates={"age": float(age)}, **groups)


def cohort_of(patients):
    return Cohort(tuple(patients), (), frozenset())


def predictions(rows, scheme="triple", split="test"):
    """Rows of id, class and probabilities."""
    columns = ["patient_id", "y", *probability_columns(scheme)]
    frame = pd.DataFrame([(name, y, *p) for name, y, p in rows], columns=columns)
    frame["y"] = frame["y"].astype(float)
    return frame.assign(cohort="here", site="A", split=split, repeat=0, fold=0, seed=0)


def member(name, score, *, own=True):
    return Member(patient(name), (1 - score, score, 0.0), score, own)


def of_margins(margins, split="test"):
    """Pairs whose scores differ by so much."""
    pairs = [
        Pair(member(f"z{i:03d}", 0.5 - m / 2, own=m > 0.5), member(f"l{i:03d}", 0.5 + m / 2), 0.0)
        for i, m in enumerate(margins)
    ]
    return Matched(split, (), tuple(pairs), ())


def ids(matched):
    return [(pair.zero.patient.patient_id, pair.low.patient.patient_id) for pair in matched.pairs]


def test_a_worked_example():
    people = [
        aged("z1", 40, menopause="pre"), aged("z2", 50, menopause="pre"), aged("z3", 60, menopause="post"),
        aged("z4", 70, menopause="post"), aged("z5", 44, menopause=""),
        aged("l1", 43, menopause="pre"), aged("l2", 52, menopause="pre"), aged("l3", 61, menopause="post"),
        aged("l4", 90, menopause="post"), aged("p1", 61, menopause="post"),
    ]  # fmt: skip
    frame = predictions(
        [
            ("z1", 0, (0.6, 0.2, 0.2)),
            ("z2", 0, (0.2, 0.3, 0.5)),
            ("z3", 0, (0.3, 0.3, 0.4)),
            ("z4", 0, (0.9, 0.1, 0.0)),
            ("z5", 0, (0.9, 0.1, 0.0)),
            ("l1", 1, (0.1, 0.8, 0.1)),
            ("l2", 1, (0.4, 0.4, 0.2)),
            ("l3", 1, (0.3, 0.3, 0.4)),
            ("l4", 1, (0.1, 0.9, 0.0)),
            ("p1", 2, (0.0, 0.1, 0.9)),
        ]
    )
    found = matched_pairs(frame, cohort_of(people), ExplainConfig(calipers={"age": 5}), "triple")
    assert ids(found) == [("z1", "l1"), ("z2", "l2"), ("z3", "l3")]
    assert {one.patient_id: one.reason for one in found.unmatched} == {
        "l4": "nobody of the other class lies within the calipers",
        "z4": "nobody of the other class lies within the calipers",
        "z5": "menopause not known",
    }
    # Scores: z1 0.25 < l1 0.89; z2 0.6 > l2 0.5; z3 0.5 = l3 0.5.
    assert [pair.is_right for pair in found.pairs] == [1.0, 0.0, 0.5]
    assert share_right(found).value == pytest.approx(0.5)
    assert share_right(found).n == 3
    assert [pair.is_strictly_right for pair in found.pairs] == [True, False, False]
    assert share_strictly_right(found).value == pytest.approx(1 / 3)
    sd = math.sqrt((np.var([40, 50, 60, 70, 44], ddof=1) + np.var([43, 52, 61, 90], ddof=1)) / 2)
    assert found.on[1].sd == pytest.approx(sd)
    assert found.pairs[0].distance == pytest.approx(3 / sd)


def test_the_matching_is_the_best_of_all():
    for seed in range(12):
        rng = np.random.default_rng(seed)
        left = [aged(f"z{i}", a) for i, a in enumerate(rng.normal(50, 12, 4))]
        right = [aged(f"l{i}", a) for i, a in enumerate(rng.normal(55, 12, 5))]
        on = criteria(ExplainConfig(), left, right)
        found = match(left, right, on)
        best = (0, 0.0)
        for chosen in itertools.permutations(range(5), 4):
            apart = [abs(a.covariates["age"] - right[k].covariates["age"]) for a, k in zip(left, chosen, strict=True)]
            near = [d / on[0].sd for d in apart if d <= on[0].caliper]
            best = max(best, (len(near), -sum(near)))
        assert len(found.matches) == best[0]
        assert sum(m.distance for m in found.matches) == pytest.approx(-best[1])
        assert all(m.distance <= 0.5 * (1 + 1e-9) for m in found.matches)


def simulated(n, seed, *, effect=0.0, confounding=0.0, older=0.0):
    """Zero and low patients whose score follows their class and their age."""
    rng = np.random.default_rng(seed)
    people, rows = [], []
    for i in range(n):
        y = i % 2
        age = rng.normal(50 + older * y, 10)
        logit = effect * (y - 0.5) + confounding * (age - 50) / 10 + rng.normal()
        low = 0.8 / (1 + math.exp(-logit))
        people.append(aged(f"P{i:04d}", age, menopause="post" if age > 50 else "pre"))
        rows.append((f"P{i:04d}", y, (0.8 - low, low, 0.2)))
    return people, predictions(rows)


def test_neither_the_order_nor_the_predictions_change_the_pairs():
    people, frame = simulated(60, 3)
    found = matched_pairs(frame, cohort_of(people), ExplainConfig(), "triple")
    shuffled = matched_pairs(frame.sample(frac=1, random_state=1), cohort_of(people[::-1]), ExplainConfig(), "triple")
    assert shuffled.pairs == found.pairs
    assert shuffled.unmatched == found.unmatched
    other = simulated(60, 3, effect=9.0)[1]
    assert ids(matched_pairs(other, cohort_of(people), ExplainConfig(), "triple")) == ids(found)
    named = [pair.zero.patient.patient_id for pair in found.pairs] + [p.low.patient.patient_id for p in found.pairs]
    assert len(set(named)) == len(named)
    assert len(named) + len(found.unmatched) == 60


def test_a_planted_difference_is_found():
    people, frame = simulated(120, 1, effect=4.0)
    share = share_right(matched_pairs(frame, cohort_of(people), ExplainConfig(), "triple"))
    assert share.low > 0.9


def test_what_age_alone_tells_vanishes_in_pairs_of_one_age():
    people, frame = simulated(400, 2, confounding=3.0, older=8.0)
    found = matched_pairs(frame, cohort_of(people), ExplainConfig(calipers={"age": 0.5}), "triple")
    share = share_right(found)
    assert unmatched_auc(found, CLASSES).low > 0.6
    assert len(found.pairs) > 60
    assert share.low < 0.5 < share.high
    assert share.high < unmatched_auc(found, CLASSES).value


def test_the_interval_holds_one_half_where_there_is_nothing_to_tell():
    n = 20  # each pair is right with probability one half, so how many are is binomial
    shares = [share_right(of_margins([0.2] * k + [-0.2] * (n - k))) for k in range(n + 1)]
    likely = binom.pmf(range(n + 1), n, 0.5)
    assert sum(likely[k] for k, one in enumerate(shares) if one.low <= 0.5 <= one.high) == pytest.approx(
        0.959, abs=1e-3
    )
    people, frame = simulated(100, 11)
    assert share_right(matched_pairs(frame, cohort_of(people), ExplainConfig(), "triple")).value == pytest.approx(
        0.5, abs=0.2
    )


def test_equal_scores_are_half_right():
    share = share_right(of_margins([0.0] * 9))
    assert share.value == 0.5
    assert share.low < 0.25


def test_pairs_out_of_fold_have_a_wider_interval():
    people, frame = simulated(80, 5, effect=2.0)
    found = matched_pairs(frame, cohort_of(people), ExplainConfig(), "triple")
    plain, wide = share_right(found), share_right(found, Folds(5))
    part = 2 * len(found.pairs) / 80
    factor = math.sqrt(1 + part * 5 / 4)
    assert plain.value - wide.low == pytest.approx(factor * (plain.value - plain.low))
    assert "widened" in wide.method
    assert "widened" in unmatched_auc(found, CLASSES, Folds(5)).method
    assert "widened" in repaired_auc(found, Folds(5)).method


def test_broken_up_pairs_give_the_plain_auc():
    people, frame = simulated(30, 6, effect=1.0)
    found = matched_pairs(frame, cohort_of(people), ExplainConfig(), "triple")
    zeros, lows = ([getattr(p, side).score for p in found.pairs] for side in ("zero", "low"))
    expected = np.mean([(a > b) + 0.5 * (a == b) for a in lows for b in zeros])
    assert repaired_auc(found).value == pytest.approx(expected)


def test_shown_pairs_are_not_the_successes_alone():
    found = shown_pairs(of_margins([0.9, -0.7, 0.1, 0.3, 0.2]))
    assert [(kind, round(pair.margin, 9)) for kind, pair in found] == [
        ("surest right", 0.9),
        ("surest wrong", -0.7),
        ("median", 0.2),
    ]
    assert [kind for kind, _ in shown_pairs(of_margins([0.4]))] == ["surest right and median"]
    assert [kind for kind, _ in shown_pairs(of_margins([0.4, 0.2]))] == ["surest right", "median"]
    assert [kind for kind, _ in shown_pairs(of_margins([0.0]))] == ["median"]
    assert shown_pairs(of_margins([])) == ()


def test_scores_are_among_zero_and_low_alone():
    p = np.array([[0.1, 0.3, 0.6], [0.0, 0.0, 1.0], [0.1, 0.3, 0.6]])
    assert low_scores(p, CLASSES).tolist() == [0.75, 0.5, 0.75]


def test_ultralow_patients_are_left_aside():
    people = [aged("z", 50), aged("u", 50), aged("l", 50)]
    rows = [("z", 0, (0.4, 0.5, 0.1, 0.0)), ("u", 1, (0.1, 0.7, 0.1, 0.1)), ("l", 2, (0.1, 0.2, 0.4, 0.3))]
    found = matched_pairs(predictions(rows, "ultralow"), cohort_of(people), ExplainConfig(), "ultralow")
    assert ids(found) == [("z", "l")]
    assert [found.pairs[0].zero.score, found.pairs[0].low.score] == pytest.approx([0.2, 0.8])
    assert not found.pairs[0].is_strictly_right


def test_reasons_for_no_pairs():
    people = [aged("n", 50), aged("p", 50)]
    rows = [("n", 0, (0.4, 0.6)), ("p", 1, (0.4, 0.6))]
    found = matched_pairs(predictions(rows, "binary"), cohort_of(people), ExplainConfig(), "binary")
    assert "does not tell HER2-zero from HER2-low" in found.reason
    assert share_right(found).reason == "0 pairs"
    two = [("z", 0, (0.4, 0.3, 0.3)), ("l", 1, (0.4, 0.3, 0.3))]

    def reason(*patients, rows=two, **own):
        return matched_pairs(predictions(rows), cohort_of(patients), ExplainConfig(**own), "triple").reason

    assert reason(patient("z"), patient("l")) == "the cohort table gives no covariates and no groups to match on"
    assert reason(aged("z", 50), aged("l", 50), rows=two[:1]) == "0 HER2-low"
    assert "agree in age" in reason(aged("z", 50), aged("l", 60), calipers={"age": 2})
    assert reason(aged("z", 50), aged("l", 50)) == ""


def test_a_text_column_that_nobody_shares_is_not_matched_on_by_default():
    people = [aged("z", 50, sample="S1", side="left"), aged("l", 50, sample="S2", side="left")]
    frame = predictions([("z", 0, (0.4, 0.3, 0.3)), ("l", 1, (0.4, 0.3, 0.3))])
    found = matched_pairs(frame, cohort_of(people), ExplainConfig(), "triple")
    assert [criterion.name for criterion in found.on] == ["side", "age"]
    named = matched_pairs(frame, cohort_of(people), ExplainConfig(match_on=("sample",)), "triple")
    assert "agree in sample" in named.reason


@pytest.mark.parametrize(
    ("own", "code", "text"),
    [
        ({"match_on": ("agee",)}, "unknown_name", "did you mean 'age'"),
        ({"calipers": {"weight": 3}}, "unknown_name", "known: age, side"),
        ({"calipers": {"side": 3}}, "config_value", "no number"),
        ({"match_on": ("side",), "calipers": {"age": 3}}, "config_value", "explain.match_on"),
    ],
)
def test_wrong_names_stop(own, code, text):
    people = [aged("z", 50, side="left"), aged("l", 50, side="left")]
    frame = predictions([("z", 0, (0.4, 0.3, 0.3)), ("l", 1, (0.4, 0.3, 0.3))])
    with pytest.raises(StopRun, match=text) as caught:
        matched_pairs(frame, cohort_of(people), ExplainConfig(**own), "triple")
    assert caught.value.code == code


def test_predictions_of_a_model_that_saw_the_patients_are_refused():
    frame = predictions([("z", 0, (0.4, 0.3, 0.3))], split="train")
    with pytest.raises(ValueError, match="one split"):
        matched_pairs(frame, cohort_of([aged("z", 50)]), ExplainConfig(), "triple")
