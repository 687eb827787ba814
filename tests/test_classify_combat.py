"""ComBat against sva (R), as a transform that is fitted on some rows and applied to others, and in odd cases."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classify.combat import fit_combat
from classify.site_effects import effects_from_arrays
from triher.errors import StopRun


@pytest.fixture
def three_sites(golden_folder):
    table = pd.read_csv(golden_folder / "combat_embeddings.csv")
    return table.filter(like="f").to_numpy(), table["site"].to_numpy(object), table


def protected(table):
    return np.column_stack([table["cls"] == 1, table["cls"] == 2, table["age"]]).astype(float)


@pytest.mark.golden("combat_plain", "combat_mod", "combat_mean")
@pytest.mark.parametrize("kind", ["plain", "mod", "meanonly"])
def test_equals_sva(three_sites, golden, golden_folder, kind):
    rows, site, table = three_sites
    covariates = protected(table) if kind == "mod" else None
    combat = fit_combat(rows, site, covariates, mean_only=kind == "meanonly")
    moved = combat.transform(rows, site, covariates)
    expected = pd.read_csv(golden_folder / f"combat_out_{kind}.csv").filter(like="f").to_numpy()
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-12)
    value = golden("combat_" + {"plain": "plain", "mod": "mod", "meanonly": "mean"}[kind])
    assert moved.sum() == pytest.approx(value["sum"], rel=1e-12)
    assert (moved**2).sum() == pytest.approx(value["sumsq"], rel=1e-12)


@pytest.mark.golden("combat_leak")
def test_one_row_is_moved_alike_whatever_else_is_given(three_sites):
    rows, site, table = three_sites
    out = np.arange(60) % 3 == 1
    for covariates in (None, protected(table)):
        given_ = [rows, site] if covariates is None else [rows, site, covariates]
        combat = fit_combat(*(values[~out] for values in given_))
        together = combat.transform(*(values[out] for values in given_))
        for i, row in zip(np.flatnonzero(out), together, strict=True):
            alone = combat.transform(*(values[i : i + 1] for values in given_))
            np.testing.assert_allclose(alone[0], row, rtol=1e-12)


def test_the_first_forty_rows_of_the_golden_table_lack_a_site(three_sites):
    rows, site, _ = three_sites
    combat = fit_combat(rows[:40], site[:40])
    assert combat.transform(rows[40:48], site[40:48]).shape == (8, 12)
    with pytest.raises(StopRun, match="not fitted on 'S3', but on S1, S2"):
        combat.transform(rows[40:], site[40:])


def cohort(n=(20, 30, 25), p=40, seed=0, effect=2.0):
    rng = np.random.default_rng(seed)
    site = np.repeat(np.array(["a", "b", "c"], dtype=object), n)
    shift, scale = rng.normal(0, effect, (3, p)), rng.uniform(0.5, 2, (3, p))
    place = np.repeat(np.arange(3), n)
    return (rng.normal(size=(len(site), p)) * scale[place] + shift[place]).astype(np.float32), site


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999))
def test_the_order_of_rows_and_the_unit_of_features_do_not_matter(seed):
    rows, site = cohort(seed=seed)
    order = np.random.default_rng(seed).permutation(len(site))
    combat, moved = fit_combat(rows[order], site[order]), fit_combat(rows, site).transform(rows, site)
    np.testing.assert_allclose(combat.transform(rows, site), moved, atol=1e-10)
    wide = rows.astype(np.float64)
    np.testing.assert_allclose(fit_combat(wide * 3 + 7, site).transform(wide * 3 + 7, site), moved * 3 + 7, atol=1e-9)


def test_sites_become_alike_in_mean_and_scale():
    rows, site = cohort((300, 300, 300))
    moved = fit_combat(rows, site).transform(rows, site)
    shifts = [moved[site == s].mean(axis=0) for s in "abc"]
    ratio = moved[site == "a"].std(axis=0) / moved[site == "b"].std(axis=0)
    assert np.abs(shifts[0] - shifts[1]).max() < 0.1
    assert np.abs(ratio - 1).max() < 0.1
    only_mean = fit_combat(rows, site, mean_only=True).transform(rows, site)
    before = rows[site == "a"].std(axis=0)
    np.testing.assert_allclose(only_mean[site == "a"].std(axis=0), before, rtol=1e-5)


@pytest.mark.parametrize("where", [slice(None), slice(0, 20)])
def test_features_of_one_value_pass_through_as_in_sva(where):
    rows, site = cohort()
    rows[where, 3] = 1.25
    moved = fit_combat(rows, site).transform(rows, site)
    np.testing.assert_array_equal(moved[:, 3], rows[:, 3])
    rest = np.arange(40) != 3
    np.testing.assert_allclose(moved[:, rest], fit_combat(rows[:, rest], site).transform(rows[:, rest], site))


def test_features_that_are_copies_of_each_other_give_numbers():
    rows, site = cohort(p=1)
    moved = fit_combat(np.tile(rows, (1, 4)), site).transform(np.tile(rows, (1, 4)), site)
    assert np.isfinite(moved).all()


@pytest.mark.fault("E21")
def test_a_site_that_was_not_fitted_stops():
    rows, site = cohort()
    combat = fit_combat(rows, site)
    with pytest.raises(StopRun, match="not fitted on 'north', 'z', but on a, b, c") as caught:
        combat.transform(rows[:2], np.array(["z", "north"], dtype=object))
    assert caught.value.code == "site_unseen"


@pytest.mark.fault("E23")
def test_a_site_of_one_row_stops_where_others_give_nan():
    rows, site = cohort((20, 1, 20))
    with pytest.raises(StopRun, match="'b' has one row") as caught:
        fit_combat(rows, site)
    assert caught.value.code == "site_single"


def test_what_cannot_be_estimated_stops():
    rows, site = cohort()
    with pytest.raises(StopRun, match="follows from the sites") as caught:
        fit_combat(rows, site, (site == "a")[:, None].astype(float))
    assert caught.value.code == "site_confounded"
    with pytest.raises(StopRun, match="there are 1 and 40"):
        fit_combat(rows[:20], site[:20])
    with pytest.raises(StopRun, match="there are 3 and 1"):
        fit_combat(rows[:, :1], site)
    with pytest.raises(ValueError, match="the fit had 1 covariates"):
        fit_combat(rows, site, np.arange(75.0)[:, None]).transform(rows, site)


def test_arrays_come_back_and_damaged_ones_stop():
    rows, site = cohort()
    combat = fit_combat(rows, site, np.arange(75.0)[:, None])
    again = effects_from_arrays(combat.arrays(), combat.sites)
    given_ = (rows, site, np.arange(75.0)[:, None])
    np.testing.assert_array_equal(again.transform(*given_), combat.transform(*given_))
    for damage in (
        {"mean": combat.mean[:-1]},
        {"site_scale": combat.site_scale * 0},
        {"deviation": combat.deviation * np.nan},
        {"coef": combat.coef.astype(np.float32)},
    ):
        with pytest.raises(StopRun, match="expected finite arrays") as caught:
            effects_from_arrays(combat.arrays() | damage, combat.sites)
        assert caught.value.code == "bundle_corrupt"
    with pytest.raises(StopRun, match="expected finite arrays"):
        effects_from_arrays({}, combat.sites)
    with pytest.raises(StopRun, match="expected finite arrays"):
        effects_from_arrays(combat.arrays(), ("a", "b"))
