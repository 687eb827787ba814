"""The shortcut audit: planted site effects are found, absent ones are not, and nobody tells their own group."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from classify.shortcuts import FROM_SITE, shortcut_notes, tell_class_from_site, tell_groups


def patients(effect, n=150, p=60, groups=3, seed=0):
    rng = np.random.default_rng(seed)
    place = rng.permutation(np.arange(n) % groups)
    vectors = rng.normal(size=(n, 8)) @ rng.normal(size=(8, p)) + rng.normal(size=(n, p))
    vectors += rng.normal(0, effect, (groups, p))[place]
    return vectors.astype(np.float32), np.array([f"site {k}" for k in place], dtype=object)


def test_a_planted_effect_is_told_and_noted():
    vectors, site = patients(2.0)
    (found,) = tell_groups(vectors, {"site": site}, np.arange(150))
    assert found.groups == ("site 0", "site 1", "site 2")
    assert found.auc > 0.99
    np.testing.assert_allclose(found.p.sum(axis=1), 1)
    np.testing.assert_array_equal(np.array(found.groups, object)[found.y], site)
    np.testing.assert_array_equal(found.rows, np.arange(150))
    assert found.auc == pytest.approx(roc_auc_score(found.y, found.p, multi_class="ovr"), abs=1e-12)
    (note,) = shortcut_notes([found])
    assert note.code == "shortcut_strong"
    assert "the features tell site with a macro AUC of" in note.text


def test_without_an_effect_nothing_is_told():
    aucs = []
    for seed in range(4):
        vectors, site = patients(0.0, seed=seed)
        found = tell_groups(vectors, {"site": site}, np.arange(150), seed=seed)
        assert shortcut_notes(found) == ()
        aucs.append(found[0].auc)
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.05)


def test_small_groups_and_unknown_ones_are_left_out_and_named():
    vectors, site = patients(1.0)
    site[:9], site[9:12] = "small", ""
    vendor = np.full(150, "GE", object)
    both, one = tell_groups(vectors, {"site": site, "vendor": vendor}, np.arange(150))
    assert both.left_out == {"not known": 3, "small": 9}
    np.testing.assert_array_equal(both.rows, np.arange(12, 150))
    assert (one.groups, one.p.shape, one.reason) == ((), (0, 0), "1 of 1 groups have 10 patients; two are needed")
    assert np.isnan(one.auc)
    assert shortcut_notes([one]) == ()


def test_copies_of_one_exam_are_counted_once_and_never_parted():
    vectors, site = patients(0.0, n=60, p=200)
    twice, group = np.repeat(vectors, 2, axis=0), np.repeat(np.arange(60), 2)
    (found,) = tell_groups(twice, {"site": np.repeat(site, 2)}, group)
    assert found.auc < 0.7, "a parted copy would be recognized: 1.0"
    few = np.where(np.arange(60) < 9, "x", "y").astype(object)
    (found,) = tell_groups(twice, {"site": np.repeat(few, 2)}, group)
    assert found.left_out == {"x": 9}, "18 rows of 9 exams"


@pytest.mark.parametrize(("link", "low", "high"), [(0.0, 0.45, 0.55), (0.5, 0.68, 0.8), (1.0, 0.99, 1.0)])
def test_the_site_alone_tells_the_class_as_far_as_it_goes_with_it(link, low, high):
    aucs = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        place = rng.integers(0, 12, 400)
        y = np.where(rng.random(400) < link, place % 3, rng.integers(0, 3, 400))
        site = np.array([f"s{k}" for k in place], dtype=object)
        found = tell_class_from_site(site, y, ("zero", "low", "positive"), np.arange(400), seed=seed)
        assert (found.target, found.groups) == (FROM_SITE, ("zero", "low", "positive"))
        aucs.append(found.auc)
    assert low <= np.mean(aucs) <= high
    assert bool(shortcut_notes([found])) == (link == 1)


def test_a_site_that_is_new_to_the_training_part_gets_the_average():
    site = np.array([f"s{i}" for i in range(30)], dtype=object)
    found = tell_class_from_site(site, np.arange(30) % 2, ("a", "b"), np.arange(30))
    np.testing.assert_allclose(found.p, 0.5, atol=1e-12)


def test_real_sites_show_in_the_acquisition_and_tell_some_her2_without_any_image(shared):
    table = pd.read_csv(shared / "data" / "ispy2" / "her2_triple_class.csv").dropna(subset="her2_3class")
    classes = ("zero", "low", "positive")
    table = table[table["her2_3class"].isin(classes)]
    y = table["her2_3class"].map(classes.index).to_numpy()
    site = table["site"].fillna("").to_numpy(object)
    vendor = table["manufacturer"].fillna("").to_numpy(object)
    facts = table[["slice_thickness", "repetition_time", "echo_time", "num_slices"]]
    vectors = facts.fillna(facts.median()).to_numpy(np.float32)
    by_site, by_vendor = tell_groups(vectors, {"site": site, "vendor": vendor}, np.arange(len(table)))
    assert (len(by_site.groups), len(by_site.rows)) == (19, 809)
    assert by_site.left_out == {"not known": 5, "AAM": 5, "AAP": 2, "AAU": 5}
    assert min(by_site.auc, by_vendor.auc) > 0.97
    alone = tell_class_from_site(site, y, classes, np.arange(len(table)))
    assert 0.54 < alone.auc < 0.62, "as much as age, tumor volume and receptors tell (0.596)"
