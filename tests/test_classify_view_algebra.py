import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import linregress

from classify.pooling import pool
from classify.view_algebra import derive_views, needed_views, parse_view
from triher.errors import StopRun

PHASES = ("pre", "early", "late")


@pytest.fixture
def features(make_features):
    return make_features(n=7, n_features=5, views=PHASES)


def derived(features, *names):
    return derive_views(features, names).views


def test_the_inputs_of_bl4as(make_features):
    """The three inputs of BL4AS: wash-in C2-C0, peak C2 and wash-out C5-C2."""
    features = make_features(views=("C0", "C2", "C5"))
    found = derive_views(features, ("C2-C0", "C2", "C5-C2"))
    assert list(found.views) == ["C2-C0", "C2", "C5-C2"]
    stored = features.views
    np.testing.assert_array_equal(found.views["C2-C0"], stored["C2"] - stored["C0"])
    np.testing.assert_array_equal(found.views["C5-C2"], stored["C5"] - stored["C2"])
    assert found.views["C2"] is stored["C2"]
    assert found.patient_id == features.patient_id


def test_relative_change_by_hand(make_features):
    features = make_features(n=1, n_features=6, views=("a", "b"))
    for view, values in (("a", [3, 1, -2, 0, 5, 0]), ("b", [1, 3, 2, 0, 0, -7])):
        features.views[view][:] = values
    found = derived(features, "ratio(a,b)")["ratio(a,b)"]
    np.testing.assert_array_equal(found[0], np.float32([0.5, -0.5, -1, 0, 1, 1]))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seed=st.integers(0, 10_000), exponent=st.integers(-38, 37))
def test_relative_change_is_bounded_odd_and_free_of_scale(make_features, seed, exponent):
    features = make_features(n=3, seed=seed, views=("a", "b"))
    names = ("ratio(a,b)", "ratio(b,a)")
    first = derived(features, *names)
    assert (np.abs(first["ratio(a,b)"]) <= 1).all()
    np.testing.assert_array_equal(first["ratio(a,b)"], -first["ratio(b,a)"])
    for rows in features.views.values():
        rows *= np.float32(2.0**exponent)
    np.testing.assert_allclose(derived(features, *names)["ratio(a,b)"], first["ratio(a,b)"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("entry", "times"),
    [
        ("slope(pre,early,late)", (0, 1, 2)),
        ("slope(pre@0,early@1.5,late@5)", (0, 1.5, 5)),
        ("slope( late @ 5 , pre@-0.5, early@1.5e0)", (5, -0.5, 1.5)),
        ("slope(pre@0,late@2)", (0, 2)),
    ],
)
def test_slopes_equal_those_of_scipy(features, entry, times):
    operands = parse_view(entry, PHASES).operands
    found = derived(features, entry)[entry]
    for row in range(0, len(found), 3):
        for column in range(5):
            values = [features.views[name][row, column] for name in operands]
            assert found[row, column] == pytest.approx(linregress(times, values).slope, rel=1e-5, abs=1e-6)


def test_the_mean_of_a_difference_is_the_difference_of_the_means(features):
    pooled = {view: pool(features, (view,), ("mean",)).vectors for view in PHASES}
    found = pool(derive_views(features, ("late-pre",)), (), ("mean",))
    np.testing.assert_allclose(found.vectors, pooled["late"] - pooled["pre"], atol=1e-6)
    assert found.names[0] == "late-pre/mean/0"


def test_other_statistics_of_a_difference_are_taken_slice_by_slice(features):
    pooled = {view: pool(features, (view,), ("median",)).vectors for view in PHASES}
    found = pool(derive_views(features, ("late-pre",)), (), ("median",)).vectors
    assert not np.allclose(found, pooled["late"] - pooled["pre"], atol=1e-6)


def test_a_stored_view_always_wins(make_features):
    features = make_features(views=("early", "pre", "early-pre", "ratio(early,pre)"))
    for name in ("early-pre", "ratio(early,pre)"):
        assert derived(features, name)[name] is features.views[name]
    assert needed_views(("early-pre",), tuple(features.views)) == ("early-pre",)


def test_names_may_hold_a_minus(make_features):
    features = make_features(views=("post-1", "pre-0", "pre"))
    found = derived(features, "post-1-pre-0", "post-1-pre", "ratio(post-1,pre-0)", "post-1 - pre")
    np.testing.assert_array_equal(found["post-1-pre-0"], features.views["post-1"] - features.views["pre-0"])
    np.testing.assert_array_equal(found["post-1-pre"], features.views["post-1"] - features.views["pre"])
    np.testing.assert_array_equal(found["post-1 - pre"], found["post-1-pre"])
    with pytest.raises(StopRun, match="'a' minus 'b-c' and as 'a-b' minus 'c'") as caught:
        parse_view("a-b-c", ("a", "b-c", "a-b", "c"))
    assert caught.value.code == "config_value"


def test_all_stored_views_sorted_when_none_is_named(features):
    assert needed_views((), PHASES) == ("early", "late", "pre")
    assert list(derive_views(features, ()).views) == ["early", "late", "pre"]


def test_what_is_needed_is_named_once():
    entries = ("late", "early-pre", "slope(pre@0,late@5)", "ratio(late,early)")
    assert needed_views(entries, PHASES) == ("late", "early", "pre")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("erly", "unknown view 'erly'; did you mean 'early'"),
        ("erly-pre", "unknown view 'erly'; did you mean 'early'"),
        ("early-lade", "unknown view 'lade'; did you mean 'late'"),
        ("ratio(early,prae)", "unknown view 'prae'; did you mean 'pre'"),
        ("slope(pre@0,erly@1)", "unknown view 'erly'; did you mean 'early'"),
        ("slop(pre,early)", "unknown function in classify.views 'slop'; did you mean 'slope'"),
        ("", "unknown view ''"),
    ],
)
def test_unknown_names_list_the_known_ones(entry, message):
    with pytest.raises(StopRun, match=message.replace("(", r"\(")) as caught:
        parse_view(entry, PHASES)
    assert caught.value.code == "unknown_name"


@pytest.mark.parametrize(
    "entry",
    [
        "ratio(early)", "ratio(early,pre,late)", "ratio(early,early)", "ratio(early,)", "ratio()", "slope(pre)",
        "slope(pre@0,early)", "slope(pre@0,early@0)", "slope(pre@x,early@1)", "slope(pre@nan,early@1)",
        "slope(pre@0,early@inf)", "slope(pre,early,pre)", "ratio(early,pre", "early,pre", "early@3", "early-", "-pre",
        "-", "early-early", "ratio(early,pre))", "slope(@1,early@2)",
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused(entry):
    with pytest.raises(StopRun) as caught:
        parse_view(entry, PHASES)
    assert caught.value.code in ("config_value", "unknown_name")
    if entry not in ("ratio(early,pre))",):
        assert caught.value.code == "config_value"
        assert entry in caught.value.message


def test_one_entry_twice_is_refused(features):
    with pytest.raises(StopRun, match="'early-pre' twice"):
        derive_views(features, ("early-pre", "late", "early-pre"))


@pytest.mark.fault("E10")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("entry", ["early-pre", "ratio(early,pre)", "ratio(pre,early)", "slope(pre,early,late)"])
def test_what_is_not_finite_stays_so(features, entry, bad):
    features.views["pre"][4, 2] = bad
    found = derived(features, entry)[entry]
    assert np.argwhere(~np.isfinite(found)).tolist() == [[4, 2]]
