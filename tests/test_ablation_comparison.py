"""Cells against the base: DeLong and loops as second opinions, Holm's families, and lattices where all are alike."""

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from statsmodels.stats.multitest import multipletests

from analysis.ablation.comparison import RUNS_AWAY, compare, compare_metric, estimates, missing_base
from analysis.ablation.material import Arena, CellResult, StudyMaterial
from analysis.ablation.measures import MEASURES, draw, draw_seeds, find_measure, measures_of, resample, values
from analysis.calibration.ece import ece_estimates
from analysis.calibration.logistic_model import binary_design, fit_logistic, logit, two_classes
from analysis.discrimination.auc_tests import paired_test
from analysis.discrimination.aucs import SEPARATED, low_vs_positive_scores, zero_vs_rest_scores
from analysis.discrimination.confusion import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    sensitivities,
    specificities,
)
from analysis.inference.bootstrap import NO_VARIATION, multiplicities
from analysis.inference.cross_validation import Folds
from triher.errors import StopRun
from triher.settings import Config
from triher.study import BASE, Cell

CLASSES = ("zero", "low", "positive")


def predict(y, signal, seed):
    """Probabilities that know the class as well as the signal says."""
    return softmax(signal * np.eye(3)[y] + np.random.default_rng(seed).normal(size=(len(y), 3)), axis=1)


def make_arena(probabilities, y, *, names=None, folds=None, split="test", classes=CLASSES):
    """An arena of the given cells, each [patient, class] or [seed, patient, class]."""
    stacked = np.array([p if p.ndim == 3 else p[None] for p in probabilities])
    names = names or (BASE, *(f"c{i}" for i in range(1, len(stacked))))
    ids, where = tuple(f"P{i:04d}" for i in range(len(y))), np.full(len(y), "A")
    own = dict.fromkeys(names, len(y))
    return Arena(split, classes, ids, y, y, where, where, names, stacked, folds, own)


def make_material(*arenas, resamples=150, scheme="triple", results=(), **ablation):
    """A study that ends in the arenas."""
    tree = {"cohort": {"table": "c.csv"}, "scheme": scheme, "seed": 1, "ablation": ablation}
    config = Config.model_validate(tree | {"analysis": {"resamples": resamples}})
    return StudyMaterial(config, {}, "list", results, arenas)


def of(found, cell, measure="auc_macro"):
    return next(one for one in found if (one.cell, one.measure) == (cell, measure))


Y = np.arange(150) % 3


def test_values_are_those_of_other_implementations():
    p = predict(Y, 1.0, 0)
    arena = make_arena([p], Y)
    found = {name: values(arena, measure)[0, 0] for name, measure in measures_of("triple").items()}
    assert found["auc_macro"] == pytest.approx(roc_auc_score(Y, p, multi_class="ovr", average="macro"))
    assert found["auc:positive"] == pytest.approx(roc_auc_score(Y == 2, p[:, 2]))
    assert found["auc_zero_vs_rest"] == pytest.approx(roc_auc_score(*zero_vs_rest_scores(Y, p)))
    assert found["auc_low_vs_positive"] == pytest.approx(roc_auc_score(*low_vs_positive_scores(Y, p)))
    assert found["log_loss"] == pytest.approx(log_loss(Y, p))
    assert found["brier"] == pytest.approx(((p - np.eye(3)[Y]) ** 2).sum(axis=1).mean())
    assert found["ece"] == pytest.approx(ece_estimates(Y, p, seed=0)["ece_classwise"].value)
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(p[:, 2].copy())[:, None], Y == 2)
    assert found["slope:positive"] == pytest.approx(model.coef_[0, 0], abs=1e-5)


def test_draws_are_those_of_a_loop_over_repeated_patients():
    cells = [np.stack([predict(Y, 1.0, 1), predict(Y, 1.0, 2)]), np.stack([predict(Y, 0.5, 3), predict(Y, 0.5, 4)])]
    arena = make_arena(cells, Y)
    weights = multiplicities(Y, 5, np.random.default_rng(0))
    found = draw(arena, MEASURES["auc_macro"], weights)
    seeds = draw_seeds(arena, MEASURES["brier"], weights)
    for r, times in enumerate(weights):
        again = np.repeat(np.arange(len(Y)), times)
        for c, cell in enumerate(cells):
            each = [roc_auc_score(Y[again], p[again], multi_class="ovr", average="macro") for p in cell]
            assert found[c, r] == pytest.approx(np.mean(each), abs=1e-11)
            losses = ((cell[1][again] - np.eye(3)[Y[again]]) ** 2).sum(axis=1)
            assert seeds[c, 1, r] == pytest.approx(losses.mean(), abs=1e-11)


def test_slopes_of_resamples_are_those_of_a_fit_to_each():
    p = predict(Y, 1.0, 5)
    weights = multiplicities(Y, 12, np.random.default_rng(0))
    found = draw(make_arena([p], Y), MEASURES["slope:low"], weights)[0]
    x = logit(p[:, 1].copy())[:, None]
    fitted = [
        LogisticRegression(C=np.inf, tol=1e-9).fit(x, Y == 1, sample_weight=times).coef_[0, 0] for times in weights
    ]
    assert found == pytest.approx(fitted, abs=1e-4)


def test_slopes_that_run_away_in_some_resamples_have_a_reason_and_no_interval():
    y = Y[:45]
    steep, flat = predict(y, 2.5, 0), predict(y, 0.5, 1)
    weights = multiplicities(y, 300, np.random.default_rng(0))
    known = draw(make_arena([steep], y), MEASURES["slope:low"], weights)[0]
    x, there = logit(steep[:, 1].copy()), []
    for times in weights[:40]:
        again = np.repeat(np.arange(len(y)), times)
        design = binary_design(np.column_stack([x[again], np.ones(len(y))]))
        fit = fit_logistic(design, two_classes(y[again] == 1), np.zeros((len(y), 2)))
        there.append(math.nan if fit is None or fit.standard_errors[0] > 10 else fit.coefficients[0])
    assert 0 < np.isnan(there).sum() < 40
    assert known[:40] == pytest.approx(there, abs=1e-4, nan_ok=True)
    arena = make_arena([flat, steep], y)
    found = compare(arena, make_material(arena, resamples=300))
    base, other = of(found, BASE, "slope:low"), of(found, "c1", "slope:low")
    assert math.isfinite(base.own.low)
    assert math.isfinite(other.own.value)
    for one in (other.own, other.difference):
        assert one.reason == RUNS_AWAY
        assert math.isnan(one.low)
        assert math.isnan(one.high)
    assert math.isnan(other.p)


def test_the_paired_difference_agrees_with_delong():
    base, other = predict(Y, 1.2, 6), predict(Y, 0.7, 7)
    arena = make_arena([base, other], Y)
    found = of(compare(arena, make_material(arena, resamples=2500)), "c1", "auc_zero_vs_rest")
    condition, first = zero_vs_rest_scores(Y, other)
    tested = paired_test(condition, first, zero_vs_rest_scores(Y, base)[1], names=("a", "b"))
    assert found.difference.value == pytest.approx(tested.difference.value, abs=1e-12)
    assert found.difference.low == pytest.approx(tested.difference.low, abs=0.01)
    assert found.difference.high == pytest.approx(tested.difference.high, abs=0.01)
    assert norm.isf(found.p / 2) == pytest.approx(abs(tested.statistic), rel=0.06)


def test_folds_widen_interval_and_p_value_alike():
    arena = make_arena([predict(Y, 1.0, 8), predict(Y, 0.8, 9)], Y)
    folded = replace(arena, folds=Folds(5))
    plain, wide = (of(compare_metric(one, make_material(one)), "c1") for one in (arena, folded))
    assert wide.difference.value == plain.difference.value
    ratio = (wide.difference.high - wide.difference.low) / (plain.difference.high - plain.difference.low)
    assert ratio == pytest.approx(1.5)
    assert norm.isf(plain.p / 2) / norm.isf(wide.p / 2) == pytest.approx(1.5)
    assert (wide.own.high - wide.own.low) == pytest.approx(1.5 * (plain.own.high - plain.own.low))
    assert "Nadeau & Bengio" in wide.difference.method
    for one in (plain, wide):
        assert (one.p < 0.05) == (one.difference.low * one.difference.high > 0)


def test_the_same_predictions_are_no_finding():
    p = predict(Y, 1.0, 10)
    arena = make_arena([p, p.copy(), 0.5 * p + 1 / 6], Y, folds=Folds(5))
    found = compare(arena, make_material(arena))
    for one in (of(found, "c1", name) for name in measures_of("triple")):
        assert (one.difference.value, one.p) == (0, 1)
        assert one.difference.reason == NO_VARIATION
        assert math.isnan(one.difference.low)
    ranked_alike = of(found, "c2")
    assert (ranked_alike.difference.value, ranked_alike.p, ranked_alike.p_corrected) == (0, 1, 1)
    assert of(found, "c2", "brier").p < 0.05


def test_holm_corrects_planned_cells_and_all_others_apart():
    cells = [predict(Y, 1.0, seed) for seed in range(11, 17)]
    first = make_arena(cells, Y)
    second = replace(first, split="oof")
    material = make_material(first, second, resamples=100, primary=["c2", "c4", "failed"])
    found = {one.cell: one for one in compare_metric(first, material)}
    planned = multipletests([found["c2"].p, found["c4"].p, 1.0], method="holm")[1]
    others = multipletests([found[name].p for name in ("c1", "c3", "c5")], method="holm")[1]
    assert [found[name].p_corrected for name in ("c2", "c4")] == pytest.approx(planned[:2].tolist())
    assert [found[name].p_corrected for name in ("c1", "c3", "c5")] == pytest.approx(others.tolist())
    assert [name for name, one in found.items() if one.is_primary] == ["c2", "c4"]
    assert found[BASE].difference is None
    assert math.isnan(found[BASE].p)
    described = [*compare(second, material), *compare(first, material)[len(cells) :]]
    assert all(math.isnan(one.p_corrected) and not one.is_primary for one in described)


def test_the_order_of_the_patients_changes_no_difference():
    cells, turn = [predict(Y, 1.0, 18), predict(Y, 0.6, 19)], np.random.default_rng(0).permutation(len(Y))
    one, other = make_arena(cells, Y), make_arena([p[turn] for p in cells], Y[turn])
    first, second = (of(compare_metric(arena, make_material(arena)), "c1") for arena in (one, other))
    assert first.difference.value == second.difference.value
    assert first.own.value == second.own.value


def test_without_the_base_the_cells_stand_alone_and_say_so():
    arena = make_arena([predict(Y, 1.0, 20), predict(Y, 1.0, 21)], Y, names=("c1", "c2"))
    failed = CellResult(Cell(name=BASE, levels={}, changes={}), (), None, "no memory", "device_memory", "failed")
    material = make_material(arena, results=(failed,))
    assert all(one.difference is None and math.isnan(one.p) for one in compare(arena, material))
    assert missing_base(arena, material) == "no memory"
    assert missing_base(make_arena([predict(Y, 1.0, 20)], Y), material) == ""


@pytest.mark.fault("E1", "E2", "E3", "E4", "E5")
def test_what_cannot_be_estimated_has_its_reason():
    y = np.array([0] * 40 + [1] * 40 + [2] * 3)
    arena = make_arena([predict(y, 1.0, 22), predict(y, 0.5, 23)], y)
    found = compare(arena, make_material(arena))
    few = of(found, "c1")
    assert few.own.reason == few.difference.reason == "only 3 HER2-positive"
    assert math.isnan(few.own.low)
    assert math.isnan(few.p)
    assert not math.isnan(few.difference.value)
    assert of(found, "c1", "auc_zero_vs_rest").own.low < of(found, "c1", "auc_zero_vs_rest").own.value
    lacking = make_arena([predict(y[:80], 1.0, 22), predict(y[:80], 0.5, 23)], y[:80])
    none = of(compare(lacking, make_material(lacking)), "c1")
    assert str(none.own) == str(none.difference) == "not estimable (0 HER2-positive)"
    perfect, constant = np.eye(3)[Y] * 0.97 + 0.01, np.full((len(Y), 3), 1 / 3)
    ends = make_arena([perfect, constant], Y)
    found = compare(ends, make_material(ends))
    assert of(found, BASE).own.reason == SEPARATED
    assert of(found, BASE).own.low < 1
    assert of(found, "c1").own.reason == "all scores are equal"
    assert of(found, "c1").difference.value == -0.5
    assert of(found, "c1").difference.reason == NO_VARIATION
    assert math.isnan(of(found, "c1").p)
    assert "no maximum" in of(found, BASE, "slope:low").own.reason


def test_binary_schemes_have_no_nested_questions_and_unknown_measures_are_named():
    assert "auc_zero_vs_rest" not in measures_of("binary")
    assert find_measure("auc:positive", "binary").higher_is_better
    with pytest.raises(StopRun, match=r"unknown measure .* did you mean 'auc_macro'"):
        find_measure("auc_makro", "triple")
    p = predict(Y, 1.0, 24)[:, :2]
    arena = make_arena([p / p.sum(axis=1, keepdims=True)] * 2, Y % 2, classes=("negative", "positive"))
    found = compare(arena, make_material(arena, scheme="binary", resamples=100))
    assert of(found, "c1", "auc:negative").own.value == of(found, "c1", "auc:positive").own.value


def test_two_classes_have_the_shares_of_the_papers():
    p = predict(Y, 1.0, 24)[:, :2]
    p, y, classes = p / p.sum(axis=1, keepdims=True), Y % 2, ("negative", "positive")
    arena = make_arena([p], y, classes=classes)
    config = make_material(arena, scheme="binary", resamples=1000).config
    counts = confusion_matrix(y, p)
    expected = {
        "accuracy": accuracy(counts),
        "balanced_accuracy": balanced_accuracy(counts, classes, resamples=1000, seed=1),
        "sensitivity:positive": sensitivities(counts, classes)[1],
        "specificity:positive": specificities(counts, classes)[1],
    }
    for name, estimate in expected.items():
        [own] = estimates(arena, find_measure(name, "binary"), resample(arena, config))
        assert own.value == pytest.approx(estimate.value)
        assert (own.low, own.high) == pytest.approx((estimate.low, estimate.high), abs=0.03)
    nobody = make_arena([p[y == 0]], y[y == 0], classes=classes)
    weights = resample(nobody, config)
    assert estimates(nobody, MEASURES["sensitivity:positive"], weights)[0].reason == "0 HER2-positive"
    specificity = estimates(nobody, MEASURES["specificity:positive"], weights)[0].value
    assert specificity == pytest.approx(specificities(counts, classes)[1].value)


def test_resamples_are_the_same_for_everybody_who_asks():
    arena = make_arena([predict(Y, 1.0, 25)], Y)
    config = make_material(arena).config
    assert np.array_equal(resample(arena, config), resample(replace(arena, split="oof"), config))


@pytest.fixture
def benchmark(monkeypatch):
    path = Path(__file__).parents[1] / "benchmarks" / "lattices.py"
    spec = importlib.util.spec_from_file_location("lattices", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "lattices", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_lattices_in_which_all_cells_are_alike_seldom_claim_a_winner(benchmark):
    """All 200, and other sizes, are in `benchmarks/lattices.py`: 95 % of honest runs of 20 have 3 claims at most."""
    found = {
        kind: list(benchmark.lattices(benchmark.Setting(kind, 300, 0.5), 20, 13))
        for kind in ("cross-validated", "identical", "destroyed")
    }
    claimed = {kind: sum(any(benchmark.claims(study)) for study in studies) for kind, studies in found.items()}
    assert claimed["cross-validated"] <= 3
    assert claimed["identical"] == 0
    assert all(study[-1].difference.value < 0 and study[-1].p_corrected < 0.05 for study in found["destroyed"])
