import dataclasses
import hashlib
import json

import numpy as np
import pytest

from classify import network
from classify.apply import apply_bundle
from classify.attribution.everyone import everyone_of
from classify.attribution.leading_features import why_none
from classify.attribution.mixtures import mixer_of
from classify.attribution.projection import project
from classify.attribution.slopes import log_slopes
from classify.bundle import read_bundle
from classify.calibration import log_loss
from classify.cell import predict_cell
from classify.design import Design, one_row_each
from classify.heads import check_head
from classify.pooling import pool
from classify.shared_work import SharedWork
from classify.source import read_source
from classify.stage import classify
from triher.cohort import read_cohort
from triher.errors import StopRun
from triher.pipeline import check_classification
from triher.predictions import read_predictions
from triher.settings import ClassifyConfig, FinetuneConfig
from triher.store import Features, Header, write_store

CLASSES = ("zero", "low", "positive")
P = [f"p_{name}" for name in CLASSES]
FACTS = {"name": "resnet34-0123456789", "builder": "trained", "sha256": "0" * 64, "tokens": "default"}


def encoder(classes=CLASSES, **facts):
    return FACTS | {"settings": json.dumps({"classes": list(classes), "task": "classes"})} | facts


def features_of(lengths, views):
    """Patients with so many slices, all views of them in one order."""
    ids = tuple(f"SUBJECT-{i:03d}" for i in range(len(lengths)))
    n = int(np.sum(lengths))
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    digests = tuple(hashlib.sha256(name.encode()).hexdigest() for name in ids)
    return Features(ids, digests, indptr, np.arange(n, dtype=np.int32), np.ones(n, np.float32), views)


def drawn(rng, y, effect, lengths, sharpness=1.0):
    """Probabilities of slices by a network that sees the class through noise."""
    logits = rng.normal(size=(len(y), 3)) + effect * np.eye(3)[y]
    by_slice = np.repeat(logits, lengths, axis=0) + 0.5 * rng.normal(size=(int(np.sum(lengths)), 3))
    shares = np.exp(sharpness * by_slice)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def make_trained(make_study):
    """A study whose store holds probabilities."""

    def build(n=48, *, effect=1.5, views=("rgb",), header=None, sharpness=1.0, **classify):
        settings = {"head": "network", "pooling": ["median"]} | classify
        study = make_study(n=n, n_features=6, **settings)
        rng = np.random.default_rng(7)
        lengths = rng.integers(1, 6, n)
        rows = {view: drawn(rng, study.y, effect, lengths, sharpness) for view in views}
        features = features_of(lengths, rows)
        header = header or Header(
            encoder(), {"slices": {"policy": "all"}}, {"torch": "0"}, np.ones((2, 3), np.float32)
        )
        write_store(study.store, header, [features], n_slices=int(lengths.sum()))
        return dataclasses.replace(study, features=features, header=header)

    return build


def test_three_slices_by_hand():
    """Medians of probabilities need not sum to 1: here to 0.9, by which they are divided."""
    rows = np.array(
        [
            [0.5, 0.2, 0.3], [0.1, 0.7, 0.2], [0.8, 0.1, 0.1],
            [0.6, 0.1, 0.3], [0.7, 0.1, 0.2], [0.1, 0.8, 0.1],
        ],
        np.float32,
    )  # fmt: skip
    vectors = pool(features_of([3, 3], {"rgb": rows}), (), ["median"]).vectors
    np.testing.assert_allclose(vectors, [[0.5, 0.2, 0.2], [0.6, 0.1, 0.2]], atol=1e-7)
    fitted = network.prepare(one_row_each(vectors), np.array([0, 1]), 3, weights=None, exact=True).fit({}, 0)
    expected = [[5 / 9, 2 / 9, 2 / 9], [6 / 9, 1 / 9, 2 / 9]]
    np.testing.assert_allclose(fitted.probabilities(one_row_each(vectors)), expected, atol=1e-7)


def test_views_are_averaged_and_the_order_of_the_slices_does_not_matter(make_trained):
    study = make_trained(views=("early", "late"))
    pooled = pool(study.features, (), ["median"]).vectors
    fitted = network.prepare(one_row_each(pooled), study.y, 3, weights=None, exact=True).fit({}, 0)
    p = fitted.probabilities(one_row_each(pooled))
    for i in range(len(study.ids)):
        rows = study.features.rows(i)
        own = np.mean([np.median(study.features.views[view][rows], axis=0) for view in ("early", "late")], axis=0)
        np.testing.assert_allclose(p[i], own / own.sum(), atol=1e-6)
    order = np.concatenate([np.arange(*study.features.indptr[i : i + 2])[::-1] for i in range(48)])
    turned = {view: rows[order] for view, rows in study.features.views.items()}
    other = dataclasses.replace(study.features, views=turned, slice_index=study.features.slice_index[order])
    np.testing.assert_array_equal(pool(other, (), ["median"]).vectors, pooled)


def test_a_class_that_every_slice_rules_out_keeps_a_probability_above_zero():
    fitted = network.Network(1, 3)
    p = fitted.probabilities(one_row_each(np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], np.float32)))
    np.testing.assert_allclose(p[0], [1e-12, 1e-12, 1.0], rtol=1e-9)
    np.testing.assert_allclose(p[1], 1 / 3)
    assert np.isfinite(np.log(p)).all()


REFUSED = {
    "components": {"components": 2},
    "harmonize": {"harmonize": {"method": "combat"}},
    "join=early": {"covariates": ["age"]},
    "one statistic": {"pooling": ["median", "mean"]},
    "std, which is no probability": {"pooling": ["std"]},
    "class_weights=balanced": {"class_weights": "balanced"},
    "label_noise": {"label_noise": [0.1]},
    "classify.features=": {"features": "table.csv"},
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_settings_that_would_change_the_probabilities_are_refused(text):
    config = ClassifyConfig.model_validate({"head": "network"} | REFUSED[text])
    with pytest.raises(StopRun, match=text) as caught:
        check_head(config)
    assert caught.value.code == "config_value"
    assert "logistic" in caught.value.remedy
    assert check_head(config.model_copy(update={"head": "logistic"})).name == "logistic"


def test_all_refused_settings_are_named_at_once():
    config = ClassifyConfig.model_validate({"head": "network", "components": 2, "class_weights": "balanced"})
    with pytest.raises(StopRun, match=r"components=2, classify\.class_weights=balanced"):
        check_head(config)


def test_covariates_that_join_late_are_allowed():
    check_head(ClassifyConfig(head="network", covariates=("age",), join="late"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "extract.encoder=efficientnet-lite0"),
        ({"encoder": "file:resnet34@weights.pt"}, "resnet34@weights.pt"),
        ({"encoder": "file:trained.safetensors", "tokens": "mean"}, "extract.tokens=mean"),
    ],
)
def test_an_encoder_without_probabilities_is_refused_before_anything_is_extracted(make_study, changes, text):
    study = make_study(head="network")
    extract = study.config.extract.model_copy(update=changes)
    config = study.config.model_copy(update={"extract": extract})
    cohort = read_cohort(config.cohort)
    with pytest.raises(StopRun, match=text) as caught:
        check_classification(config, cohort)
    assert caught.value.code == "not_probabilities"
    trained = extract.model_copy(update={"encoder": "file:trained.safetensors", "tokens": "default"})
    check_classification(config.model_copy(update={"extract": trained}), cohort)
    untrained = study.config.extract.model_copy(update={"tokens": "default"})
    check_classification(config.model_copy(update={"extract": untrained, "finetune": FinetuneConfig()}), cohort)


def header_of(facts, width=3):
    return Header(facts, {}, {}, np.ones((2, width), np.float32))


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"name": "resnet34", "builder": "timm"}, "'resnet34', which gives no probabilities"),
        (encoder(tokens="mean"), "gives no probabilities"),
        (encoder(classes=("negative", "positive")), "knows the classes negative, positive"),
        (encoder(classes=CLASSES[::-1]), "knows the classes positive, low, zero"),
    ],
)
def test_a_store_of_another_encoder_or_scheme_is_refused(make_trained, facts, text):
    study = make_trained(header=header_of(facts))
    with pytest.raises(StopRun, match=text) as caught:
        classify(*study)
    assert caught.value.code == "not_probabilities"
    with pytest.raises(StopRun, match=text):
        predict_cell(study.config, study.store, accounted=(), shared=SharedWork())


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([[0.2, 0.3, 0.5], [1.5, -0.2, -0.3]], "lie between -0.3 and 1.5"),
        ([[0.2, 0.3, 0.5], [0.2, 0.2, 0.2]], "sum to 0.6"),
        ([[0.5, 0.5], [0.5, 0.5]], "has 2 columns, expected 3"),
    ],
)
def test_rows_that_are_no_probabilities_are_refused(rows, text):
    features = features_of([2], {"rgb": np.array(rows, np.float32)})
    with pytest.raises(StopRun, match=text) as caught:
        network.require_probabilities(header_of(encoder()), features, (), CLASSES)
    assert caught.value.code == "not_probabilities"


def test_an_encoder_that_does_not_name_its_classes_goes_by_their_number():
    features = features_of([1], {"rgb": np.array([[0.2, 0.3, 0.5]], np.float32)})
    for settings in ("", "{}", "final"):
        network.require_probabilities(header_of(encoder(settings=settings)), features, (), CLASSES)
    with pytest.raises(StopRun, match="has 3 columns, expected 2"):
        network.require_probabilities(header_of(encoder(settings="")), features, (), CLASSES[:2])


def test_computed_views_are_refused_and_gaps_and_half_precision_are_not():
    rows = np.array([[0.2, 0.3, 0.5], [np.nan, np.nan, np.nan]], np.float32)
    rough = rows.astype(np.float16).astype(np.float32)
    features = features_of([2], {"early": rows, "late": rough})
    network.require_probabilities(header_of(encoder()), features, (), CLASSES)
    with pytest.raises(StopRun, match="'early-late' is computed"):
        network.require_probabilities(header_of(encoder()), features, ("early-late",), CLASSES)


@pytest.mark.parametrize(
    ("rows", "blocks"), [(np.full((4, 4), 0.25), (4,)), (np.full((4, 3), 2.0), (3,)), (np.full((4, 6), 0.3), (3, 3))]
)
def test_a_design_that_is_no_probabilities_is_refused_by_the_head_itself(rows, blocks):
    design = Design(rows.astype(np.float32), np.arange(5), blocks)
    with pytest.raises(StopRun) as caught:
        network.prepare(design, np.arange(4) % 3, 3, weights=None, exact=True)
    assert caught.value.code == "not_probabilities"


@pytest.mark.parametrize(
    ("content", "n_features"),
    [
        (b"", 6), (b"[]", 6), (b"null", 6), (b'{"n_classes": 3}', 6), (b'{"n_classes": 3, "n_views": 1}', 6),
        (b'{"n_classes": 2, "n_views": 3}', 6), (b'{"n_classes": 3, "n_views": 2}', 7), (b"\xff", 6),
    ],
)  # fmt: skip
def test_a_damaged_head_is_refused(content, n_features):
    with pytest.raises(StopRun) as caught:
        network.load(content, n_features=n_features, n_classes=3)
    assert caught.value.code == "bundle_corrupt"


def test_a_temperature_lowers_the_log_loss_of_a_network_that_is_too_sure_of_itself(make_trained):
    study = make_trained(n=90, effect=1.0, sharpness=4.0)
    assert classify(*study)
    table = read_predictions(study.run.predictions_file, "triple")
    vectors = pool(study.features, (), ["median"]).vectors
    p = network.Network(1, 3).probabilities(one_row_each(vectors))
    place = {name: i for i, name in enumerate(study.ids)}
    order = [place[name] for name in table["patient_id"]]
    y = table["y"].to_numpy(np.int64)
    assert log_loss(table[P].to_numpy(), y) < log_loss(p[order], y) - 0.1
    assert (table[P].to_numpy().argmax(axis=1) == p[order].argmax(axis=1)).mean() > 0.95, "only the prior may turn"
    assert read_bundle(study.run.bundle).model.temperature > 1.5


def test_a_run_predicts_the_test_part_by_what_the_network_said_and_its_bundle_too(make_trained):
    study = make_trained(split={"kind": "column"}, views=("early", "late"))
    assert classify(*study)
    found = read_predictions(study.run.predictions_file, "triple")
    assert set(found["split"]) == {"oof", "test"}
    assert sorted(found["patient_id"]) == sorted(study.ids)
    bundle = read_bundle(study.run.bundle)
    assert bundle.model.fitted == network.Network(2, 3)
    assert (bundle.model.head, bundle.pooling) == ("network", ("median",))
    test = found[found["split"] == "test"]
    place = {name: i for i, name in enumerate(study.ids)}
    vectors = pool(study.features, (), ["median"]).vectors[[place[name] for name in test["patient_id"]]]
    own = np.log(vectors.reshape(-1, 2, 3).mean(axis=1)) / bundle.model.temperature
    expected = np.exp(own) / np.exp(own).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(test[P].to_numpy(), expected, atol=1e-5)
    again, _ = apply_bundle(bundle, read_source(study.store), read_cohort(study.config.cohort), labels=None)
    same = again.set_index("patient_id").loc[test["patient_id"], P]
    np.testing.assert_allclose(same.to_numpy(), test[P].to_numpy(), atol=1e-5)
    beside = read_predictions(study.run.companions_file, "triple")
    assert set(beside["model"]) == {"majority"}


def test_the_cell_of_an_ablation_says_the_same_as_the_run(make_trained):
    study = make_trained()
    assert classify(*study)
    cell = predict_cell(study.config, study.store, accounted=(), shared=SharedWork())
    table = read_predictions(study.run.predictions_file, "triple").set_index("patient_id")
    own = cell.predictions.set_index("patient_id").loc[table.index, P]
    np.testing.assert_allclose(own.to_numpy(), table[P].to_numpy(), atol=1e-6)


def test_covariates_that_join_late_stack_on_the_network(make_trained):
    study = make_trained(
        covariates={"age": lambda i: 50 + 10 * (i % 3) + 1.5 * (i * 7 % 11)}, join="late", effect=0.0
    )
    assert classify(*study)
    model = read_bundle(study.run.bundle).model
    assert model.stack is not None
    table = read_predictions(study.run.predictions_file, "triple")
    beside = read_predictions(study.run.companions_file, "triple")
    images = beside[beside["model"] == "images only"]
    right = [(found[P].to_numpy().argmax(axis=1) == found["y"]).mean() for found in (table, images)]
    assert right[0] > right[1] + 0.1, "the age tells, the network does not"


def test_control_regions_must_hold_probabilities_too(make_trained, tmp_path):
    study = make_trained()
    control, n = tmp_path / "control.h5", len(study.features.slice_index)
    recipe = {"region": {"kind": "control"}}
    config = study.config.classify.model_copy(update={"control": control})
    run = (study.config.model_copy(update={"classify": config}), *list(study)[1:])
    write_store(
        control, Header({"name": "toy"}, recipe, {}, np.ones((2, 3), np.float32)), [study.features], n_slices=n
    )
    with pytest.raises(StopRun, match="'toy', which gives no probabilities"):
        classify(*run)
    write_store(control, Header(encoder(), recipe, {}, np.ones((2, 3), np.float32)), [study.features], n_slices=n)
    assert classify(*run)
    assert "control region" in set(read_predictions(study.run.companions_file, "triple")["model"])


def everyone(study):
    assert classify(*study)
    return everyone_of(read_bundle(study.run.bundle), read_source(study.store), read_cohort(study.config.cohort))


def test_explanations_of_the_network(make_trained):
    found = everyone(make_trained(views=("early", "late")))
    lengths = np.diff(found.features.indptr)
    for n_slices in (3, 4):
        gradient_agrees(found.chain(int(np.flatnonzero(lengths == n_slices)[0])), n_slices)
    assert "no exact values" in why_none(found)
    mixer, chain = mixer_of(found), found.chain(0)
    assert [group.name for group in mixer.groups] == ["early", "late"]
    own = chain.log_odds({name: x[None] for name, x in chain.features.views.items()})
    np.testing.assert_allclose(mixer.log_odds(np.array([[0, 0], [0, 1]]))[0], own[0], atol=1e-5)


def gradient_agrees(chain, n_slices):
    """With differences through the median and the temperature."""
    assert chain.is_smooth
    views, step = chain.features.views, 1e-4
    gradient = chain.gradient(views)
    for view, rows in views.items():
        moves = step * np.eye(rows.size).reshape(rows.size, *rows.shape)
        up, down = (
            chain.log_odds({name: x + sign * moves * (name == view) for name, x in views.items()}) for sign in (1, -1)
        )
        slopes = ((up - down) / (2 * step)).T.reshape(3, *rows.shape)
        np.testing.assert_allclose(gradient[view], slopes, atol=0.02)
    used = (np.abs(gradient["early"]).sum(axis=0) > 0).sum(axis=0)
    assert (used == 2 - n_slices % 2).all(), "the middle slice, or the two in the middle, of each class"


def test_slopes_are_those_of_the_logarithms_of_shares():
    fitted = network.Network(1, 3)
    design = one_row_each(np.array([[0.2, 0.3, 0.4]], np.float32))
    expected = np.diag([1 / 0.2, 1 / 0.3, 1 / 0.4]) - 1 / 0.9
    np.testing.assert_allclose(log_slopes(fitted, design)[:, 0], expected, rtol=1e-6)


def test_a_score_at_its_floor_has_no_slope():
    design = one_row_each(np.array([[0.0, 0.4, 0.6]], np.float32))
    slopes = log_slopes(network.Network(1, 3), design)[:, 0]
    assert not slopes[:, 0].any()
    np.testing.assert_allclose(slopes[1], [0, 1 / 0.4 - 1, -1], rtol=1e-5)


def test_two_probabilities_that_sum_to_one_have_a_place_in_the_plane():
    share = np.random.default_rng(0).uniform(size=(20, 1))
    vectors = np.hstack([share, 1 - share]) - 0.5
    places = project(vectors, [f"P{i}" for i in range(20)], ["t-SNE"], seed=0)
    assert len(places) == 20
    assert np.isfinite([(row.x, row.y) for row in places]).all()
