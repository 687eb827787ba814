import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from classify import boosting, logistic, majority
from classify.design import one_row_each
from classify.heads import HEADS, find_head
from triher.errors import StopRun

ANY = [name for name, head in HEADS.items() if not head.takes_probabilities]
"""Heads of any features."""
LOCKABLE = [name for name in ANY if HEADS[name].lockable]
PATH_ATOL = {"logistic": 2e-4, "ordinal": 2e-4, "hierarchical-logistic": 4e-4, "elastic-net": 5e-3}
"""These fit their path in float32, and the last two multiply or stop early."""
SCREENED = ("xgboost", "hierarchical-xgboost")
"""Their paths for trials are of other trees than those that are fitted: only the exact ones can be compared."""
PARAMS = {
    name: {key: where.start for key, where in head.space.items()}
    | {head.dial.name: head.dial.values[len(head.dial.values) // 2]}
    for name, head in HEADS.items()
}


def data(n=60, p=20, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    X = rng.normal(size=(n, p)).astype(np.float32)
    X[:, 0] += 2 * y
    return X, y


def fit(name, X, y, n_classes=3, seed=0):
    part = find_head(name).prepare(one_row_each(X), y, n_classes, weights=None, exact=True)
    return part.fit(PARAMS[name], seed)


def fit_logistic(X, y, n_classes, C):
    part = logistic.prepare(one_row_each(X), y, n_classes, weights=None, exact=True)
    return part.fit({"C": C}, 0).probabilities(one_row_each(X))


@pytest.mark.parametrize("shape", [(60, 20), (30, 200)])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_logistic_equals_scikit_learn_on_the_features_themselves(shape, n_classes):
    X, y = data(*shape, n_classes=n_classes)
    for C in (0.01, 1.0, 100.0):
        ours = fit_logistic(X, y, n_classes, C)
        Z = StandardScaler().fit_transform(X.astype(float)) / np.sqrt(X.shape[1])
        theirs = LogisticRegression(C=C, max_iter=10_000, tol=1e-10).fit(Z, y).predict_proba(Z)
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_logistic_drops_constants_and_bears_duplicates():
    X, y = data(p=5)
    more = np.column_stack([X, np.full(60, 7.3, np.float32), np.zeros(60, np.float32), X[:, 0]])
    fitted = fit("logistic", more, y)
    assert np.abs(fitted.coef[:, 5:7]).max() == 0
    np.testing.assert_allclose(fitted.coef[:, 0], fitted.coef[:, 7], rtol=1e-6)
    changed = more.copy()
    changed[:, 5] = 1e6
    np.testing.assert_array_equal(
        fitted.probabilities(one_row_each(more)), fitted.probabilities(one_row_each(changed))
    )


@pytest.mark.parametrize("name", ANY)
@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_probabilities_have_all_columns_and_sum_to_one(name, n_classes):
    X, y = data(n_classes=n_classes)
    p = fit(name, X, y, n_classes).probabilities(one_row_each(X))
    assert p.shape == (60, n_classes)
    assert p.dtype == np.float64
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)
    assert name == "majority" or (p.argmax(axis=1) == y).mean() > 1 / n_classes


@pytest.mark.parametrize("name", LOCKABLE)
def test_a_head_survives_its_file(name):
    X, y = data()
    fitted = fit(name, X, y)
    again = find_head(name).load(fitted.to_bytes(), n_features=20, n_classes=3)
    np.testing.assert_allclose(again.probabilities(one_row_each(X)), fitted.probabilities(one_row_each(X)), atol=1e-7)
    assert again.to_bytes() == fitted.to_bytes()


@pytest.mark.parametrize("name", [name for name in ANY if not HEADS[name].takes_bags])
def test_the_path_is_the_fits_one_after_the_other(name):
    X, y = data()
    head = find_head(name)
    part = head.prepare(one_row_each(X), y, 3, weights=None, exact=name in SCREENED)
    searched = {key: value for key, value in PARAMS[name].items() if key != head.dial.name}
    path = list(zip(head.dial.values, part.along(searched, 0, one_row_each(X)), strict=True))
    for value, p in path[:: max(1, len(path) // 6)]:
        alone = part.fit({**searched, head.dial.name: value}, 0).probabilities(one_row_each(X))
        np.testing.assert_allclose(p, alone, atol=PATH_ATOL.get(name, 1e-6))


@pytest.mark.parametrize("name", LOCKABLE)
def test_equal_seeds_give_equal_bytes(name):
    X, y = data()
    assert fit(name, X, y).to_bytes() == fit(name, X, y).to_bytes()


def outcome(name, X, y):
    try:
        return fit(name, X, y)
    except StopRun as stop:
        return stop


@pytest.mark.fault("E1")
@pytest.mark.parametrize("name", ANY)
@pytest.mark.parametrize("absent", [0, 1, 2])
def test_a_class_that_is_absent_is_refused_or_keeps_its_column(name, absent):
    X, y = data()
    present = y != absent
    found = outcome(name, X[present], y[present])
    if isinstance(found, StopRun):
        assert found.code == "class_too_small"
        assert "expected patients of 3 classes" in found.message
    else:
        p = found.probabilities(one_row_each(X))
        assert p.shape == (60, 3)
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)


@pytest.mark.fault("E6")
@pytest.mark.parametrize("name", ANY)
def test_more_features_than_patients_constants_and_duplicates_are_borne(name):
    X, y = data(n=24, p=30)
    more = np.column_stack([X, X[:, 0], np.full(24, 7.3, np.float32), np.zeros(24, np.float32)])
    part = find_head(name).prepare(one_row_each(more), y, 3, weights=None, exact=False)
    searched = {key: value for key, value in PARAMS[name].items() if key != find_head(name).dial.name}
    for p in (
        *part.along(searched, 0, one_row_each(more)),
        part.fit(PARAMS[name], 0).probabilities(one_row_each(more)),
    ):
        assert p.shape == (24, 3)
        assert (p >= 0).all()
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ANY)
def test_large_and_small_units_and_patients_far_outside_give_probabilities(name):
    X, y = data()
    units = np.where(np.arange(20) % 2, 1e18, 1e-18).astype(np.float32)
    fitted = fit(name, X * units, y)
    for rows in (X * units, X * units * 1e6, -X * units * 1e6):
        p = fitted.probabilities(one_row_each(rows))
        assert np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ANY)
def test_heavier_patients_raise_the_probability_of_their_class(name):
    X, y = data()
    head, test = find_head(name), one_row_each(data(seed=1)[0])
    light, heavy = np.ones(60), np.where(y == 2, 3.0, 1.0)
    p, q = (
        head.prepare(one_row_each(X), y, 3, weights=weights, exact=True).fit(PARAMS[name], 0).probabilities(test)
        for weights in (light, heavy)
    )
    assert q[:, 2].mean() > p[:, 2].mean()
    unweighted = head.prepare(one_row_each(X), y, 3, weights=None, exact=True).fit(PARAMS[name], 0)
    np.testing.assert_allclose(unweighted.probabilities(test), p, atol=1e-5)


def test_the_majority_head_knows_the_shares_and_nothing_else():
    X, y = data(9)
    y[:4], y[4:7], y[7:] = 0, 1, 2
    weights = np.where(y == 0, 0.5, 1.0)
    part = majority.prepare(one_row_each(X), y, 3, weights=weights, exact=True)
    for p in (*part.along({}, 0, one_row_each(X[:2])), part.fit({"unused": 1}, 0).probabilities(one_row_each(X[:2]))):
        np.testing.assert_allclose(p, [[2 / 7, 3 / 7, 2 / 7]] * 2)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"shares": [0.5, 0.5]}', b'{"shares": [0.5, 0.6, -0.1]}', b'{"shares": [0.5, 0.2, NaN]}', b"\xff"],
)
def test_the_majority_head_refuses_what_are_no_shares(content):
    with pytest.raises(StopRun) as caught:
        majority.load(content, n_features=20, n_classes=3)
    assert caught.value.code == "bundle_corrupt"


def test_an_unknown_head_names_the_known_ones():
    with pytest.raises(StopRun, match=r"did you mean 'xgboost'.*logistic") as caught:
        find_head("xgbost")
    assert caught.value.code == "unknown_name"


def test_logistic_refuses_a_file_of_another_shape():
    X, y = data()
    content = fit("logistic", X, y).to_bytes()
    for bad, n_features in ((content, 21), (content[:40], 20), (b"", 20)):
        with pytest.raises(StopRun) as caught:
            logistic.load(bad, n_features=n_features, n_classes=3)
        assert caught.value.code == "bundle_corrupt"


def first_tree(model):
    trees = model["learner"]["gradient_booster"]["model"]["trees"]
    return next(tree for tree in trees if tree["left_children"][0] != -1)


def set_left(value):
    return lambda model: first_tree(model)["left_children"].__setitem__(0, value)


@pytest.mark.parametrize(
    "damage",
    [
        set_left(10**6),
        set_left(-7),
        set_left(0),
        set_left(1.0),
        set_left("1"),
        lambda model: first_tree(model)["split_indices"].__setitem__(0, 20),
        lambda model: first_tree(model)["split_conditions"].pop(),
        lambda model: first_tree(model)["tree_param"].update(num_nodes="1000"),
        lambda model: first_tree(model)["split_type"].__setitem__(0, 1),
        lambda model: model["learner"]["gradient_booster"]["model"]["tree_info"].__setitem__(0, 9),
        lambda model: model["learner"]["gradient_booster"]["model"]["iteration_indptr"].pop(),
        lambda model: model["learner"]["gradient_booster"].update(name="dart"),
        lambda model: model["learner"]["objective"].update(name="reg:squarederror"),
        lambda model: model["learner"]["learner_model_param"].update(num_feature="19"),
        lambda model: model.pop("learner"),
    ],
)
def test_a_tree_that_leads_astray_is_refused_before_xgboost_sees_it(damage):
    X, y = data()
    model = json.loads(fit("xgboost", X, y).to_bytes())
    damage(model)
    with pytest.raises(StopRun) as caught:
        boosting.load(json.dumps(model).encode(), n_features=20, n_classes=3)
    assert caught.value.code == "bundle_corrupt"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"learner": 3}'])
def test_nonsense_is_no_model(content):
    with pytest.raises(StopRun) as caught:
        boosting.load(content, n_features=20, n_classes=3)
    assert caught.value.code == "bundle_corrupt"
