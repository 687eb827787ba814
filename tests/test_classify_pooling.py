import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classify.pooling import POOLINGS, choose_views, finite_patients, pool, skip_nonfinite
from triher.errors import StopRun


@pytest.mark.parametrize("name", POOLINGS)
def test_equals_a_plain_loop(make_features, name):
    features = make_features(n=15)
    plain = {
        "mean": lambda rows, _: rows.mean(axis=0),
        "max": lambda rows, _: rows.max(axis=0),
        "median": lambda rows, _: np.median(rows, axis=0),
        "std": lambda rows, _: rows.std(axis=0),
        "area": lambda rows, area: np.average(rows, axis=0, weights=area),
    }[name]
    found = pool(features, (), (name,)).vectors
    for i in range(15):
        rows = features.rows(i)
        expected = plain(features.views["rgb"][rows].astype(float), features.area_mm2[rows])
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-6)


def test_views_and_poolings_are_concatenated_in_the_given_order(make_features):
    features = make_features(n=4, n_features=2, views=("rgb", "early"))
    pooled = pool(features, ("rgb", "early"), ("mean", "max"))
    assert pooled.names == (
        "rgb/mean/0", "rgb/mean/1", "rgb/max/0", "rgb/max/1",
        "early/mean/0", "early/mean/1", "early/max/0", "early/max/1",
    )  # fmt: skip
    np.testing.assert_array_equal(pooled.vectors[:, 4:6], pool(features, ("early",), ("mean",)).vectors)
    assert pool(features, (), ("mean",)).names[0] == "early/mean/0", "all views, sorted, when none is named"


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_the_slices_does_not_matter(make_features, seed):
    features = make_features(n=6, n_features=3)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.arange(*features.rows(i).indices(10**6))) for i in range(6)])
    shuffled = dataclasses.replace(
        features, views={"rgb": features.views["rgb"][order]}, area_mm2=features.area_mm2[order]
    )
    names = tuple(POOLINGS)
    np.testing.assert_allclose(pool(features, (), names).vectors, pool(shuffled, (), names).vectors, rtol=1e-6)


def test_unknown_names_list_the_known_ones(make_features):
    with pytest.raises(StopRun, match="did you mean 'median'") as caught:
        pool(make_features(), (), ("medain",))
    assert caught.value.code == "unknown_name"
    with pytest.raises(StopRun, match="unknown view 'late'"):
        choose_views(["rgb"], ["late"])
    with pytest.raises(StopRun) as caught:
        pool(make_features(), (), ())
    assert caught.value.code == "config_value"


def test_area_pooling_needs_areas(make_features):
    features = make_features(n=3)
    features.area_mm2[:] = 0
    with pytest.raises(StopRun, match="SUBJECT-000"):
        pool(features, (), ("area",))


def test_a_patient_with_one_bad_value_is_skipped_by_name(make_features):
    features = make_features(n=5, views=("a", "b"))
    features.views["b"][features.rows(2).start, 0] = np.inf
    assert finite_patients(features, ()).tolist() == [True, True, False, True, True]
    assert finite_patients(features, ("a",)).all(), "only the views in use count"
    kept, skipped = skip_nonfinite(features, (), {"SUBJECT-002": "A"})
    assert kept.patient_id == tuple(f"SUBJECT-00{i}" for i in (0, 1, 3, 4))
    assert [(row.patient_id, row.cohort, row.code) for row in skipped] == [
        ("SUBJECT-002", "A", "embedding_nonfinite")
    ]


def test_a_patient_without_slices_is_not_finite(make_features):
    features = make_features(n=3)
    empty = dataclasses.replace(features, indptr=features.indptr[[0, 1, 1, 3]])
    assert finite_patients(empty, ()).tolist() == [True, False, True]
    assert np.isnan(pool(empty, (), ("mean",)).vectors[1]).all()
