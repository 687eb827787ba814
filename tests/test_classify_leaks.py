"""The leak linter: every leak is found where it is planted, and nothing where there is none."""

import re
import time
from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from classify.leak_values import tell_class
from classify.leaks import Material, lint, refuse
from classify.near_copies import merge_groups, near_copies
from triher.cohort import read_cohort
from triher.errors import StopRun
from triher.folds import Split
from triher.settings import CohortConfig

N, P = 90, 40
SPLITS = [Split("column", np.arange(60), np.arange(60, 90))]


def inputs(seed=0, n=N, p=P):
    rng = np.random.default_rng(seed)
    vectors = (rng.normal(size=(n, 10)) @ rng.normal(size=(10, p)) + rng.normal(size=(n, p)) + 3).astype(np.float32)
    ids = tuple(f"SUBJECT-{i:03d}" for i in rng.permutation(n))
    names = tuple(f"rgb/mean/{i}" for i in range(p))
    return Material(vectors, names, rng.permutation(np.arange(n) % 3), 3, np.arange(n), ids)


def with_column(given, values, name="covariate/x"):
    vectors = np.concatenate([given.vectors, np.asarray(values, np.float32)[:, None]], axis=1)
    return replace(given, vectors=vectors, names=(*given.names, name))


def with_rows(given, **rows):
    vectors = given.vectors.copy()
    for target, source in rows.items():
        vectors[int(target[1:])] = source
    return replace(given, vectors=vectors)


@pytest.mark.parametrize("seed", range(5))
def test_clean_inputs_give_no_finding(seed):
    assert lint(inputs(seed), SPLITS) == ()
    assert lint(inputs(seed), []) == ()
    assert lint(inputs(seed, n=12, p=2000), [Split("s", np.arange(8), np.arange(8, 12))]) == (), "p >> n"


@pytest.mark.fault("E7")
def test_a_patient_or_image_on_both_sides_stops():
    clean = inputs()
    ids = (*clean.patient_id[:-1], clean.patient_id[0])
    (finding,) = lint(replace(clean, patient_id=ids), SPLITS)
    assert (finding.code, finding.stops, finding.patient_ids) == ("patient_leak", True, (ids[0],))
    group = clean.group.copy()
    group[70] = 3
    with pytest.raises(StopRun, match="have the same images") as caught:
        refuse(lint(replace(clean, group=group), SPLITS))
    assert caught.value.code == "patient_leak"
    refuse(lint(replace(clean, group=group), [Split("none", np.arange(N), np.arange(0))]))


@pytest.mark.parametrize("noise", [0, 3e-7])
def test_equal_vectors_stop_across_sides_and_are_noted_on_one(noise):
    clean = inputs()
    copy = clean.vectors[5] * (1 + noise * np.random.default_rng(1).choice([-1, 1], P))
    (finding,) = lint(with_rows(clean, r75=copy), SPLITS)
    assert (finding.code, finding.stops) == ("patient_leak", True)
    assert set(finding.patient_ids) == {clean.patient_id[5], clean.patient_id[75]}
    assert "one of them trained on and the other held out" in finding.text
    (finding,) = lint(with_rows(clean, r7=copy), SPLITS)
    assert (finding.code, finding.stops) == ("vector_duplicate", False)
    assert set(finding.patient_ids) == {clean.patient_id[5], clean.patient_id[7]}
    same_images = replace(with_rows(clean, r7=copy), group=np.where(clean.group == 7, 5, clean.group))
    assert lint(same_images, SPLITS) == (), "equal images are noted elsewhere, and grouped already"


def test_the_unit_of_a_column_hides_no_copy_and_makes_none():
    clean = inputs()
    wide = with_column(clean, np.where(np.arange(N) < 2, 1e7, np.random.default_rng(0).uniform(1e3, 1e4, N)))
    assert len(near_copies(wide.vectors)) == 0
    tilted = wide.vectors * np.logspace(-6, 6, P + 1, dtype=np.float32)
    tilted[1] = tilted[0] * np.float32(1 + 2e-7)
    assert near_copies(tilted).tolist() == [[0, 1]]


def test_groups_are_joined_over_equal_vectors_and_images():
    clean = inputs()
    vectors = with_rows(clean, r7=clean.vectors[5], r9=clean.vectors[8], r11=clean.vectors[8]).vectors
    group = clean.group.copy()
    group[9] = 7
    joined = merge_groups(group, vectors)
    assert joined[[5, 7, 8, 9, 11]].tolist() == [5] * 5
    rest = np.delete(np.arange(N), [5, 7, 8, 9, 11])
    np.testing.assert_array_equal(joined[rest], rest)
    assert (merge_groups(clean.group, np.zeros((N, P), np.float32)) == 0).all(), "all alike"
    few = np.ones((4, 3), np.float32)
    assert merge_groups(np.arange(4), few).tolist() == [0, 1, 2, 3], "age and grade can be equal by chance"


@pytest.mark.fault("E8")
@pytest.mark.parametrize(
    ("fit", "text"),
    [
        (StandardScaler(), "40 of 40 inputs .* mean 0 and deviation 1"),
        (MinMaxScaler(), "40 of 40 inputs .* span 0 to 1"),
        (PCA(8), "8 of 8 inputs .* uncorrelated"),
    ],
)
def test_a_scaler_or_rotation_fitted_on_everybody_is_noted_and_one_of_the_training_is_not(fit, text):
    clean = inputs()
    made = fit.fit_transform(clean.vectors.astype(np.float64)).astype(np.float32)
    names = clean.names[: made.shape[1]]
    (finding,) = lint(replace(clean, vectors=made, names=names), SPLITS)
    assert (finding.code, finding.stops) == ("fitted_on_all", False)
    assert re.match(text, finding.text)
    honest = fit.fit(clean.vectors[:60].astype(np.float64)).transform(clean.vectors).astype(np.float32)
    assert lint(replace(clean, vectors=honest, names=names), SPLITS) == ()
    assert lint(replace(clean, vectors=made, names=names), []) == (), "nobody is held out"


def test_the_other_divisor_and_unscaled_company_do_not_hide_a_scaler():
    clean = inputs()
    wide = clean.vectors.astype(np.float64)
    scaled = ((wide - wide.mean(axis=0)) / wide.std(axis=0, ddof=1)).astype(np.float32)
    age = np.random.default_rng(5).uniform(20, 80, N)
    (finding,) = lint(with_column(replace(clean, vectors=scaled), age), SPLITS)
    assert finding.text.startswith("40 of 41 inputs ('rgb/mean/0', 'rgb/mean/1', 'rgb/mean/2' and 37 more)")


@pytest.mark.parametrize("name", ["HER2_status", "her-2", "ERBB2_expr", "on trastuzumab", "TNBC", "pam50_subtype"])
def test_a_name_that_tells_her2_stops_unless_allowed(name):
    noisy = with_column(inputs(), np.random.default_rng(3).normal(size=N), name)
    with pytest.raises(StopRun, match="by name tell HER2") as caught:
        refuse(lint(noisy, SPLITS))
    assert caught.value.code == "label_leak"
    assert lint(noisy, SPLITS, allowed=(name,)) == ()


def test_the_cohort_table_uses_the_same_names(tmp_path):
    files = {"phases": {"pre": "{patient_id}.nii"}, "mask": "{patient_id}_m.nii", "table": tmp_path / "t.csv"}
    with pytest.raises(StopRun, match="by its name tells HER2"):
        read_cohort(CohortConfig(covariates=("erbb2",), **files))


@pytest.mark.parametrize("code", [(0, 1, 2), (5, -1, 3), (0, 1, 0), (0, 0, 1)])
def test_a_column_that_is_the_label_stops_unless_allowed(code):
    clean = inputs()
    planted = with_column(clean, np.array(code)[clean.y])
    (finding,) = lint(planted, SPLITS)
    assert (finding.code, finding.stops) == ("label_leak", True)
    assert "input 'covariate/x' alone tells class" in finding.text
    assert lint(planted, SPLITS, allowed=("covariate/x",)) == ()


def test_a_column_that_tells_a_class_with_few_errors_is_found_with_its_auc_and_a_good_one_is_not():
    clean = inputs(n=900)
    rng = np.random.default_rng(4)
    for shift, told in ((5.0, True), (2.0, False)):
        values = rng.normal(size=900) - shift * (clean.y == 2)
        found = tell_class(with_column(clean, values).vectors, clean.y, 3)
        auc = roc_auc_score(clean.y == 2, -values.astype(np.float32))
        assert [(one.column, one.label, one.is_sure) for one in found] == ([(P, 2, True)] if told else [])
        assert (auc >= 0.999) == told
        assert not told or found[0].auc == pytest.approx(auc, abs=1e-12)


def test_a_class_so_small_that_noise_parts_it_is_not_judged():
    rng = np.random.default_rng(0)
    y = np.array([0] * 20 + [1] * 20 + [2] * 2)
    vectors = rng.normal(size=(42, 5000)).astype(np.float32)
    assert (vectors[y == 2].min(axis=0) > vectors[y != 2].max(axis=0)).any(), "two of 42 lie at an end by chance"
    assert tell_class(vectors, y, 3) == []


def test_gaps_hide_no_leak_and_make_none():
    clean = inputs()
    rng = np.random.default_rng(6)
    gaps = rng.random(N) < 0.2
    gapped = with_column(with_column(clean, np.where(gaps, np.nan, rng.normal(size=N))), np.full(N, np.nan), "empty")
    assert lint(gapped, SPLITS) == ()
    (finding,) = lint(with_rows(gapped, r75=gapped.vectors[5]), SPLITS)
    assert finding.code == "patient_leak"
    (finding,) = lint(with_column(gapped, np.where(gaps, np.nan, clean.y), "z"), SPLITS)
    assert (finding.code, finding.stops) == ("label_leak", True)
    assert "input 'z'" in finding.text


def test_a_strong_feature_of_few_patients_is_noted_and_does_not_stop():
    clean = inputs(n=36)
    strong = with_column(clean, (clean.y == 0) * 3.0 + np.random.default_rng(0).uniform(0, 1, 36))
    (finding,) = lint(strong, [Split("s", np.arange(24), np.arange(24, 36))])
    assert (finding.code, finding.stops) == ("label_leak", False)
    assert "so few patients that a good feature may do so, too" in finding.text
    (finding,) = lint(with_column(clean, clean.y), [Split("s", np.arange(24), np.arange(24, 36))])
    assert finding.stops, "a column with one value a class is no feature"


def test_ids_and_the_order_of_rows_are_noted():
    clean = inputs()
    numbers = [int(name[-3:]) for name in clean.patient_id]
    (finding,) = lint(with_column(clean, numbers, "number"), SPLITS)
    assert (finding.code, finding.stops) == ("id_among_inputs", False)
    assert "'number', whose values are the numbers in the patient ids" in finding.text
    for values in (np.arange(N), -np.sqrt(np.arange(N)), np.floor(np.arange(N) * 2 / 3)):
        (finding,) = lint(with_column(clean, values, "row"), SPLITS)
        assert "'row', whose values rise or fall from row to row" in finding.text
    assert lint(with_column(clean, np.arange(N) > 40, "late"), SPLITS) == (), "a site's mark may follow sorted ids"


@pytest.mark.fault("E20")
def test_how_often_the_test_was_opened():
    (finding,) = lint(inputs(), SPLITS, opened=("k1", "k2", "k1"))
    assert (finding.code, finding.stops) == ("test_reopened", False)
    assert "predicted 3 times before, with 2 different" in finding.text


def test_findings_that_stop_come_first():
    clean = inputs()
    found = lint(with_column(with_column(clean, np.arange(N)), clean.y, "z"), SPLITS, opened=("a",))
    assert [finding.stops for finding in found] == [True, False, False]


def test_a_large_cohort_takes_two_seconds():
    large = inputs(n=1200, p=4608)
    start = time.process_time()
    assert lint(large, [Split("s", np.arange(900), np.arange(900, 1200))]) == ()
    assert time.process_time() - start < 2, "of one core; it takes 0.3"
