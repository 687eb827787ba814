from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classify.splits import partitions, refuse_leaks
from triher.cohort import Patient
from triher.errors import StopRun
from triher.folds import image_groups, stratified_folds
from triher.held_out import is_held_out, side_of
from triher.settings import SplitConfig


def patients(sites, splits=None, cohorts=None):
    n = len(sites)
    rows = zip(sites, splits or [""] * n, cohorts or ["c"] * n, strict=True)
    return [Patient(f"p{i}", c, s, split, {}, Path("mask")) for i, (s, split, c) in enumerate(rows)]


def test_none_holds_nobody_out():
    (split,) = partitions(SplitConfig(), patients(["a", "b"]))
    assert split.train.tolist() == [0, 1]
    assert len(split.test) == 0


def test_column_and_sites():
    people = patients(["a", "b", "a"], splits=["train", "test", "train"])
    for config in (SplitConfig(kind="column"), SplitConfig(kind="sites", test=("b",))):
        (split,) = partitions(config, people)
        assert (split.train.tolist(), split.test.tolist()) == ([0, 2], [1])


def test_each_site_or_cohort_is_left_out_once():
    people = patients(["a", "b", "a"], cohorts=["x", "x", "y"])
    sites = partitions(SplitConfig(kind="leave-one-site-out"), people)
    assert [(s.name, s.test.tolist()) for s in sites] == [("a", [0, 2]), ("b", [1])]
    cohorts = partitions(SplitConfig(kind="leave-one-cohort-out"), people)
    assert [(s.name, s.test.tolist()) for s in cohorts] == [("x", [0, 1]), ("y", [2])]


@pytest.mark.parametrize(
    ("config", "splits", "code", "text"),
    [
        (SplitConfig(kind="column"), ["train", "Test"], "split_value", "'Test' .first at patient 'p1'."),
        (SplitConfig(kind="column"), ["", ""], "column_missing", "split"),
        (SplitConfig(kind="column"), ["train", "train"], "split_empty", "2 patients to train on and 0"),
        (SplitConfig(kind="sites", test=("z",)), None, "site_unknown", "'z'; sites with usable patients: a, b"),
        (SplitConfig(kind="sites", test=("a", "b")), None, "split_empty", "0 patients to train on"),
        (SplitConfig(kind="sites"), None, "split_empty", "0 to test on"),
        (SplitConfig(kind="leave-one-cohort-out"), None, "split_empty", "0 patients to train on"),
        (SplitConfig(kind="sites", train=("z",)), None, "site_unknown", "split.train names 'z'; sites with"),
        (SplitConfig(kind="sites", train=("a", "b")), None, "split_empty", "2 patients to train on and 0 to test"),
        (SplitConfig(kind="sites", train=("a",), test=("b", "a")), None, "config_value", "both name a"),
        (SplitConfig(kind="column", train=("a",)), ["train", "test"], "config_value", "split.kind is 'column'"),
        (SplitConfig(kind="leave-one-site-out", train=("a",)), None, "config_value", "goes by no names"),
    ],
)
def test_unusable_splits_stop(config, splits, code, text):
    with pytest.raises(StopRun, match=text) as caught:
        partitions(config, patients(["a", "b"], splits=splits))
    assert caught.value.code == code


@pytest.mark.parametrize(("kind", "attribute"), [("sites", "site"), ("cohorts", "cohort")])
def test_who_is_trained_on_can_be_named(kind, attribute):
    names = ["a", "b", "c", "a", "c"]
    people = patients(names, cohorts=names)
    (split,) = partitions(SplitConfig(kind=kind, train=("a",)), people)
    assert (split.train.tolist(), split.test.tolist()) == ([0, 3], [1, 2, 4])
    config = SplitConfig(kind=kind, train=("a",), test=("c",))
    (split,) = partitions(config, people)
    assert (split.train.tolist(), split.test.tolist()) == ([0, 3], [2, 4])
    assert [side_of(config, person) for person in people] == ["train", "unused", "test", "train", "test"]
    fitted_on = [getattr(person, attribute) for person in people if not is_held_out(config, person)]
    assert fitted_on == ["a", "a"], "a normalization that is fitted sees nobody else"


@pytest.mark.fault("C3")
def test_one_image_on_both_sides_stops():
    group = image_groups(["x", "y", "x"])
    people = patients(["a", "a", "b"])
    with pytest.raises(StopRun, match=r"'p2' .training. and 'p0' .held out, split 'a'.") as caught:
        refuse_leaks(partitions(SplitConfig(kind="leave-one-site-out"), people), group, ["p0", "p1", "p2"])
    assert caught.value.code == "patient_leak"


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(2, 12), min_size=6, max_size=6), folds=st.integers(2, 6), seed=st.integers(0, 99))
def test_folds_part_the_patients_and_keep_the_shares(counts, folds, seed):
    y = np.repeat([0, 1, 2, 0, 1, 2], counts)
    cohort = np.repeat(np.array(list("AAABBB"), dtype=object), counts)
    found = stratified_folds(y, cohort, np.arange(len(y)), folds=folds, n_classes=3, seed=seed)
    assert sorted(np.concatenate([s.test for s in found]).tolist()) == list(range(len(y)))
    for split in found:
        assert not set(split.train) & set(split.test)
        assert set(y[split.train]) == {0, 1, 2}
    for label in range(3):
        shares = [(y[s.test] == label).sum() for s in found]
        assert max(shares) - min(shares) <= 2, "each of the class's two strata may be off by one"


def test_a_class_is_spread_evenly_even_where_its_cohorts_are_small():
    y = np.array([0] * 10 + [1] * 10 + [2] * 3)
    cohort = np.array(["A", "B"] * 10 + ["A", "B", "C"], dtype=object)
    for split in stratified_folds(y, cohort, np.arange(23), folds=5, n_classes=3, seed=1):
        assert (y[split.test] == 2).sum() == 1, "three folds, one patient of the small class in each"


def test_equal_images_stay_together_and_a_lone_patient_stops():
    y, cohort = np.arange(12) % 2, np.array(["A"] * 12, dtype=object)
    group = np.array([0, 1, 0, 1, *range(2, 10)])
    for split in stratified_folds(y, cohort, group, folds=3, n_classes=2, seed=0):
        assert not set(group[split.train]) & set(group[split.test])
    with pytest.raises(StopRun, match="1 of class 1") as caught:
        stratified_folds(np.array([0, 0, 0, 1]), cohort[:4], np.arange(4), folds=5, n_classes=2, seed=0)
    assert caught.value.code == "class_too_small"
    with pytest.raises(StopRun, match=r"1 of class 1 \(patients with equal images count once\)"):
        stratified_folds(
            np.array([0, 0, 0, 1, 1]), cohort[:5], np.array([0, 1, 2, 3, 3]), folds=5, n_classes=2, seed=0
        )
