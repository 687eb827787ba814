"""Kinds of harmonization, sites that are unseen, small or confounded with the class, and no leak of labels."""

import json

import numpy as np
import pytest
import safetensors.numpy
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from classify import logistic
from classify.design import one_row_each
from classify.harmonization import HARMONIZATIONS, UNSEEN, confounded, fit_harmonizer, harmonizer_from_arrays
from classify.sitewise import fit_sitewise, standardize_new
from triher.errors import StopRun
from triher.folds import stratified_folds

KINDS = [kind for kind in HARMONIZATIONS if kind != "none"]


def cohort(n=None, p=30, seed=0):
    n = n or {"a": 30, "b": 40, "c": 50}
    rng = np.random.default_rng(seed)
    site = np.repeat(np.array(list(n), dtype=object), list(n.values()))
    effects = {name: (rng.normal(0, 2, p), rng.uniform(0.5, 2, p)) for name in n}
    rows = [effects[name][0] + effects[name][1] * rng.normal(size=p) for name in site]
    return np.array(rows, np.float32), site


def spread_of_sites(rows, site):
    return np.std([rows[site == name].mean(axis=0) for name in sorted(set(site))], axis=0).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_sites_come_together_and_the_result_survives_a_file(kind):
    rows, site = cohort()
    harmonizer = fit_harmonizer(kind, rows, site)
    moved = harmonizer.transform(rows, site)
    assert moved.dtype == np.float32
    left = 0.5 if kind == "combat-mean" else 0.25  # which shrinks each site as if it were one row, as in sva
    assert spread_of_sites(moved, site) < left * spread_of_sites(rows, site)
    file = safetensors.numpy.load(safetensors.numpy.save(harmonizer.arrays()))
    again = harmonizer_from_arrays(file, json.loads(json.dumps(harmonizer.facts())))
    np.testing.assert_array_equal(again.transform(rows, site), moved)
    np.testing.assert_allclose(harmonizer.transform(rows[:1], site[:1]), moved[:1], rtol=1e-6)


def test_none_changes_nothing_and_keeps_nothing():
    rows, site = cohort()
    harmonizer = fit_harmonizer("none", rows, site)
    assert harmonizer.transform(rows, np.full(len(site), "new", object)) is rows
    assert harmonizer.arrays() == {}
    assert harmonizer.notes(site) == ()
    assert harmonizer_from_arrays({}, harmonizer.facts()) == harmonizer


def test_sitewise_gives_every_site_the_common_mean_and_deviation():
    rows, site = cohort()
    moved = fit_sitewise(rows, site).transform(rows, site)
    within = np.sqrt(sum((site == name).mean() * rows[site == name].astype(float).var(axis=0) for name in "abc"))
    for name in "abc":
        np.testing.assert_allclose(moved[site == name].mean(axis=0), rows.mean(axis=0, dtype=float), atol=1e-9)
        np.testing.assert_allclose(moved[site == name].std(axis=0), within, rtol=1e-9)


def test_sitewise_does_not_blow_up_what_does_not_vary():
    rows, site = cohort()
    rows[:, 0] = 2.5
    rows[site == "a", 1] = 7
    moved = fit_sitewise(rows, site).transform(rows, site)
    assert (moved[:, 0] == 2.5).all()
    np.testing.assert_allclose(moved[site == "a", 1], rows[:, 1].mean(dtype=float))
    with pytest.raises(StopRun, match="'a' has 9 rows, and 10 are needed") as caught:
        fit_sitewise(rows[21:], site[21:])
    assert caught.value.code == "site_single"


@pytest.mark.fault("E21")
@pytest.mark.parametrize("kind", KINDS)
def test_unseen_sites_stop_pass_or_are_standardized(kind):
    rows, site = cohort({"a": 30, "b": 40, "c": 50, "tiny": 5})
    seen = np.isin(site, ["a", "b"])
    fitted = {unseen: fit_harmonizer(kind, rows[seen], site[seen], unseen=unseen) for unseen in UNSEEN}
    with pytest.raises(StopRun, match="not on 'c', 'tiny'") as caught:
        fitted["stop"].transform(rows, site)
    assert caught.value.code == "site_unseen"
    passed = fitted["pass"].transform(rows, site)
    np.testing.assert_array_equal(passed[~seen], rows[~seen])
    moved = fitted["standardize"].transform(rows, site)
    np.testing.assert_array_equal(moved[seen], passed[seen])
    np.testing.assert_array_equal(moved[site == "tiny"], rows[site == "tiny"])
    new = moved[site == "c"].astype(float)
    np.testing.assert_allclose(new.mean(axis=0), fitted["pass"].effects.mean, atol=1e-5)
    np.testing.assert_allclose(new.std(axis=0), fitted["pass"].effects.deviation, rtol=1e-4)
    texts = [note.text for note in fitted["standardize"].notes(site)]
    assert texts == [
        "site 'c' is not of the training and was standardized by its own 50 rows",
        "site 'tiny' is not of the training and was not harmonized (5 rows)",
    ]


def test_too_few_rows_of_a_new_site_stop():
    rows, site = cohort()
    effects = fit_sitewise(rows, site)
    with pytest.raises(StopRun, match="'new' has 4 rows"):
        standardize_new(effects, rows[:4], np.full(4, "new", object))


@pytest.mark.fault("E23")
@pytest.mark.parametrize("kind", KINDS)
def test_a_site_with_one_patient_is_named_and_left_as_it_is(kind):
    rows, site = cohort({"a": 30, "b": 40, "lone": 1})
    harmonizer = fit_harmonizer(kind, rows, site)
    moved = harmonizer.transform(rows, site)
    assert np.isfinite(moved).all()
    np.testing.assert_array_equal(moved[-1], rows[-1])
    (note,) = harmonizer.notes(site)
    assert (note.code, harmonizer.left_out) == ("site_single", {"lone": 1})
    assert "site 'lone' is not harmonized: 1 training patients" in note.text
    assert harmonizer.notes(site[:3]) == ()


def test_rows_of_one_patient_count_once():
    rows, site = cohort({"a": 30, "b": 40, "lone": 12})
    patient = np.concatenate([np.arange(70), np.full(12, 70)])
    harmonizer = fit_harmonizer("combat", rows, site, patient=patient)
    assert harmonizer.left_out == {"lone": 1}


def test_unknown_choices_and_a_lone_site_stop():
    rows, site = cohort()
    with pytest.raises(StopRun, match="did you mean 'combat'"):
        fit_harmonizer("combatt", rows, site)
    with pytest.raises(StopRun, match="did you mean 'pass'"):
        fit_harmonizer("combat", rows, site, unseen="passs")
    with pytest.raises(StopRun, match="needs 2 sites of 3 patients; there are: a 30") as caught:
        fit_harmonizer("combat", rows[:30], site[:30])
    assert caught.value.code == "config_value"


@pytest.mark.parametrize(
    "damage",
    [
        {"kind": "none"},
        {"kind": "x"},
        {"unseen": "x"},
        {"left_out": None},
        {"sites": ["a"]},
        {"left_out": {"a": "x"}},
    ],
)
def test_damaged_facts_stop(damage):
    rows, site = cohort()
    harmonizer = fit_harmonizer("combat", rows, site)
    with pytest.raises(StopRun) as caught:
        harmonizer_from_arrays(harmonizer.arrays(), harmonizer.facts() | damage)
    assert caught.value.code == "bundle_corrupt"


@pytest.mark.fault("E22")
def test_sites_that_go_with_a_class_are_named():
    site = np.array(["a"] * 4 + ["b"] * 6 + ["c"], dtype=object)
    assert confounded(site, np.array([0, 1, 2, 0, 0, 1, 2, 0, 1, 2, 0])) == ()
    (note,) = confounded(site, np.array([1, 1, 1, 1, 0, 1, 2, 0, 1, 2, 0]))
    assert note.text == "all 4 training patients of site 'a' are of one class"
    notes = confounded(site, np.array([0, 0, 0, 0, 1, 1, 2, 1, 1, 2, 0]))
    assert [note.code for note in notes] == ["site_confounded"] * 2
    assert "rank 4 instead of 5" in notes[1].text
    assert "share no class" in notes[1].text


@pytest.mark.fault("E8")
@pytest.mark.parametrize("kind", KINDS)
def test_random_labels_stay_random_when_everything_is_fitted_within_folds(kind):
    aucs = []
    for seed in range(5):
        rows, site = cohort({"a": 40, "b": 40, "c": 40}, p=400, seed=seed)
        y = np.random.default_rng(100 + seed).permutation(np.arange(120) % 2)
        p = np.zeros(120)
        for split in stratified_folds(y, site, np.arange(120), folds=3, n_classes=2, seed=seed):
            harmonizer = fit_harmonizer(kind, rows[split.train], site[split.train])
            train = one_row_each(harmonizer.transform(rows[split.train], site[split.train]))
            test = one_row_each(harmonizer.transform(rows[split.test], site[split.test]))
            with threadpool_limits(limits=1):
                part = logistic.prepare(train, y[split.train], 2, weights=None, exact=True)
                p[split.test] = part.fit({"C": 0.1}, 0).probabilities(test)[:, 1]
        aucs.append(roc_auc_score(y, p))
    assert abs(np.mean(aucs) - 0.5) < 0.07, "five draws of 120 patients: standard error 0.024"


@pytest.mark.parametrize("kind", KINDS)
def test_many_rows_are_moved_as_few_are(kind):
    rows, site = cohort({"a": 3000, "b": 2500}, p=3)
    harmonizer = fit_harmonizer(kind, rows, site)
    moved = harmonizer.transform(rows, site)
    np.testing.assert_array_equal(harmonizer.transform(rows[::700], site[::700]), moved[::700])
