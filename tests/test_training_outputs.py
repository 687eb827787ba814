"""Outputs of trained networks: probabilities and losses by hand, and against torch's and scikit-learn's."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight

from extract.encoder_spec import EncoderSpec
from extract.training.design import Design
from extract.training.outputs import boundary_weights, loss, losses, n_own, probabilities, sizes
from triher.settings import FinetuneConfig

SPEC = EncoderSpec("toy", "timm", "resnet10t", "", 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "MIT", "none")
LN2 = math.log(2)


def design(n_classes: int = 3, tasks: tuple[int, ...] = (), **options) -> Design:
    return Design(SPEC, FinetuneConfig(**options), n_classes, tasks)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def without_tasks(n: int) -> torch.Tensor:
    return torch.empty(n, 0, dtype=torch.int64)


def test_nested_probabilities_multiply():
    """P(zero), P(low), P(positive) = 1 - p1, p1 (1 - p2), p1 p2 with p1 = 0.8 and p2 = 0.25."""
    outputs = torch.tensor([[logit(0.8), logit(0.25)]])
    found = probabilities(outputs, design(task="nested"))
    torch.testing.assert_close(found, torch.tensor([[0.2, 0.6, 0.2]]))


@pytest.mark.parametrize("task", ["classes", "nested"])
@settings(max_examples=25, deadline=None)
@given(n_classes=st.integers(2, 5), seed=st.integers(0, 1000))
def test_probabilities_are_some_and_the_loss_is_minus_their_logarithm(task, n_classes, seed):
    """So that both kinds of outputs are trained by the same likelihood; scikit-learn's log loss agrees."""
    rng = np.random.default_rng(seed)
    mine = design(n_classes, task=task)
    outputs = torch.from_numpy(rng.normal(scale=3, size=(7, n_own(mine))).astype(np.float32))
    y = torch.from_numpy(rng.integers(0, n_classes, 7))
    p = probabilities(outputs, mine)
    assert p.shape == (7, n_classes)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(7))
    each = losses(outputs, y, without_tasks(7), mine, class_weights=None)
    torch.testing.assert_close(each, -p[torch.arange(7), y].log(), rtol=1e-4, atol=1e-5)
    mean = loss(outputs, y, without_tasks(7), mine, class_weights=None)
    theirs = log_loss(
        y.numpy(), p.double().numpy() / p.double().numpy().sum(1, keepdims=True), labels=range(n_classes)
    )
    assert mean.item() == pytest.approx(theirs, rel=1e-4)


def test_a_boundary_counts_only_those_who_reach_it():
    """The second boundary says nothing of a zero: its output has no gradient there, and elsewhere p - t."""
    outputs = torch.zeros(3, 2, requires_grad=True)
    y = torch.tensor([0, 1, 2])
    each = losses(outputs, y, without_tasks(3), design(task="nested"), class_weights=None)
    torch.testing.assert_close(each, torch.tensor([LN2, 2 * LN2, 2 * LN2]))
    each.sum().backward()
    torch.testing.assert_close(outputs.grad, torch.tensor([[0.5, 0.0], [-0.5, 0.5], [-0.5, -0.5]]))


def test_extreme_outputs_stay_finite():
    for task in ("classes", "nested"):
        mine = design(task=task)
        outputs = torch.full((2, n_own(mine)), 200.0)
        outputs[1] = -200
        assert probabilities(outputs, mine).isfinite().all()
        assert losses(outputs, torch.tensor([0, 2]), without_tasks(2), mine, class_weights=None).isfinite().all()


def test_label_smoothing_by_hand():
    """Of 0.2 at even odds between two: 0.9 and 0.1 for the sides of a boundary, whatever they are."""
    smooth = {"label_smoothing": 0.2}
    outputs = torch.tensor([[logit(0.8), logit(0.5)]])
    found = losses(outputs, torch.tensor([0]), without_tasks(1), design(task="nested", **smooth), class_weights=None)
    assert found.item() == pytest.approx(-0.9 * math.log(0.2) - 0.1 * math.log(0.8), rel=1e-5)
    outputs = torch.log(torch.tensor([[0.5, 0.3, 0.2]]))
    found = losses(outputs, torch.tensor([1]), without_tasks(1), design(**smooth), class_weights=None)
    expected = -(0.8 + 0.2 / 3) * math.log(0.3) - 0.2 / 3 * (math.log(0.5) + math.log(0.2))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_class_weights_multiply_the_loss_of_a_class():
    weights = torch.tensor([2.0, 1.0, 0.5])
    outputs, y = torch.zeros(3, 3), torch.tensor([0, 1, 2])
    found = losses(outputs, y, without_tasks(3), design(), class_weights=weights)
    torch.testing.assert_close(found, weights * math.log(3))
    mean = loss(outputs, y, without_tasks(3), design(), class_weights=weights)
    assert mean.item() == pytest.approx(3.5 / 3 * math.log(3), rel=1e-6)  # over the pictures, not over 3.5


def test_balanced_weights_balance_each_boundary():
    """As scikit-learn weighs the two sides of each boundary among those who reach it."""
    y = np.repeat([0, 1, 2], [10, 30, 20])
    weights = torch.from_numpy(compute_class_weight("balanced", classes=np.arange(3), y=y))
    stay, go = boundary_weights(weights)
    for k in range(2):
        reach = y[y >= k] > k
        expected = compute_class_weight("balanced", classes=np.array([False, True]), y=reach)
        np.testing.assert_allclose([stay[k], go[k]], expected)
    mine, outputs = design(task="nested"), torch.zeros(3, 2)
    found = losses(outputs, torch.tensor([0, 1, 2]), without_tasks(3), mine, class_weights=weights)
    first, second = 60 / (2 * 10), 60 / (2 * 50)
    expected = [first, second + 50 / (2 * 30), second + 50 / (2 * 20)]
    np.testing.assert_allclose(found / LN2, expected, rtol=1e-6)


@pytest.mark.parametrize("task", ["classes", "nested"])
def test_further_labels_count_where_they_are_known(task):
    """A label of two values and one of three, at even odds: ln 2 and ln 3 to the loss of the class."""
    mine = design(tasks=(2, 3), task=task)
    assert sizes(mine) == (n_own(mine), 2, 3)
    outputs = torch.zeros(4, sum(sizes(mine)))
    y = torch.zeros(4, dtype=torch.int64)
    tasks = torch.tensor([[0, 2], [1, -1], [-1, 0], [-1, -1]])
    own = LN2 if task == "nested" else math.log(3)
    found = losses(outputs, y, tasks, mine, class_weights=None)
    expected = torch.tensor([own + LN2 + math.log(3), own + LN2, own + math.log(3), own])
    torch.testing.assert_close(found, expected)
    assert probabilities(outputs, mine).shape == (4, 3)


def test_half_precision_outputs_are_judged_in_single_precision():
    mine = design(task="nested")
    outputs = torch.tensor([[3.0, -2.0]], dtype=torch.bfloat16)
    assert probabilities(outputs, mine).dtype == torch.float32
    assert loss(outputs, torch.tensor([1]), without_tasks(1), mine, class_weights=None).dtype == torch.float32
