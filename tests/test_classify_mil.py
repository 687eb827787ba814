import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from classify.adam import Adam
from classify.bag_networks import NETWORKS, Bags, attention_weights
from classify.calibration import log_loss
from classify.design import Design
from classify.heads import find_head
from classify.mil import EPOCHS, LOAD, PREPARE
from classify.tuning import InnerFold, Search, tune
from triher.errors import StopRun
from triher.folds import stratified_folds

HEADS = pytest.mark.parametrize("head", NETWORKS)
PARAMS = {"components": 64, "hidden": 16, "rate": 1e-2, "decay": 0.5}


def indptr_of(lengths):
    return np.concatenate([[0], np.cumsum(lengths)])


def some_bags(seed=0, lengths=(3, 1, 5, 2), n=4):
    rng = np.random.default_rng(seed)
    return Bags(rng.normal(size=(sum(lengths), n)), indptr_of(lengths))


def some_weights(head, seed=1, n=4, hidden=3, n_classes=3):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in NETWORKS[head].shapes(n, hidden, n_classes).items()}


def noise(seed=0, n=60, n_features=10, effect=1.0, n_classes=3, most=5):
    """Patients with 1 to 5 rows, and a shift of some columns for each class."""
    rng = np.random.default_rng(seed)
    lengths, y = rng.integers(1, most + 1, n), np.arange(n) % n_classes
    rows = rng.normal(size=(lengths.sum(), n_features))
    rows[:, :n_classes] += effect * np.eye(n_classes)[np.repeat(y, lengths)]
    return Design(rows.astype(np.float32), indptr_of(lengths), (n_features,)), y


def shuffled(design, seed):
    """The same patients with their rows in another order."""
    rng = np.random.default_rng(seed)
    order = np.concatenate(
        [rng.permutation(rows) for rows in np.split(np.arange(len(design.rows)), design.indptr[1:-1])]
    )
    return Design(design.rows[order], design.indptr, design.blocks), order


def fit(head, design, y, n_classes=3, *, seed=0, weights=None, **params):
    part = PREPARE[head](design, y, n_classes, weights=weights, exact=True)
    return part.fit(PARAMS | {"epochs": 10} | params, seed)


@HEADS
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_gradients_are_those_of_finite_differences(head, seed):
    bags, weights = some_bags(seed), some_weights(head, seed + 1)
    of_logits = np.random.default_rng(seed + 2).normal(size=(4, 3))
    _, backward = NETWORKS[head].forward(weights, bags)
    found, step = backward(of_logits), 1e-5
    assert found.keys() == weights.keys()
    for name, array in weights.items():
        expected = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            sides = []
            for sign in (1, -1):
                moved = {**weights, name: array.copy()}
                moved[name][place] += sign * step
                sides.append((NETWORKS[head].forward(moved, bags)[0] * of_logits).sum())
            expected[place] = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-6, err_msg=name)


def test_attention_is_equation_9():
    """a_k = exp(w' (tanh(V h_k) * sigm(U h_k))) / sum over j; the logits are of the weighted mean (equation 7)."""
    bags, weights = some_bags(), some_weights("mil-attention")
    shares = attention_weights(weights, bags)
    logits, _ = NETWORKS["mil-attention"].forward(weights, bags)
    for bag, (start, stop) in enumerate(zip(bags.indptr, bags.indptr[1:], strict=False)):
        rows = bags.rows[start:stop]
        scores = [weights["w"] @ (np.tanh(weights["V"] @ h) * expit(weights["U"] @ h)) for h in rows]
        expected = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(shares[start:stop], expected, rtol=1e-12)
        np.testing.assert_allclose(logits[bag], weights["C"] @ (expected @ rows) + weights["b"], rtol=1e-12)


def test_the_mean_head_averages_the_logits_of_the_rows():
    bags, weights = some_bags(), some_weights("mil-mean")
    logits, _ = NETWORKS["mil-mean"].forward(weights, bags)
    for bag, (start, stop) in enumerate(zip(bags.indptr, bags.indptr[1:], strict=False)):
        each = [weights["C"] @ np.tanh(weights["V"] @ h + weights["v"]) + weights["b"] for h in bags.rows[start:stop]]
        np.testing.assert_allclose(logits[bag], np.mean(each, axis=0), rtol=1e-12)


def test_adam_takes_the_steps_of_torch():
    import torch

    rng = np.random.default_rng(0)
    start, slopes = rng.normal(size=(4, 3)), rng.normal(size=(25, 4, 3)) * np.logspace(-6, 3, 25)[:, None, None]
    weights = {"w": start.copy(), "b": start.copy()}
    ours = Adam(weights, rate=0.01, decay=3.0, undecayed=("b",))
    theirs = [torch.nn.Parameter(torch.tensor(start)) for _ in range(2)]
    groups = [{"params": [theirs[0]], "weight_decay": 3.0}, {"params": [theirs[1]], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    for slope in slopes:
        ours.step({"w": slope, "b": slope})
        for parameter in theirs:
            parameter.grad = torch.tensor(slope)
        optimizer.step()
    np.testing.assert_allclose(weights["w"], theirs[0].detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(weights["b"], theirs[1].detach().numpy(), rtol=1e-10)


@pytest.mark.fault("E7")
@HEADS
def test_the_order_of_the_rows_does_not_matter(head):
    design, y = noise()
    fitted = fit(head, design, y)
    other, order = shuffled(design, 1)
    np.testing.assert_allclose(fitted.probabilities(other), fitted.probabilities(design), rtol=1e-9)
    np.testing.assert_allclose(fitted.attention(other), fitted.attention(design)[order], rtol=1e-9)
    retrained = fit(head, other, y)
    np.testing.assert_allclose(retrained.probabilities(design), fitted.probabilities(design), atol=1e-3)


@HEADS
def test_a_patient_is_predicted_without_regard_to_the_others(head):
    design, y = noise()
    fitted, chosen = fit(head, design, y), np.array([40, 3, 17])
    p = fitted.probabilities(design)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(fitted.probabilities(design.take(chosen)), p[chosen], rtol=1e-10)


@HEADS
def test_one_path_passes_through_all_numbers_of_epochs(head):
    design, y = noise(n=24)
    part = PREPARE[head](design, y, 3, weights=None, exact=False)
    path = list(part.along(PARAMS, 5, design.take(np.arange(7))))
    assert len(path) == len(EPOCHS)
    for position in (0, 3, 6):
        again = part.fit(PARAMS | {"epochs": EPOCHS[position]}, 5).probabilities(design.take(np.arange(7)))
        np.testing.assert_array_equal(again, path[position])


@HEADS
def test_equal_seeds_give_equal_bytes(head):
    design, y = noise(n=30)
    first, again, other = (fit(head, design, y, seed=seed).to_bytes() for seed in (1, 1, 2))
    assert first == again
    assert first != other


@HEADS
@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_it_learns_what_every_slice_shows(head, n_classes):
    design, y = noise(n=160, n_classes=n_classes, effect=1.5)
    train, test = np.arange(120), np.arange(120, 160)
    p = fit(head, design.take(train), y[train], n_classes, decay=1.0).probabilities(design.take(test))
    shares = np.full((40, n_classes), 1 / n_classes)
    assert log_loss(p, y[test]) < 0.75 * log_loss(shares, y[test])


def planted(n=480, n_rows=12, n_features=30):
    """One row of each bag is marked and shows the class; the others show one at random."""
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(n, n_rows, n_features)), rng.integers(0, 2, n)
    place = rng.integers(0, n_rows, n)
    rows[:, :, 1] += 3 * rng.normal(size=(n, n_rows))
    rows[np.arange(n), place, 0] += 4
    rows[np.arange(n), place, 1] = np.where(y == 1, 3, -3) + rng.normal(size=n)
    design = Design(rows.reshape(-1, n_features).astype(np.float32), np.arange(n + 1) * n_rows, (n_features,))
    return design, y, place


def test_attention_finds_the_slice_that_shows_the_class_where_mean_pooling_does_not():
    design, y, place = planted()
    train, test = np.arange(320), np.arange(320, 480)
    means = design.rows.reshape(480, 12, -1).mean(axis=1)
    pooled = LogisticRegression(C=0.1).fit(means[train], y[train]).predict_proba(means[test]).astype(np.float64)
    fitted = {head: fit(head, design.take(train), y[train], 2, epochs=40) for head in NETWORKS}
    losses = {head: log_loss(found.probabilities(design.take(test)), y[test]) for head, found in fitted.items()}
    assert log_loss(pooled, y[test]) > 0.6
    assert losses["mil-mean"] > 0.6
    assert losses["mil-attention"] < 0.4
    shares = fitted["mil-attention"].attention(design.take(test)).reshape(160, 12)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares.argmax(axis=1) == place[test]).mean() > 0.8


def test_averaging_is_better_where_every_slice_shows_a_little():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 360)
    rows = rng.normal(size=(360, 12, 60))
    rows[:, :, 0] += np.where(y == 1, 0.45, -0.45)[:, None]
    design = Design(rows.reshape(-1, 60).astype(np.float32), np.arange(361) * 12, (60,))
    train, test = np.arange(240), np.arange(240, 360)
    averaged, attended = (
        log_loss(fit(head, design.take(train), y[train], 2, epochs=14).probabilities(design.take(test)), y[test])
        for head in ("mil-mean", "mil-attention")
    )
    assert averaged < attended < np.log(2)


@HEADS
@pytest.mark.parametrize("seed", range(3))
def test_random_labels_teach_nothing(head, seed):
    design, _ = noise(seed=seed, n=160, n_features=100, effect=0.0)
    y = np.random.default_rng(seed + 9).permutation(np.arange(160) % 2)
    train, test = np.arange(120), np.arange(120, 160)
    p = fit(head, design.take(train), y[train], 2, decay=16.0).probabilities(design.take(test))
    assert log_loss(p, y[test]) == pytest.approx(np.log(2), abs=0.1)


@pytest.mark.fault("E6")
@HEADS
def test_constant_and_repeated_columns_more_of_them_than_rows(head):
    design, y = noise(n=30, effect=2.0)
    wide = np.hstack([*[design.rows] * 20, np.full((len(design.rows), 3), [0, 7, 1e6], np.float32)])
    fitted = fit(head, Design(wide, design.indptr, (wide.shape[1],)), y)
    assert (fitted.projection[-3:] == 0).all(), "columns that do not vary have no weight"
    assert len(fitted.offset) <= 10, "no more components than there are different columns"
    assert np.isfinite(fitted.probabilities(Design(wide, design.indptr, (wide.shape[1],)))).all()


@HEADS
def test_rows_without_any_spread_give_the_shares_of_the_classes(head):
    design = Design(np.ones((8, 3), np.float32), np.arange(9), (3,))
    p = fit(head, design, np.array([0, 0, 0, 0, 1, 1, 2, 2]), epochs=1, rate=2e-3).probabilities(design)
    np.testing.assert_allclose(p, [[0.5, 0.25, 0.25]] * 8, atol=0.01)


@HEADS
def test_units_do_not_matter(head):
    design, y = noise()
    other = Design((design.rows * 2.0**10 + 2.0**9).astype(np.float32), design.indptr, design.blocks)
    expected = fit(head, design, y).probabilities(design)
    np.testing.assert_allclose(fit(head, other, y).probabilities(other), expected, atol=1e-3)


def test_a_small_block_has_the_share_of_a_large_one():
    design, y = noise(n=90, n_features=203, effect=0.0)
    design.rows[:, 200:] += 2 * np.eye(3, dtype=np.float32)[np.repeat(y, np.diff(design.indptr))]
    parts = [
        PREPARE["mil-attention"](Design(design.rows, design.indptr, b), y, 3, weights=None, exact=True)
        for b in ((203,), (200, 3))
    ]
    share = [
        np.square(p.projection[200:, :3] * p.bags.rows[:, :3].std(axis=0)).sum()
        / np.square(p.projection[:, :3]).sum()
        for p in parts
    ]
    assert share[1] > 5 * share[0]


@HEADS
def test_a_weight_counts_like_repeated_patients(head):
    design, y = noise(n=12)
    weights = np.ones(12)
    weights[:4] = 3
    part = PREPARE[head](design, y, 3, weights=weights, exact=True)
    start = some_weights(head, n=part.bags.rows.shape[1])
    once = part._gradient(start, part.bags, np.arange(12))
    repeated = np.concatenate([np.repeat(np.arange(4), 3), np.arange(4, 12)])
    plain = PREPARE[head](design, y, 3, weights=None, exact=True)
    often = plain._gradient(start, plain.bags.take(repeated), repeated)
    for name, gradient in once.items():
        np.testing.assert_allclose(gradient, often[name], rtol=1e-9, atol=1e-12)


def test_weights_move_the_starting_point():
    design, y = noise(n=30)
    weights = np.where(y == 2, 8.0, 1.0)
    part = PREPARE["mil-attention"](design, y, 3, weights=weights, exact=True)
    start = part._start(np.random.default_rng(0), 4, 3)
    np.testing.assert_allclose(softmax(start["b"]), [0.1, 0.1, 0.8])


@HEADS
def test_a_patient_without_rows_is_a_fault_of_the_program(head):
    design = Design(np.ones((2, 3), np.float32), np.array([0, 1, 1, 2]), (3,))
    with pytest.raises(ValueError, match="every patient needs a row"):
        PREPARE[head](design, np.array([0, 1, 2]), 3, weights=None, exact=True)


@HEADS
def test_the_file_holds_the_whole_head(head):
    design, y = noise()
    fitted = fit(head, design, y)
    again = LOAD[head](fitted.to_bytes(), n_features=10, n_classes=3)
    np.testing.assert_array_equal(again.probabilities(design), fitted.probabilities(design))
    assert again.to_bytes() == fitted.to_bytes()


@HEADS
@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays: arrays.pop("V"),
        lambda arrays: arrays.pop("offset"),
        lambda arrays: arrays.update(extra=np.ones(2)),
        lambda arrays: arrays.update(C=arrays["C"][:, :-1]),
        lambda arrays: arrays.update(b=arrays["b"].astype(np.float32)),
        lambda arrays: arrays.update(V=arrays["V"] * np.nan),
        lambda arrays: arrays.update(offset=np.float64(3)),
        lambda arrays: arrays.update(projection=arrays["projection"][:-1]),
    ],
)
def test_a_damaged_file_is_refused(head, damage):
    design, y = noise(n=30)
    arrays = safetensors.numpy.load(fit(head, design, y).to_bytes())
    damage(arrays)
    data = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    for content in (data, data[:50], b""):
        with pytest.raises(StopRun, match=r"head\.safetensors") as caught:
            LOAD[head](content, n_features=10, n_classes=3)
        assert caught.value.code == "bundle_corrupt"


@HEADS
def test_the_other_head_s_file_is_refused(head):
    design, y = noise(n=30)
    other = next(name for name in NETWORKS if name != head)
    with pytest.raises(StopRun, match="expected finite arrays"):
        LOAD[head](fit(other, design, y).to_bytes(), n_features=10, n_classes=3)


@HEADS
def test_it_is_tuned_like_the_other_heads(head):
    design, y = noise(n=36, effect=3.0)
    kind = find_head(head)
    splits = stratified_folds(y, np.array(["A"] * 36, object), np.arange(36), folds=2, n_classes=3, seed=0)
    folds = [
        InnerFold(design.take(s.train), y[s.train], None, design.take(s.test), y[s.test], s.test) for s in splits
    ]
    tuned = tune(kind, folds, n_classes=3, search=Search(1, 0))
    assert tuned.params["epochs"] in EPOCHS
    assert tuned.log_loss < 0.8
    assert tuned.held_out.shape == (36, 3)
