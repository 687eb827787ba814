import dataclasses
import itertools
import math
import sys
import warnings

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from classify.applicability import fit_range
from classify.apply import apply_bundle
from classify.attribution import chain as chain_module
from classify.attribution.backward import before_algebra, before_pooling
from classify.attribution.chain import chain_of
from classify.attribution.everyone import everyone_of
from classify.attribution.leading_features import feature_shares, why_none
from classify.attribution.mixtures import mixer_of
from classify.attribution.odds import log_odds
from classify.attribution.shapley import draw_background, group_shares
from classify.bundle import Bundle
from classify.cases import gather
from classify.conformal import fit_conformal
from classify.heads import find_head
from classify.manifest import TrainingFacts
from classify.preparation import fit_preparation
from classify.source import Source
from classify.stacking import fit_stack
from classify.training import Model
from triher.cohort import Cohort, Patient
from triher.errors import StopRun
from triher.explanation_tables import GroupShare, mean_sizes, read_rows, write_rows
from triher.folds import stratified_folds
from triher.images import image_fingerprint
from triher.settings import ClassifyConfig
from triher.store import Features, Header

CLASSES = ("zero", "low", "positive")
VIEWS = ("early", "late", "pre")
EARLY_LATE = {"views": ("early-pre", "late")}


@dataclasses.dataclass(frozen=True)
class Made:
    """A bundle, the features that it was trained on, and their patients."""

    bundle: Bundle
    source: Source
    cohort: Cohort

    @property
    def everyone(self):
        return everyone_of(self.bundle, self.source, self.cohort)


@pytest.fixture
def lock(make_features):
    """Train on synthetic embeddings; the last nine patients are of a site that the training may lack."""

    def build(*, n=45, n_features=6, names=None, gaps=(), one_slice=False, held_out="", **classify):
        features = make_features(
            n=n, n_features=n_features, effect=1.2, seed=1, views=VIEWS if names is None else ("table",)
        )
        if one_slice:
            features = first_slices(features)
        for view, place in gaps:
            features.views[view][features.rows(place)] = np.nan
        covariates = tuple(classify.get("covariates", ()))
        rng = np.random.default_rng(5)
        patients = tuple(
            Patient(
                name, "A", "ABC"[i * 3 // n], "train", {}, None,
                covariates={c: float(rng.normal(50, 10) + 5 * (i % 3)) for c in covariates},
            )
            for i, name in enumerate(features.patient_id)
        )  # fmt: skip
        config = ClassifyConfig.model_validate({"pooling": ["mean"]} | classify)
        trained = Cohort(tuple(p for p in patients if p.site != held_out), (), frozenset())
        labels = {p.patient_id: i % 3 for i, p in enumerate(patients)}
        gathered = gather(
            trained, labels, (), features,
            accounted=(), config=config, classes=CLASSES, feature_names=names or {},
        )  # fmt: skip
        cases = gathered.cases
        header = Header({"name": "toy"}, {"slices": "all"}, {}, np.ones((2, n_features), np.float32))
        images = tuple(sorted(image_fingerprint(digest) for digest in gathered.input_sha256))
        bundle = Bundle(
            fit(cases, config),
            fit_range({}, cases.inputs.means()),
            header,
            "triple",
            gathered.views,
            config.pooling,
            cases.inputs.names if names else (),
            config.covariates,
            TrainingFacts(
                n=len(cases.y), class_counts=dict.fromkeys(CLASSES, 0), split="column", seed=0,
                labels_shuffled=False, images=images,
            ),
        )  # fmt: skip
        return Made(bundle, Source(header, features, names or {}), Cohort(patients, (), frozenset()))

    return build


def fit(cases, config):
    """A model of parameters that nobody has tuned, with a temperature."""
    head = find_head(config.head)
    params = {name: found.start for name, found in head.space.items()} | {
        head.dial.name: head.dial.values[len(head.dial.values) // 3]
    }
    preparation = fit_preparation(cases.inputs, config)
    design = preparation.design(cases.inputs)
    fitted = head.prepare(design, cases.y, 3, weights=None, exact=True).fit(params, 0)
    p, stack = fitted.probabilities(design), None
    if config.join == "late" and config.covariates:
        folds = stratified_folds(cases.y, cases.cohort, cases.group, folds=2, n_classes=3, seed=0)
        stack, _ = fit_stack(p, preparation.covariates(cases.inputs), cases.y, folds, 0)
    return Model(
        head.name, params, preparation, fitted, stack, 1.3, fit_conformal(p, cases.y, 0.1), (),
        cases.inputs.names_sha256, 0.0, {},
    )  # fmt: skip


def first_slices(features):
    """Every patient with the first slice alone."""
    rows = features.indptr[:-1]
    return Features(
        features.patient_id, features.input_sha256, np.arange(len(rows) + 1, dtype=np.int64),
        features.slice_index[rows], features.area_mm2[rows],
        {name: values[rows] for name, values in features.views.items()},
    )  # fmt: skip


def longest(made):
    """The chain of the patient with most slices, of those whom the model can predict."""
    everyone = made.everyone
    return everyone.chain(int(np.argmax(np.diff(everyone.features.indptr))))


def brute_force(chain, step=0.003):
    """Differences of the log-odds, one embedding at a time."""
    found = {}
    for name, rows in chain.features.views.items():
        moves = step * np.eye(rows.size, dtype=np.float32).reshape(rows.size, *rows.shape)
        up, down = (
            chain.log_odds(
                {
                    other: np.repeat(x[None], rows.size, axis=0) + sign * moves * (other == name)
                    for other, x in chain.features.views.items()
                }
            )
            for sign in (1, -1)
        )
        found[name] = ((up - down) / (2 * step)).T.reshape(3, *rows.shape)
    return found


GRADIENTS = {
    "all statistics": {"pooling": ["mean", "max", "min", "median", "std", "area", "q75", "top1", "top3"]},
    "algebra": {
        "views": ["early-pre", "ratio(late,pre)", "slope(pre@0,early@1.5,late@5)"],
        "pooling": ["mean", "q75"],
    },
    "components": {"components": 4, "pooling": ["mean", "std"]},
    "combat": {"harmonize": {"method": "combat", "unseen": "pass"}, "components": 5},
    "joins early": {"covariates": ["age"], "join": "early"},
    "joins late": {"covariates": ["age"], "join": "late", "pooling": ["max", "median"]},
    "ordinal": {"head": "ordinal"},
    "hierarchical": {"head": "hierarchical-logistic", "pooling": ["mean", "area"]},
    "elastic net": {"head": "elastic-net"},
    "attention": {"head": "mil-attention", **EARLY_LATE},
    "mean of rows": {"head": "mil-mean", "covariates": ["age"], "join": "early"},
}  # fmt: skip


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradient_agrees_with_differences_through_the_whole_chain(lock, name):
    chain = longest(lock(**GRADIENTS[name]))
    gradient, expected = chain.gradient(chain.features.views), brute_force(chain)
    assert chain.is_smooth
    assert gradient.keys() == chain.features.views.keys()
    largest = max(np.abs(slopes).max() for slopes in expected.values())
    assert largest > 1e-3
    for view, slopes in expected.items():
        np.testing.assert_allclose(gradient[view], slopes, atol=2e-3 * largest, err_msg=view)


def test_gradient_is_that_of_softmax_regression_in_closed_form(lock):
    made = lock(views=["early"])
    chain = longest(made)
    model, rows = made.bundle.model, chain.features.views["early"]
    head = model.fitted
    weights = head.coef / head.scale
    p = softmax((weights @ (rows.mean(axis=0) - head.mean) + head.intercept) / model.temperature)
    gradient = chain.gradient(chain.features.views)
    for c in range(3):
        others = [k for k in range(3) if k != c]
        slope = (weights[c] - p[others] @ weights[others] / p[others].sum()) / model.temperature / len(rows)
        np.testing.assert_allclose(gradient["early"][c], np.tile(slope, (len(rows), 1)), rtol=2e-6)
    assert not gradient["late"].any()
    assert not gradient["pre"].any(), "a view that the model does not use"


@pytest.mark.parametrize("head", ["logistic", "hierarchical-xgboost", "majority", "mil-attention"])
def test_log_odds_are_those_of_the_applied_bundle(lock, head):
    made = lock(head=head, covariates=["age"], harmonize={"method": "combat", "unseen": "pass"}, **EARLY_LATE)
    table, _ = apply_bundle(made.bundle, made.source, made.cohort, labels=None)
    p = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    everyone = made.everyone
    for place in (0, 7, 44):
        chain = everyone.chain(place)
        found = chain.log_odds({name: rows[None] for name, rows in chain.features.views.items()})
        np.testing.assert_allclose(found[0], np.log(p[place] / (1 - p[place])), atol=1e-5)
    assert chain.is_smooth == (head not in ("hierarchical-xgboost", "majority"))
    if not chain.is_smooth:
        with pytest.raises(TypeError, match="has no slopes"):
            chain.gradient(chain.features.views)


def test_variants_do_not_depend_on_each_other(lock, monkeypatch):
    chain = longest(lock(pooling=["max", "std"]))
    rng = np.random.default_rng(0)
    variants = {k: x + rng.normal(size=(9, *x.shape)).astype(np.float32) for k, x in chain.features.views.items()}
    together = chain.log_odds(variants)
    monkeypatch.setattr(chain_module, "_VALUES_AT_ONCE", 1)
    np.testing.assert_allclose(together, chain.log_odds(variants), atol=1e-9)
    assert chain.log_odds({k: x[:0] for k, x in variants.items()}).shape == (0, 3)


def test_the_order_of_the_slices_does_not_matter(lock):
    chain = longest(lock(pooling=["top1", "q75", "area"]))
    features, order = chain.features, np.array([2, 0, 3, 1])
    turned = dataclasses.replace(
        features,
        slice_index=features.slice_index[order],
        area_mm2=features.area_mm2[order],
        views={name: rows[order] for name, rows in features.views.items()},
    )
    other = chain_of(chain.bundle, chain.patient, turned, {})
    for name, slopes in other.gradient(turned.views).items():
        np.testing.assert_array_equal(slopes, chain.gradient(features.views)[name][:, order])


def test_slices_that_tie_share_the_slope_of_the_maximum(lock):
    chain = longest(lock(pooling=["max"]))
    tied = {name: np.repeat(rows[:1], len(rows), axis=0) for name, rows in chain.features.views.items()}
    slopes = chain.gradient(tied)["early"]
    np.testing.assert_allclose(slopes, np.repeat(slopes[:, :1], 4, axis=1), rtol=1e-6)


def test_slopes_of_statistics_are_those_of_their_formulas(make_features):
    n, area = 5, np.array([20.0, 30.0, 10.0, 25.0, 15.0], np.float32)
    rows = np.array([[3.0], [-1.0], [40.0], [7.0], [7.5]], np.float32)
    features = Features(("P",), ("0",), np.array([0, n]), np.arange(n, dtype=np.int32), area, {"early": rows})
    x = rows[:, 0].astype(float)
    expected = {
        "mean": np.full(n, 1 / n),
        "std": (x - x.mean()) / (n * x.std()),
        "area": area / area.sum(),
        "max": np.eye(n)[2],
        "median": np.eye(n)[3],
        "q90": 0.4 * np.eye(n)[4] + 0.6 * np.eye(n)[2],
        "top3": np.array([1, 1, 0, 1, 0]) / 3,
    }
    found = before_pooling(features, {"early": list(expected)}, np.eye(len(expected))[:, None])["early"][:, :, 0]
    np.testing.assert_allclose(found, list(expected.values()), atol=1e-7)


def test_a_relative_change_of_nothing_has_no_slope_and_one_from_nothing_has_one():
    views = {"a": np.array([[0.0, 0.0, -2.0]], np.float32), "b": np.array([[0.0, 4.0, 2.0]], np.float32)}
    features = Features(("P",), ("0",), np.array([0, 1]), np.zeros(1, np.int32), np.ones(1, np.float32), views)
    found = before_algebra(features, ["ratio(a,b)"], {"ratio(a,b)": np.ones((1, 1, 3))})
    np.testing.assert_allclose(found["a"][0, 0], [0, 1 / 4, 0])
    np.testing.assert_allclose(found["b"][0, 0], [0, 0, 0])


def test_a_table_is_taken_column_by_column_as_in_training(lock):
    names = tuple(f"shape {i}" for i in range(6))
    made = lock(names={"table": names}, one_slice=True, pooling=["mean", "max"])
    assert made.bundle.feature_names == names
    chain = longest(made)
    np.testing.assert_allclose(chain.gradient(chain.features.views)["table"], brute_force(chain)["table"], atol=2e-3)


def test_a_view_with_gaps_has_no_slope_and_the_others_keep_theirs(lock):
    made = lock(missing="impute", gaps=[("late", 4), ("late", 9)])
    chain = made.everyone.chain(4)
    gradient = chain.gradient(chain.features.views)
    assert not gradient["late"].any()
    assert np.abs(gradient["early"]).max() > 0


def test_a_patient_whom_the_model_cannot_predict_stops_with_the_reason(lock):
    made = lock(covariates=["age"])
    patient = dataclasses.replace(made.cohort.patients[0], covariates={"age": math.nan})
    with pytest.raises(StopRun, match="no value of age") as caught:
        chain_of(made.bundle, patient, made.source.features.select([0]), {})
    assert caught.value.code == "covariate_missing"


def test_log_odds_of_sure_predictions_stay_finite_and_keep_their_digits():
    p = np.array([[1.0, 0.0, 0.0], [1 - 3e-12, 1e-12, 2e-12]])
    found = log_odds(p)
    assert np.isfinite(found).all()
    assert np.abs(found[0]).max() < 34.6
    np.testing.assert_allclose(found[1, 0], -math.log(3e-12), rtol=1e-12)


def test_a_site_that_is_standardized_by_itself_is_settled_by_all_of_its_patients(lock):
    made = lock(harmonize={"method": "sitewise", "unseen": "standardize"}, held_out="C")
    table, _ = apply_bundle(made.bundle, made.source, made.cohort, labels=None)
    p = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    everyone = made.everyone
    assert everyone.in_training.tolist() == [patient.site != "C" for patient in everyone.patients]
    chain = everyone.chain(44)
    found = chain.log_odds({name: rows[None] for name, rows in chain.features.views.items()})
    np.testing.assert_allclose(found[0], np.log(p[44] / (1 - p[44])), atol=1e-5)
    alone = chain_of(made.bundle, everyone.patients[44], everyone.features.select([44]), {})
    assert np.abs(alone.log_odds({k: x[None] for k, x in chain.features.views.items()}) - found).max() > 0.01


@pytest.fixture
def shap(monkeypatch):
    """The library, with the two functions that it translates for seconds taken as they are written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap
    for name in (
        "utils._masked_model._build_fixed_multi_output",
        "explainers._exact._compute_grey_code_row_values",
        "explainers._exact._compute_grey_code_row_values_st",
    ):
        module, _, function = name.rpartition(".")
        place = __import__(f"shap.{module}", fromlist=[function])
        monkeypatch.setattr(place, function, getattr(place, function).py_func)
    return shap


def shapley_by_hand(mixer, place, background):
    """The mean over all orders of the groups."""
    groups = range(len(mixer.groups))

    def worth(shown):
        who = np.array([[place if group in shown else other for group in groups] for other in background])
        return mixer.log_odds(who).mean(axis=0)

    values = np.zeros((len(mixer.groups), 3))
    orders = list(itertools.permutations(groups))
    for order in orders:
        for position, group in enumerate(order):
            values[group] += worth(order[: position + 1]) - worth(order[:position])
    return values / len(orders), worth(())


SHARES = {
    "logistic": {"covariates": ["age"], "join": "late", "harmonize": {"method": "combat"}, **EARLY_LATE},
    "ordinal": {"covariates": ["age"], "components": 4, **EARLY_LATE},
    "xgboost": {"covariates": ["age"], "pooling": ["mean", "max"], **EARLY_LATE},
    "mil-attention": {"covariates": ["age"], **EARLY_LATE},
}


@pytest.mark.parametrize("head", SHARES)
def test_shares_of_views_and_covariates_are_shapley_values_and_sum_to_the_log_odds(lock, shap, head):
    everyone = lock(head=head, **SHARES[head]).everyone
    training, place = list(range(3, 40)), 41
    rows = group_shares(everyone, [place], training, most=7, seed=0)
    background, mixer = draw_background(training, 7, 0), mixer_of(everyone)
    values, base = shapley_by_hand(mixer, place, background)
    found = np.array([row.phi for row in rows]).reshape(3, 3)
    np.testing.assert_allclose(found, values.T, atol=1e-9)
    chain = everyone.chain(place)
    own = chain.log_odds({name: rows[None] for name, rows in chain.features.views.items()})[0]
    np.testing.assert_allclose(found.sum(axis=1), own - base, atol=1e-5)
    alone = [everyone.chain(i) for i in background]
    means = np.mean([c.log_odds({k: x[None] for k, x in c.features.views.items()})[0] for c in alone], axis=0)
    np.testing.assert_allclose([row.base for row in rows[::3]], means, atol=1e-5)
    assert [(row.group, row.kind) for row in rows[:3]] == [
        ("early-pre", "view"),
        ("late", "view"),
        ("age", "covariate"),
    ]
    assert rows[2].value == everyone.patients[place].covariates["age"]
    assert math.isnan(rows[0].value)


def test_a_group_that_the_model_ignores_gets_nothing(lock, shap):
    everyone = lock(head="majority", **EARLY_LATE).everyone
    assert {round(row.phi, 12) for row in group_shares(everyone, [0, 1], range(10), most=5, seed=0)} == {0.0}


def test_shares_of_many_groups_sum_to_the_log_odds_too(lock, shap):
    names = [f"marker {i}" for i in range(7)]
    everyone = lock(covariates=names, pooling=["max"]).everyone
    rows = group_shares(everyone, [2], range(10), most=3, seed=0)
    assert len(rows) == 10 * 3
    others = group_shares(everyone, [4, 2], range(10), most=3, seed=0)
    assert [row.phi for row in others[30:]] == [row.phi for row in rows], "whoever else is explained"
    chain = everyone.chain(2)
    own = chain.log_odds({name: x[None] for name, x in chain.features.views.items()})[0]
    for number, label in enumerate(CLASSES):
        here = [row for row in rows if row.label == label]
        assert sum(row.phi for row in here) == pytest.approx(own[number] - here[0].base, abs=1e-5)


@pytest.mark.parametrize("head", ["logistic", "elastic-net"])
def test_shares_of_features_of_a_linear_head_are_coefficient_times_distance_from_the_mean(lock, shap, head):
    everyone = lock(head=head, covariates=["age"], join="early").everyone
    model = everyone.bundle.model
    rows = feature_shares(everyone, [0, 5], range(10), most=10, seed=0, top=100)
    design = model.preparation.design(everyone.inputs).vectors.astype(float)
    weights = model.fitted.coef / model.fitted.scale
    weights = weights - weights.mean(axis=0)
    names = [*everyone.inputs.names, "age"]
    for row in rows:
        place, column = 5 * (row.patient_id == everyone.patients[5].patient_id), names.index(row.feature)
        expected = weights[CLASSES.index(row.label), column] * (design[place, column] - design[:10, column].mean())
        assert row.phi == pytest.approx(expected, abs=1e-6)
        assert row.value == pytest.approx(design[place, column])
    assert len(rows) == 2 * 3 * len(names)


def test_shares_of_features_of_trees_sum_to_the_margins(lock, shap):
    everyone = lock(head="xgboost").everyone
    rows = feature_shares(everyone, [0, 44], range(12), most=12, seed=0, top=100)
    design = everyone.bundle.model.preparation.design(everyone.inputs).vectors
    margins = everyone.bundle.model.fitted.booster.inplace_predict(design, predict_type="margin")
    margins = margins - margins.mean(axis=1, keepdims=True)
    expected = margins[[0, 44]] - margins[:12].mean(axis=0)
    np.testing.assert_allclose(np.array([row.phi for row in rows]).reshape(2, 3, -1).sum(axis=2), expected, atol=1e-4)


def test_only_the_leading_features_are_kept_and_components_have_numbers(lock, shap):
    everyone = lock(components=5, covariates=["age"], join="early").everyone
    every = feature_shares(everyone, range(10), range(10), most=10, seed=0)
    rows = feature_shares(everyone, range(10), range(10), most=10, seed=0, top=2)
    assert {row.feature for row in every} == {*(f"component {i}" for i in range(1, 6)), "age"}
    sizes = {}
    for size in mean_sizes(every):
        assert size.n == 10
        sizes[size.name] = sizes.get(size.name, 0) + size.mean
    assert {row.feature for row in rows} == set(sorted(sizes, key=sizes.get)[-2:])


def test_other_heads_say_why_their_features_have_no_shares(lock):
    everyone = lock(head="mil-mean").everyone
    assert "mil-mean" in why_none(everyone)
    with pytest.raises(ValueError, match="no exact values"):
        feature_shares(everyone, [0], [1], most=1, seed=0)


def test_a_missing_library_is_named_with_its_extra(lock, monkeypatch):
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(StopRun, match=r"Shapley values need shap.*triher\[explain\]"):
        group_shares(lock().everyone, [0], [1], most=1, seed=0)


@pytest.mark.fault("C25")
def test_rows_survive_the_table_whatever_the_ids_hold(tmp_path):
    rows = [
        GroupShare('=1+"<script>', "low", "early-pre", "view", math.nan, 0.1 + 0.2, -1.0),
        GroupShare("P2", "low", "age", "covariate", 51.0, -1e-17, -1.0),
    ]
    path = tmp_path / "shap_groups.csv"
    write_rows(path, GroupShare, rows)
    assert path.read_text().splitlines()[0] == "patient_id,class,group,kind,value,phi,base"
    found = read_rows(path, GroupShare)
    assert math.isnan(found[0].value)
    assert dataclasses.replace(found[0], value=0.0) == dataclasses.replace(rows[0], value=0.0)
    assert found[1] == rows[1]
    assert read_rows(tmp_path / "none.csv", GroupShare) == ()
    write_rows(path, GroupShare, [])
    assert read_rows(path, GroupShare) == ()
    path.write_text("patient_id,class,group,kind,value,phi,base\nP,low,g,view,,x,0\n")
    with pytest.raises(StopRun, match="number_format"):
        read_rows(path, GroupShare)


def test_logsumexp_is_the_denominator_of_the_odds():
    z = np.array([[0.3, -1.0, 2.0]])
    expected = [z[0, c] - logsumexp(np.delete(z[0], c)) for c in range(3)]
    np.testing.assert_allclose(log_odds(softmax(z, axis=1))[0], expected, rtol=1e-12)
