import dataclasses
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classify.pooling import POOLINGS, check_pooling, choose_views, finite_patients, instances, pool, skip_nonfinite
from classify.view_algebra import derive_views
from triher.errors import StopRun
from triher.store import Features


def top(n_slices):
    def mean_of_largest(rows, area):
        return rows[sorted(range(len(area)), key=lambda k: -area[k])[:n_slices]].mean(axis=0)

    return mean_of_largest


PLAIN = {
    "mean": lambda rows, _: rows.mean(axis=0),
    "max": lambda rows, _: rows.max(axis=0),
    "min": lambda rows, _: rows.min(axis=0),
    "median": lambda rows, _: np.median(rows, axis=0),
    "std": lambda rows, _: rows.std(axis=0),
    "area": lambda rows, area: np.average(rows, axis=0, weights=area),
    **{f"q{n:02}": lambda rows, _, n=n: np.quantile(rows, n / 100, axis=0) for n in (1, 10, 25, 37, 75, 90, 99)},
    **{f"top{n}": top(n) for n in (1, 2, 3, 5)},
}


@pytest.mark.parametrize("name", PLAIN)
def test_equals_a_plain_loop(make_features, name):
    features = make_features(n=15)
    found = pool(features, (), (name,)).vectors
    for i in range(15):
        rows = features.rows(i)
        expected = PLAIN[name](features.views["rgb"][rows].astype(float), features.area_mm2[rows])
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-6)


def test_every_pooling_of_the_table_is_compared_with_a_plain_loop():
    assert POOLINGS.keys() <= PLAIN.keys()


def one_patient(values, area_mm2=None, slice_index=None):
    """One patient with one feature."""
    n = len(values)
    return Features(
        ("P1",),
        ("0",),
        np.array([0, n]),
        np.arange(n, dtype=np.int32) if slice_index is None else np.array(slice_index, np.int32),
        np.ones(n, np.float32) if area_mm2 is None else np.array(area_mm2, np.float32),
        {"rgb": np.array(values, np.float32)[:, None]},
    )


def test_the_quantiles_of_five_numbers():
    """Hyndman & Fan 1996, definition 7: the k-th of n values is the quantile (k - 1) / (n - 1)."""
    found = pool(one_patient([3, 1, 15, 7, 4]), (), ("q25", "median", "q75", "q90", "q01"))
    np.testing.assert_allclose(found.vectors[0], [3, 4, 7, 7 + 0.6 * 8, 1 + 0.04 * 2], rtol=1e-6)


def test_the_largest_slices_are_chosen_and_the_earlier_where_areas_tie():
    features = one_patient([1, 2, 4, 8], [5, 9, 5, 5], slice_index=[7, 3, 6, 5])
    found = pool(features, (), ("top1", "top2", "top3", "top4", "top9")).vectors[0]
    np.testing.assert_array_equal(found, np.float32([2, 5, 14 / 3, 3.75, 3.75]))


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
        features,
        views={"rgb": features.views["rgb"][order]},
        area_mm2=features.area_mm2[order],
        slice_index=features.slice_index[order],
    )
    names = tuple(POOLINGS)
    np.testing.assert_array_equal(pool(features, (), names).vectors, pool(shuffled, (), names).vectors)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_other_patients_do_not_matter(make_features, seed):
    features = make_features(n=9, n_features=3)
    chosen = np.random.default_rng(seed).permutation(9)[:4].tolist()
    names = tuple(POOLINGS)
    np.testing.assert_array_equal(
        pool(features.select(chosen), (), names).vectors, pool(features, (), names).vectors[chosen]
    )


def test_large_blocks_are_pooled_in_pieces(make_features, monkeypatch):
    features = make_features(n=40)
    whole = pool(features, (), ("mean", "median")).vectors
    monkeypatch.setattr("classify.pooling._BLOCK", 40)
    np.testing.assert_array_equal(pool(features, (), ("mean", "median")).vectors, whole)


def test_unknown_names_list_the_known_ones(make_features):
    with pytest.raises(StopRun, match="did you mean 'median'") as caught:
        pool(make_features(), (), ("medain",))
    assert caught.value.code == "unknown_name"
    with pytest.raises(StopRun, match="unknown view 'late'"):
        choose_views(["rgb"], ["late"])
    for names in ((), ("mean", "max", "mean")):
        with pytest.raises(StopRun) as caught:
            pool(make_features(), (), names)
        assert caught.value.code == "config_value"


@pytest.mark.parametrize("name", ["q00", "q5", "q100", "top0", "top", "top-1", "Mean", "top1.5", ""])
def test_what_only_looks_like_a_statistic_is_refused(name):
    with pytest.raises(StopRun) as caught:
        check_pooling((name,))
    assert caught.value.code == "unknown_name"


@pytest.mark.parametrize("name", ["area", "top3"])
@pytest.mark.parametrize("area", [0, np.nan, np.inf])
def test_area_poolings_need_areas(make_features, name, area):
    features = make_features(n=3)
    features.area_mm2[:] = area
    with pytest.raises(StopRun, match="SUBJECT-000"):
        pool(features, (), ("mean", name))


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


@pytest.mark.fault("E10")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", PLAIN)
def test_no_statistic_hides_a_number_that_is_not_finite(make_features, name, bad):
    features = make_features(n=6, n_features=4, views=("a", "b"))
    features.views["b"][features.rows(3).start, 2] = bad
    found = pool(features, ("a", "b"), (name,)).vectors
    assert np.argwhere(~np.isfinite(found)).tolist() == [[3, 6]]


def test_numbers_that_float32_cannot_hold_are_not_finite(make_features):
    features = make_features(n=2)
    wide = dataclasses.replace(features, views={"rgb": features.views["rgb"].astype(np.float64)})
    wide.views["rgb"][0, 0] = 1e300
    assert np.isnan(pool(wide, (), ("max",)).vectors[0, 0])


@pytest.mark.fault("E10")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_imputation_keeps_who_has_a_whole_view(make_features, bad):
    features = make_features(n=6, n_features=3, views=("early", "late"))
    features.views["late"][features.rows(1).start, 0] = bad
    for view in ("early", "late"):
        features.views[view][features.rows(4).start, 1] = bad
    before = {view: rows.copy() for view, rows in features.views.items()}
    kept, skipped = skip_nonfinite(features, (), {"SUBJECT-004": "A"}, "impute")
    assert [(row.patient_id, row.cohort, row.code) for row in skipped] == [
        ("SUBJECT-004", "A", "embedding_nonfinite")
    ]
    pooled = pool(kept, ("early", "late"), ("mean", "std")).vectors
    missing = np.zeros(pooled.shape, bool)
    missing[1, 6:] = True
    np.testing.assert_array_equal(np.isnan(pooled), missing)
    np.testing.assert_array_equal(
        pooled[:, :6], pool(features.select([0, 1, 2, 3, 5]), ("early",), ("mean", "std")).vectors
    )
    for view, rows in before.items():
        np.testing.assert_array_equal(features.views[view], rows, err_msg="what was given is not changed")


def test_views_that_are_not_used_keep_nobody(make_features):
    features = make_features(n=3, views=("early", "late"))
    features.views["late"][features.rows(1)] = np.nan
    assert len(skip_nonfinite(features, ("late",), {}, "impute")[1]) == 1
    assert skip_nonfinite(features, ("early",), {}, "impute") == (features, [])


def test_a_missing_phase_is_missing_in_what_is_computed_from_it(make_features):
    features = make_features(n=4, n_features=2, views=("pre", "early"))
    features.views["pre"][features.rows(2)] = np.nan
    names = ("early", "early-pre", "ratio(early,pre)", "slope(pre,early)")
    derived = derive_views(features, names)
    assert [row.patient_id for row in skip_nonfinite(derived, (), {})[1]] == ["SUBJECT-002"]
    kept, skipped = skip_nonfinite(derived, (), {}, "impute")
    pooled = pool(kept, names, ("mean",)).vectors
    assert skipped == []
    assert np.isnan(pooled).tolist() == [[False] * 8, [False] * 8, [False, False, *[True] * 6], [False] * 8]


def test_measured_columns_are_missing_one_by_one(make_features):
    features = make_features(n=5, n_features=3, views=("table",))
    features.views["table"][features.rows(0).start, 1] = np.nan
    features.views["table"][features.rows(3)] = np.nan
    kept, skipped = skip_nonfinite(features, (), {}, "impute", by_column=("table",))
    assert [row.patient_id for row in skipped] == ["SUBJECT-003"]
    assert np.argwhere(np.isnan(pool(kept, (), ("median",)).vectors)).tolist() == [[0, 1]]


def test_columns_keep_their_names(make_features):
    features = make_features(n=4, n_features=2, views=("table", "rgb"))
    names = {"table": ("volume", "sphericity")}
    pooled = pool(features, ("table", "rgb"), ("mean", "max"), names)
    assert pooled.names == (
        "table/mean/volume", "table/mean/sphericity", "table/max/volume", "table/max/sphericity",
        "rgb/mean/0", "rgb/mean/1", "rgb/max/0", "rgb/max/1",
    )  # fmt: skip
    rows, columns = instances(features, ("table", "rgb"), names)
    assert columns == ("table/volume", "table/sphericity", "rgb/0", "rgb/1")
    np.testing.assert_array_equal(rows, np.hstack([features.views["table"], features.views["rgb"]]))


def single(features):
    """The first slice of each patient."""
    first = features.indptr[:-1]
    return dataclasses.replace(
        features,
        indptr=np.arange(len(first) + 1),
        slice_index=features.slice_index[first],
        area_mm2=features.area_mm2[first],
        views={name: rows[first] for name, rows in features.views.items()},
    )


def test_one_row_a_patient_is_taken_as_it_stands(make_features):
    features = single(make_features(n=4, n_features=2, views=("table",)))
    names = {"table": ("volume", "sphericity")}
    pooled = pool(features, (), ("mean", "max"), names)
    assert pooled.names == names["table"]
    np.testing.assert_array_equal(pooled.vectors, features.views["table"])
    assert pool(features, (), ("max",), names, bare=False).names == ("table/max/volume", "table/max/sphericity")
    assert pool(features, (), ("mean",)).names == ("table/mean/0", "table/mean/1"), "a view without names is pooled"


def test_a_head_of_one_row_a_patient_refuses_several(make_features):
    features = make_features(n=4, n_features=2, views=("table",))
    first = next(i for i in range(4) if np.diff(features.indptr)[i] != 1)
    with pytest.raises(StopRun, match=f"SUBJECT-00{first}"):
        pool(features, (), ("mean",), {"table": ("volume", "sphericity")}, bare=True)


@pytest.mark.fault("E9")
def test_other_features_or_another_order_have_another_hash(make_features):
    features = make_features(n=3, n_features=2, views=("a", "b"))
    hashes = {
        pool(features, views, pooling).names
        for views in (("a", "b"), ("b", "a"), ("a",))
        for pooling in (("mean", "max"), ("max", "mean"), ("q10",))
    }
    assert len(hashes) == 9


@pytest.mark.slow
def test_a_large_cohort_is_pooled_in_seconds():
    n, width = 1149, 4608
    rng = np.random.default_rng(0)
    features = Features(
        tuple(map(str, range(n))),
        ("0",) * n,
        np.arange(n + 1) * 8,
        np.tile(np.arange(8, dtype=np.int32), n),
        rng.uniform(1, 9, 8 * n).astype(np.float32),
        {"rgb": rng.standard_normal((8 * n, width), np.float32)},
    )
    started = time.monotonic()
    pool(features, (), ("mean", "median", "std"))
    assert time.monotonic() - started < 20, "1.5 s of one core where it was written"
