"""Variance split by axis: planted effects, lattices of noise, and what cannot be split."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from analysis.ablation.effects import degrees, effects, products, sources
from analysis.ablation.grid import lay_out
from analysis.ablation.material import Arena, CellResult, StudyMaterial
from analysis.ablation.measures import find_measure
from analysis.ablation.sections_top import levels_dropped
from analysis.ablation.variance import NOISE, REST, _seeds, _split, _values, split_variance
from analysis.discrimination.delong import delong_covariance
from analysis.inference.bootstrap import macro_rankings, mean_area
from analysis.inference.cross_validation import Folds
from triher.errors import StopRun
from triher.settings import Config
from triher.study import BASE, Cell

CLASSES = ("zero", "low", "positive")
AXES = {"normalization": ("minmax", "clip99", "clahe"), "n4": ("none", "shared")}


def config(resamples=200, **ablation):
    return Config.model_validate(
        {"cohort": {"table": "c.csv"}, "analysis": {"resamples": resamples}, "ablation": ablation}
    )


def material_of(axes, *, design="lattice", resamples=200):
    cells = []
    for combination in product(*axes.values()):
        levels = dict(zip(axes, combination, strict=True))
        changed = [f"{axis}={level}" for axis, level in levels.items() if level != axes[axis][0]]
        cells.append(Cell(name=", ".join(changed) or BASE, levels=levels, changes={}))
    results = tuple(CellResult(cell, (), None) for cell in cells)
    return StudyMaterial(config(resamples), axes, design, results, ())


def arena_of(material, scores, y, site, *, cohort=None, folds=None):
    """An arena from logits [cell, seed, patient, class]."""
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    ids = tuple(f"P{i:04d}" for i in range(len(y)))
    names = tuple(result.cell.name for result in material.results)
    cohort = np.full(len(y), "c") if cohort is None else cohort
    return Arena("test", CLASSES, ids, y, y, cohort, site, names, probabilities, folds, dict.fromkeys(names, len(y)))


def simulated(axes=AXES, *, strength, n_sites=4, a_class=15, own=0.5, seed=0, n_seeds=1, resamples=200):
    """Patients whose class shows with ``strength(levels, site)``; cells share all but ``own`` of their noise."""
    rng = np.random.default_rng(seed)
    y = np.tile(np.arange(3), a_class * n_sites)
    site = np.repeat(np.arange(n_sites), 3 * a_class)
    material = material_of(axes, resamples=resamples)
    common = rng.normal(size=(len(y), 3))
    scores = []
    for result in material.results:
        signal = np.array([strength(result.cell.levels, s) for s in site])[:, None] * np.eye(3)[y]
        noise = np.sqrt(1 - own**2) * common + own * rng.normal(size=(n_seeds, len(y), 3))
        scores.append(signal + noise)
    return arena_of(material, np.array(scores), y, np.array([f"site {s}" for s in site])), material


def shares(found):
    return {share.source: share.share for share in found}


def true_shares(strength, axes=AXES, n_sites=4):
    """From the AUC of so many patients that nothing is left to chance."""
    known = {}

    def area(value):
        if value not in known:
            rng = np.random.default_rng(9)
            y = np.arange(30_000) % 3
            scores = value * np.eye(3)[y] + rng.normal(size=(len(y), 3))
            probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
            known[value] = mean_area(macro_rankings(y, probabilities), np.ones((1, len(y)), np.int32))[0]
        return known[value]

    cells = [dict(zip(axes, labels, strict=True)) for labels in product(*axes.values())]
    table = np.array([[area(round(strength(levels, s), 6)) for s in range(n_sites)] for levels in cells])
    parts = effects(table.reshape(1, *map(len, axes.values()), n_sites))
    squares = products(parts, parts, [*map(len, axes.values()), n_sites])[0]
    return squares / squares.sum()


def test_sums_of_squares_agree_with_statsmodels():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(3, 2, 4))
    parts = effects(table[None])
    found = products(parts, parts, table.shape)[0]
    long = pd.DataFrame([(*at, table[at]) for at in np.ndindex(*table.shape)], columns=["a", "b", "c", "value"])
    expected = anova_lm(ols("value ~ (C(a) + C(b) + C(c)) ** 2", long).fit())
    assert found.tolist() == pytest.approx(expected["sum_sq"].tolist())
    assert degrees(table.shape) == expected["df"].astype(int).tolist()
    assert found.sum() == pytest.approx(((table - table.mean()) ** 2).sum())
    assert sum(parts) + table.mean() == pytest.approx(table[None])


@pytest.mark.parametrize("n_factors", [1, 2, 3, 4])
def test_planted_effects_come_out_and_nothing_else(n_factors):
    shape = [3, 2, 4, 2][:n_factors]
    rng = np.random.default_rng(1)
    planted = []
    for factors in sources(n_factors):
        effect = rng.normal(size=[size if i in factors else 1 for i, size in enumerate(shape)])
        for axis in factors:
            effect -= effect.mean(axis=axis, keepdims=True)
        planted.append(effect)
    table = 5 + sum(planted) + np.zeros(shape)
    parts = effects(table[None])
    rest = planted[-1] if n_factors == 3 else None  # of four factors the rest holds the interactions of three, too
    for part, effect in zip(parts[: -1 if n_factors > 2 else None], planted, strict=False):
        assert part[0] == pytest.approx(effect)
    if rest is not None:
        assert parts[-1][0] == pytest.approx(rest)
    assert sum(degrees(shape)) == np.prod(shape) - 1


def test_planted_shares_are_found():
    def strength(levels, site):
        return 0.6 + 0.3 * site + 0.6 * (levels["normalization"] == "clahe")

    arena, material = simulated(strength=strength, a_class=45, resamples=100)
    found = split_variance(arena, material)
    assert [share.source for share in found] == [
        "normalization", "n4", "site", "normalization x n4", "normalization x site", "n4 x site", REST, NOISE,
    ]  # fmt: skip
    assert [share.degrees for share in found] == [2, 1, 3, 2, 6, 3, 6, 0]
    true = true_shares(strength)
    for share, expected in zip(found[:3], true[:3], strict=True):
        assert share.share.value == pytest.approx(expected, abs=0.12)
        assert share.share.low <= expected + 1e-9
        assert share.share.high >= expected - 1e-9
    for share in found[3:7]:
        assert share.share.value < 0.06
    assert sum(share.share.value for share in found[:-1]) == pytest.approx(1, abs=0.05)
    assert found[0].share.n == len(arena.y) == 540
    assert "functional ANOVA of the macro AUC of 6 cells at 4 sites" in found[0].share.method


def test_axes_that_change_nothing_explain_nothing():
    found = [shares(split_variance(*simulated(strength=lambda _, s: 0.5 + 0.4 * s, seed=seed))) for seed in range(3)]
    for axis in ("normalization", "n4", "normalization x n4"):
        assert np.mean([one[axis].value for one in found]) < 0.01
        assert all(not one[axis].low > 0 for one in found)
    assert np.mean([one["site"].value for one in found]) > 0.97


def test_no_share_of_what_is_not_more_than_noise():
    found = shares(split_variance(*simulated(strength=lambda *_: 1.0)))
    assert str(found["normalization"]) == (
        "not estimable (taken together, cells and places differ no more than other patients alone would make them)"
    )
    assert 0.5 < found[NOISE].value <= 1


def test_noise_is_what_delong_says():
    """The covariance of the AUCs of all cells, by DeLong, makes the same sums of squares on average."""
    arena, material = simulated(strength=lambda *_: 1.0, n_sites=1, a_class=60, resamples=2000)
    measure = find_measure("auc_low_vs_positive", "triple")
    grid = lay_out(arena, material, measure)
    split = _split(_values(arena, measure, grid, np.ones((1, grid.n), np.int32))[0], arena, measure, grid, material)
    among = arena.probabilities[:, 0, arena.y > 0]
    _, covariance = delong_covariance(arena.y[arena.y > 0] == 2, among[:, :, 2] / (among[:, :, 1] + among[:, :, 2]))
    apart = np.eye(6) - 1 / 6
    assert split.noise.sum() == pytest.approx(np.trace(apart @ covariance), rel=0.1)


def reordered(arena, patients, cells):
    take = {name: getattr(arena, name)[patients] for name in ("y", "strata", "cohort", "site")}
    return replace(
        arena,
        **take,
        patient_id=tuple(arena.patient_id[i] for i in patients),
        names=tuple(arena.names[i] for i in cells),
        probabilities=arena.probabilities[cells][:, :, patients],
    )


def test_order_of_cells_and_patients_changes_nothing():
    arena, material = simulated(strength=lambda levels, s: 1.0 + 0.3 * s + 0.5 * (levels["n4"] == "shared"))
    rng = np.random.default_rng(3)
    other = reordered(arena, rng.permutation(len(arena.y)), rng.permutation(6))
    assert split_variance(other, replace(material, results=material.results[::-1])) == split_variance(arena, material)


def without(arena, *names):
    kept = [i for i, name in enumerate(arena.names) if name not in names]
    return reordered(arena, np.arange(len(arena.y)), kept)


def test_a_level_whose_cells_failed_is_left_out():
    arena, material = simulated(strength=lambda _, s: 0.5 + 0.4 * s)
    found = split_variance(without(arena, "normalization=clahe", "normalization=clahe, n4=shared"), material)
    assert [share.degrees for share in found] == [1, 1, 3, 1, 3, 3, 3, 0]
    assert "of 4 cells at 4 sites" in found[0].share.method
    assert "without the failed level normalization=clahe" in found[0].share.method
    assert {share.without for share in found} == {("normalization=clahe",)}
    assert levels_dropped(found) == ["That is without the level “normalization=clahe”, cells of which are missing."]
    alone = split_variance(without(arena, "n4=shared"), material)  # one cell of six: its level of three, not of two
    assert "without the failed level normalization=minmax" in alone[0].share.method
    one_axis = split_variance(without(arena, *(name for name in arena.names if "shared" in name)), material)
    assert [share.source for share in one_axis] == ["normalization", "site", "normalization x site", NOISE]
    assert "n4=none throughout" in one_axis[0].share.method


def test_what_cannot_be_split_says_why():
    arena, material = simulated(strength=lambda *_: 1.0)
    diagonal = without(
        arena, *(name for name in arena.names if name not in {BASE, "normalization=clip99, n4=shared"})
    )
    assert split_variance(diagonal, material) == (
        "without the levels whose cells failed (normalization=clahe, normalization=minmax, n4=none) no axis has two "
        "levels"
    )
    single = replace(material, design="one-at-a-time")
    assert split_variance(arena, single).startswith("the design 'one-at-a-time' has no combinations of levels")
    same = replace(arena, probabilities=np.full_like(arena.probabilities, 1 / 3))
    assert split_variance(same, material) == "the macro AUC is the same in all cells and places"
    few = reordered(arena, np.flatnonzero(arena.y < 2).tolist() + np.flatnonzero(arena.y == 2)[:3].tolist(), range(6))
    assert split_variance(few, material) == "only 3 HER2-positive"
    assert split_variance(arena, material, metric="ece") == "resamples do not show the noise of the classwise ECE"
    with pytest.raises(StopRun, match="auc_mcro"):
        split_variance(arena, material, metric="auc_mcro")


@pytest.mark.parametrize(
    ("sites", "cohorts", "factor", "remark"),
    [
        ([40, 40, 40], [1, 1, 1], "site", ""),
        ([40, 40, 6], [1, 1, 1], "site", "6 patients of 1 site with too few left out"),
        ([40, 40], [1, 2], "cohort", ""),
        ([30, *[6] * 5, *[6] * 10], [1, *[1] * 5, *[2] * 10], "cohort", ""),
        ([6] * 20, [1] * 20, "", "20 sites with too few patients pooled"),
        ([60], [1], "", "one site"),
    ],
)
def test_sites_are_told_apart_where_they_have_enough_patients(sites, cohorts, factor, remark):
    material = material_of(AXES, resamples=100)
    site, cohort = (np.repeat(names, sites).astype(str) for names in (range(len(sites)), cohorts))
    y = np.concatenate([np.arange(n) % 3 for n in sites])
    scores = np.random.default_rng(4).normal(size=(6, 1, len(y), 3))
    grid = lay_out(arena_of(material, scores, y, site, cohort=cohort), material, find_measure("auc_macro", "triple"))
    assert (grid.factor, grid.remarks) == (factor, (remark,) if remark else ())


def test_sites_of_one_name_in_two_cohorts_are_two():
    material = material_of(AXES, resamples=100)
    y = np.arange(240) % 3
    site, cohort = np.repeat(["a", "b", "a", "b"], 60), np.repeat(["x", "y"], 120)
    arena = arena_of(material, np.random.default_rng(4).normal(size=(6, 1, 240, 3)), y, site, cohort=cohort)
    assert len(lay_out(arena, material, find_measure("auc_macro", "triple")).places) == 4


def test_what_seeds_move_is_noise():
    arena, material = simulated(strength=lambda _, s: 0.5 + 0.3 * s, own=0.0, n_seeds=3)
    rng = np.random.default_rng(5)
    mixed = arena.probabilities.copy()
    for c, s in np.ndindex(mixed.shape[:2]):  # a model that is better or worse by its seed alone, at all sites
        share = rng.uniform(0, 0.9)
        mixed[c, s] = (1 - share) * mixed[c, s] + share * rng.dirichlet(np.ones(3), mixed.shape[2])
    alone = shares(split_variance(replace(arena, probabilities=mixed[:, :1]), material))
    all_three = shares(split_variance(replace(arena, probabilities=mixed), material))
    axes = ("normalization", "n4", "normalization x n4")
    assert any(alone[axis].low > 0 for axis in axes)
    assert not any(all_three[axis].low > 0 for axis in axes)
    assert "patients and 3 seeds" in all_three[NOISE].method


def test_seeds_are_resampled_without_bias():
    values = np.random.default_rng(6).normal(size=(4, 5, 2))
    drawn = _seeds(values, 20_000, np.random.default_rng(7))
    assert drawn.mean(axis=0) == pytest.approx(np.zeros((5, 2)), abs=0.02)
    assert drawn.var(axis=0) == pytest.approx(values.var(axis=0, ddof=1) / 4, rel=0.05)
    assert (_seeds(values[:1], 3, np.random.default_rng(7)) == 0).all()


def test_errors_of_shared_training_are_widened():
    arena, material = simulated(strength=lambda _, s: 0.4 + 0.5 * s)
    plain, folded = (shares(split_variance(replace(arena, folds=f), material)) for f in (None, Folds(5)))
    assert folded[NOISE].value == pytest.approx(2.25 * plain[NOISE].value)
    assert "widened by 1.50 for 5 folds" in folded[NOISE].method
