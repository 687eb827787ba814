import numpy as np
import pytest

from classify.inputs import Inputs
from classify.preparation import fit_preparation, within_cohort
from triher.errors import StopRun
from triher.settings import ClassifyConfig, HarmonizeConfig


def inputs(n=40, p=6, n_covariates=0, seed=0, rows_each=1):
    rng = np.random.default_rng(seed)
    site = np.array([f"site {i % 2}" for i in range(n)], dtype=object)
    rows = rng.normal(size=(n * rows_each, p)).astype(np.float32)
    rows[np.repeat(site == "site 1", rows_each)] += 3
    indptr = np.arange(0, n * rows_each + 1, rows_each)
    names = tuple(map(str, range(p)))
    return Inputs(rows, indptr, names, rng.normal(size=(n, n_covariates)), tuple("xyz"[:n_covariates]), site)


def config(**settings):
    return ClassifyConfig.model_validate(settings)


def test_nothing_asked_for_leaves_the_rows_as_they_are():
    given = inputs()
    design = fit_preparation(given, config()).design(given)
    np.testing.assert_array_equal(design.rows, given.rows)
    assert design.blocks == (6,)


def test_gaps_are_filled_with_medians_of_the_training_part_alone():
    train, new = inputs(), inputs(n=3, n_covariates=0, seed=1)
    train.rows[0, 2] = np.nan
    new.rows[1, 2] = np.inf
    prepared = fit_preparation(train, config(missing="impute"))
    median = np.median(train.rows[1:, 2])
    assert prepared.design(train).rows[0, 2] == pytest.approx(median)
    assert prepared.design(new).rows[1, 2] == pytest.approx(median)


def test_a_feature_that_nobody_has_becomes_a_constant():
    train = inputs()
    train.rows[:, 1] = np.nan
    assert (fit_preparation(train, config(missing="impute")).design(train).rows[:, 1] == 0).all()


def test_components_are_the_axes_of_the_training_part():
    train, new = inputs(), inputs(n=2, seed=1)
    prepared = fit_preparation(train, config(components=3))
    rows = prepared.design(train).rows
    assert rows.shape == (40, 3)
    covariance = np.cov(rows.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-5
    assert (np.diff(np.diag(covariance)) < 0).all()
    first = prepared.design(new.take(np.array([0])))
    np.testing.assert_allclose(first.rows, prepared.design(new).rows[:1], rtol=1e-6)


def test_early_covariates_are_a_block_of_their_own_and_late_ones_stay_out():
    given = inputs(n_covariates=2)
    early = fit_preparation(given, config(covariates=["x", "y"])).design(given)
    assert early.blocks == (6, 2)
    np.testing.assert_allclose(early.rows[:, 6:], given.covariates, rtol=1e-6)
    late = fit_preparation(given, config(covariates=["x", "y"], join="late"))
    assert late.design(given).blocks == (6,)
    np.testing.assert_array_equal(late.covariates(given), given.covariates)


@pytest.mark.fault("E21")
@pytest.mark.parametrize("rows_each", [1, 3])
def test_sites_are_harmonized_and_unseen_ones_follow_the_choice(rows_each):
    given = inputs(rows_each=rows_each)
    harmonize = HarmonizeConfig(method="combat-mean")
    prepared = fit_preparation(given, ClassifyConfig(harmonize=harmonize))
    rows, site = prepared.design(given).rows, given.site_of_row
    assert abs(rows[site == "site 1"].mean() - rows[site == "site 0"].mean()) < 0.2
    stranger = inputs(n=2, seed=1, rows_each=rows_each)
    stranger.site[:] = "elsewhere"
    with pytest.raises(StopRun) as caught:
        prepared.design(stranger)
    assert caught.value.code == "site_unseen"
    passing = fit_preparation(given, within_cohort(ClassifyConfig(harmonize=harmonize)))
    np.testing.assert_array_equal(passing.design(stranger).rows, stranger.rows)


def test_means_of_several_rows_and_who_is_incomplete():
    given = inputs(n=4, n_covariates=1, rows_each=2)
    np.testing.assert_allclose(given.means(), given.rows.reshape(4, 2, 6).mean(axis=1), rtol=1e-5)
    given.rows[5, 0] = np.nan
    given.covariates[0, 0] = np.nan
    assert given.incomplete().tolist() == [0, 2]
    assert given.take(np.array([2, 0])).incomplete().tolist() == [0, 1]
