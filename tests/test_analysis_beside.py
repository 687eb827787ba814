"""What stands beside the model: paired differences, common patients, averaged repeats, label noise, and its words."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from analysis.discrimination.beside import judge_beside, read_companions
from analysis.discrimination.delong import delong
from analysis.discrimination.within_site import within_site_auc
from analysis.evaluation import Evaluation
from analysis.inference.bootstrap import macro_auc_lead, macro_micro_auc
from analysis.metrics import Metric, find
from analysis.page import Paragraph, Table
from analysis.patients.samples import split_samples
from analysis.sections.beside import baseline_sentences, beside_section
from triher.errors import StopRun
from triher.estimate import Estimate, not_estimable
from triher.predictions import probability_columns, write_predictions
from triher.settings import AnalysisConfig, CohortConfig, Config

CLASSES = ("zero", "low", "positive")
DRAWS = {"resamples": 200, "seed": 0}
CONFIG = Config(cohort=CohortConfig(table="t.csv"), analysis=AnalysisConfig(resamples=200))


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def table(n=60, *, strength=1.0, seed=0, model=None, split="test", site="A", repeat=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    frame = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(n)], "cohort": "x", "site": site, "split": split})
    frame = frame.assign(repeat=repeat, fold=0, seed=0, y=y.astype(float))
    frame[probability_columns("triple")] = softmax(strength * np.eye(3)[y] + rng.normal(size=(n, 3)))
    return frame if model is None else frame.assign(model=model)


def judged(frame, companions):
    return judge_beside(companions, split_samples(frame, "triple"), CONFIG)


def arrays(frame):
    return frame["y"].to_numpy(int), frame[probability_columns("triple")].to_numpy(float)


def test_values_are_those_of_scikit_learn_and_the_difference_changes_its_sign_with_the_side():
    frame, other = table(strength=2), table(strength=0.5, seed=1)
    metrics = judged(frame, other.assign(model="clinical"))
    (y, mine), (_, theirs) = arrays(frame), arrays(other)
    macro = find(metrics, "test", "companion_auc_macro", "clinical")
    assert macro.value == pytest.approx(roc_auc_score(y, theirs, multi_class="ovr"), abs=1e-9)
    ahead = find(metrics, "test", "auc_macro_ahead", "clinical")
    _, behind = macro_auc_lead(y, theirs.round(12), mine.round(12), CLASSES, **DRAWS)
    assert (ahead.value, ahead.low, ahead.high) == pytest.approx((-behind.value, -behind.high, -behind.low))
    assert ahead.low < ahead.value < ahead.high
    assert find(metrics, "test", "companion_auc_within_site", "clinical") is None
    assert {metric.part for metric in metrics} == {"beside"}


def test_the_interval_of_the_companion_is_made_like_the_models():
    y, p = arrays(table(seed=4))
    other, ahead = macro_auc_lead(y, p, p, CLASSES, **DRAWS)
    assert other == macro_micro_auc(y, p, CLASSES, **DRAWS)[0]
    assert ahead.value == 0
    assert ahead.reason == "no variation between resamples"


@pytest.mark.fault("E3")
def test_class_shares_alone_have_an_auc_of_one_half_without_interval():
    shares = np.array([0.2, 0.5, 0.3])
    noise = 1e-15 * np.random.default_rng(0).normal(size=(60, 3))
    other = table(model="majority")
    other[probability_columns("triple")] = shares + noise - noise.mean(axis=1, keepdims=True)
    metrics = judged(table(strength=2), other)
    macro = find(metrics, "test", "companion_auc_macro", "majority")
    assert macro.value == 0.5
    assert math.isnan(macro.low)
    assert macro.reason == "all scores are equal"
    ahead = find(metrics, "test", "auc_macro_ahead", "majority")
    assert ahead.low > 0


@pytest.mark.fault("E24")
def test_both_are_judged_on_the_patients_they_have_in_common():
    frame, other = table(strength=2), table(strength=1, seed=1, model="control region").iloc[6:]
    metrics = judged(frame, other)
    macro = find(metrics, "test", "companion_auc_macro", "control region")
    ahead = find(metrics, "test", "auc_macro_ahead", "control region")
    assert macro.n == ahead.n == 54
    y, mine = arrays(frame.iloc[6:])
    theirs = arrays(other)[1]
    expected = roc_auc_score(y, mine, multi_class="ovr") - roc_auc_score(y, theirs, multi_class="ovr")
    assert ahead.value == pytest.approx(expected, abs=1e-9)


@pytest.mark.fault("E2", "E24")
def test_a_companion_without_a_class_is_not_estimable():
    frame, other = table(), table(model="control region")
    metrics = judged(frame, other[other["y"] != 2])
    for quantity in ("companion_auc_macro", "auc_macro_ahead"):
        assert find(metrics, "test", quantity, "control region").reason == "0 HER2-positive"


def test_repeats_are_averaged_and_the_order_of_rows_changes_nothing():
    frame = table(strength=2)
    repeats = pd.concat([table(seed=s, model="volume", repeat=s) for s in range(3)], ignore_index=True)
    mean = table(model="volume")
    mean[probability_columns("triple")] = np.mean([arrays(table(seed=s))[1] for s in range(3)], axis=0)
    assert judged(frame, repeats) == judged(frame, mean)
    shuffled = repeats.sample(frac=1, random_state=1)
    assert judged(frame.sample(frac=1, random_state=2), shuffled) == judged(frame, repeats)


def test_splits_are_kept_apart_and_companions_keep_their_order():
    frame = pd.concat([table(split="oof"), table(split="test").assign(patient_id=lambda t: "T" + t["patient_id"])])
    parts = [frame.assign(model="volume"), frame[frame["split"] == "oof"].assign(model="clinical")]
    metrics = judged(frame, pd.concat(parts))
    places = list(dict.fromkeys((m.split, m.class_name) for m in metrics))
    assert places == [("test", "volume"), ("oof", "volume"), ("oof", "clinical")]


def test_draws_of_label_noise_become_one_row_with_smallest_and_largest():
    frame = table(strength=2)
    draws = [table(strength=1, seed=s, model=f"label noise 10%, draw {s}") for s in (1, 2, 3)]
    metrics = judged(frame, pd.concat([*draws, table(model="label noise 20%, draw 1")]))
    values = [roc_auc_score(*arrays(draw), multi_class="ovr") for draw in draws]
    macro = find(metrics, "test", "companion_auc_macro", "label noise 10%")
    assert (macro.value, macro.low, macro.high) == pytest.approx((np.mean(values), min(values), max(values)))
    assert "smallest and largest draw" in macro.method
    own = roc_auc_score(*arrays(frame), multi_class="ovr")
    ahead = find(metrics, "test", "auc_macro_ahead", "label noise 10%")
    assert ahead.value == pytest.approx(own - np.mean(values))
    assert find(metrics, "test", "companion_draws", "label noise 10%").value == 3
    assert find(metrics, "test", "companion_draws", "label noise 20%").value == 1
    without = judged(frame[frame["y"] != 2], draws[0])
    assert find(without, "test", "companion_auc_macro", "label noise 10%").reason == "0 HER2-positive"


def test_without_labels_nothing_is_estimable_and_nothing_fails():
    frame = table().assign(y=np.nan)
    parts = [frame.assign(model="volume"), frame.assign(model="label noise 5%, draw 1")]
    metrics = judged(frame, pd.concat(parts))
    reasons = {metric.estimate.reason for metric in metrics if metric.quantity != "companion_draws"}
    assert reasons == {"0 HER2-zero, 0 HER2-low, 0 HER2-positive"}


def test_a_table_without_names_of_models_is_refused(tmp_path):
    path = tmp_path / "companions.csv"
    write_predictions(path, table(), "triple")
    with pytest.raises(StopRun) as caught:
        read_companions(path, "triple")
    assert caught.value.code == "column_missing"
    write_predictions(path, table(model="volume"), "triple")
    assert set(read_companions(path, "triple")["model"]) == {"volume"}


# Among patients of one site


def sites(n=90, seed=0, n_sites=3, strength=1.5):
    y, p = arrays(table(n, seed=seed, strength=strength))
    return y, p, np.random.default_rng(seed).integers(0, n_sites, n)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(12, 60))
def test_with_one_site_it_is_the_plain_macro_auc(seed, n):
    y, p, _ = sites(n, seed)
    found = within_site_auc(y, p, np.zeros(n, int), CLASSES, resamples=20, seed=0)
    assert found.value == pytest.approx(roc_auc_score(y, p, multi_class="ovr"), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.floats(-5, 5), min_size=3, max_size=3))
def test_what_shifts_a_whole_site_does_not_matter(seed, shifts):
    y, p, place = sites(60, seed)
    p = p.round(6)
    shifted = (p + np.round(shifts, 3)[place][:, None]).round(6)
    found = [within_site_auc(y, scores, place, CLASSES, resamples=20, seed=0) for scores in (p, shifted)]
    assert found[0] == found[1]


def test_it_counts_the_pairs_of_all_sites_together():
    y, p, place = sites()
    areas = []
    for c in range(3):
        concordant = pairs = 0.0
        for site in range(3):
            case, other = p[(y == c) & (place == site), c], p[(y != c) & (place == site), c]
            concordant += delong(case, other)[0] * len(case) * len(other)
            pairs += len(case) * len(other)
        areas.append(concordant / pairs)
    found = within_site_auc(y, p, place, CLASSES, **DRAWS)
    assert found.value == pytest.approx(np.mean(areas), abs=1e-12)
    assert found.low < found.value < found.high


def test_a_score_that_only_knows_the_site_is_guessing():
    rng = np.random.default_rng(0)
    place = np.repeat([0, 1, 2], 40)
    y = np.array([rng.choice(3, p=np.roll([0.7, 0.2, 0.1], site)) for site in place])
    p = np.array([np.roll([0.7, 0.2, 0.1], site) for site in place])
    pooled, _ = macro_micro_auc(y, p, CLASSES, **DRAWS)
    assert pooled.low > 0.6
    assert within_site_auc(y, p, place, CLASSES, **DRAWS).value == 0.5


def test_without_a_pair_it_is_not_estimable_and_with_few_it_has_no_interval():
    y, p, _ = sites(60)
    apart = within_site_auc(y, p, y.copy(), CLASSES, **DRAWS)
    assert math.isnan(apart.value)
    assert "0 HER2-zero" in apart.reason
    assert apart.n == 0
    few = within_site_auc(y, p, np.where(y == 2, 2 + np.arange(60), 0), CLASSES, **DRAWS)
    assert few.reason == "0 HER2-positive at sites with another class"
    y, p, _ = sites(18)
    alone = within_site_auc(y[:12], p[:12], np.zeros(12, int), CLASSES, **DRAWS)
    assert 0 <= alone.value <= 1
    assert "only 4 HER2-zero" in alone.reason


def test_resamples_without_a_pair_are_told_when_they_are_many():
    # One HER2-positive meets the others at the first site, four meet one at the second; the third is large.
    y = np.concatenate([[2, 0, 0, 0, 0, 0], [2, 2, 2, 2, 0], np.tile([0, 1], 100)])
    place = np.repeat([0, 1, 2], [6, 5, 200])
    p = np.random.default_rng(0).dirichlet(np.ones(3), len(y))
    found = within_site_auc(y, p, place, CLASSES, resamples=2000, seed=0)
    assert math.isfinite(found.value)
    assert math.isnan(found.low)
    assert "of 2000 resamples a class has no pair within a site" in found.reason
    y[1:6] = [2, 0, 0, 0, 0]  # now two HER2-positive meet four others at the first site
    found = within_site_auc(y, p, place, CLASSES, resamples=2000, seed=0)
    assert found.low < found.value < found.high
    assert "of them without a value and left out" in found.method


@pytest.mark.slow
def test_intervals_within_sites_cover_the_truth():
    truth = within_site_auc(*many_sites(40_000, 400, 99), CLASSES, resamples=2, seed=0).value
    found = [within_site_auc(*many_sites(90, 4, s), CLASSES, resamples=200, seed=s) for s in range(150)]
    covered = np.mean([e.low <= truth <= e.high for e in found])
    assert covered >= 0.9


def many_sites(n, n_sites, seed):
    rng = np.random.default_rng(seed)
    y, place = np.arange(n) % 3, rng.integers(0, n_sites, n)
    drift = rng.normal(size=(n_sites, 3))
    return y, 1.5 * np.eye(3)[y] + rng.normal(size=(n, 3)) + drift[place], place


# The words


def evaluation(*metrics):
    return Evaluation("triple", CLASSES, (), metrics)


def beside(name, macro, ahead, split="test"):
    return [
        Metric("beside", split, "companion_auc_macro", macro, name),
        Metric("beside", split, "auc_macro_ahead", ahead, name),
    ]


def test_the_strongest_baseline_is_named_with_what_the_interval_says():
    weak = beside("volume", Estimate(0.6, 0.5, 0.7, 90, ""), Estimate(0.2, 0.1, 0.3, 90, ""))
    strong = beside("clinical", Estimate(0.7, 0.6, 0.8, 90, ""), Estimate(0.1, -0.02, 0.2, 90, ""))
    better = beside("unharmonized", Estimate(0.9, 0.8, 0.95, 90, ""), Estimate(-0.1, -0.2, -0.02, 90, ""))
    [text] = baseline_sentences(evaluation(*weak, *strong, *better), "test")
    assert text == (
        "The strongest baseline (covariates of the cohort table) reaches a macro AUC of 0.70; the model is ahead of "
        "it by 0.10 (95 % interval -0.02 to 0.20), which may be chance: the interval includes 0."
    )
    [text] = baseline_sentences(evaluation(*weak), "test")
    assert text.endswith("ahead of it by 0.20 (95 % interval 0.10 to 0.30), and the interval excludes 0.")
    behind = beside("clinical", Estimate(0.9, 0.8, 0.95, 90, ""), Estimate(-0.1, -0.2, -0.02, 90, ""))
    [text] = baseline_sentences(evaluation(*weak, *behind), "test")
    assert "the model is behind it by 0.10 (difference -0.10, 95 % interval -0.20 to -0.02)" in text
    nothing = not_estimable("0 HER2-positive", n=9, method="")
    assert baseline_sentences(evaluation(*beside("clinical", nothing, nothing)), "test") == []
    few = beside(
        "clinical", Estimate(0.7, 0.6, 0.8, 9, ""), Estimate(0.1, math.nan, math.nan, 9, "", "only 3 HER2-low")
    )
    assert baseline_sentences(evaluation(*few), "test")[0].endswith("by 0.10 (no interval: only 3 HER2-low).")


def test_no_section_without_companions():
    assert beside_section(evaluation(), {}) == []


def test_regions_without_lesion_that_tell_the_class_are_warned_of():
    frame = table(strength=2)
    samples = split_samples(frame, "triple")
    metrics = judge_beside(table(strength=2, seed=1, model="control region"), samples, CONFIG)
    from analysis.evaluation import SplitEvaluation

    split = SplitEvaluation(samples[0], (), np.zeros((3, 3), int), (), None)
    record = {"stages": {"classify": {"baselines_left_out": {"volume": "no lesion volume"}}}}
    [section] = beside_section(Evaluation("triple", CLASSES, (split,), tuple(metrics)), record)
    notes = [block.text for block in section.blocks if isinstance(block, Paragraph) and block.tone]
    assert notes[0].startswith(
        "Trained on regions without lesion the model tells the classes apart, too, with a macro"
    )
    told = [block.text for block in section.blocks if isinstance(block, Paragraph)]
    assert notes[0].endswith("Its result may rest on something else than the lesion.")
    assert "Baselines that could not be had: Lesion volume (no lesion volume)." in told
    [shown] = [block for block in section.blocks if isinstance(block, Table)]
    assert [row[0] for row in shown.rows] == ["The model", "Model on regions without lesion"]
