"""Losses, scores and weights of each task, element by element, and what their sums say."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn
from torch.nn import functional

from raymi.data.encoding import IGNORED
from raymi.data.preprocessing import ClassTarget, NextByteTarget, NumberTarget
from raymi.errors import SpecError
from raymi.train.objective import (
    Sums,
    element_losses,
    element_scores,
    element_weights,
    primary_metric,
    sum_elements,
    teacher_losses,
)

CLASSES = ClassTarget(column="label", classes=("a", "b", "c"))
NUMBER = NumberTarget(column="price", mean=10.0, std=4.0)
TEXT = NextByteTarget(column="line")
ONES = torch.ones(5)


def metrics_of(outputs, targets, target, row_weights=ONES):
    weights = element_weights(targets, row_weights, target)
    losses = element_losses(outputs, targets, target)
    scores = element_scores(outputs, targets, target)
    assert losses.shape == scores.shape == weights.shape == targets.shape
    sums = sum_elements(losses, scores, weights)
    assert sums.dtype == torch.float64
    return Sums(*sums.tolist()).metrics(target)


def some_text(num_rows=5, length=7):
    """Outputs and targets of rows of 2, 3, ... bytes: one fewer to predict in each."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(num_rows, length, 256, generator=generator)
    targets = torch.randint(1, 256, (num_rows, length), generator=generator, dtype=torch.int16)
    for row in range(num_rows):
        targets[row, row + 1 :] = IGNORED
    return outputs, targets


def test_classes_are_scored_as_scikit_learn_does():
    outputs, targets = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])

    found = metrics_of(outputs, targets, CLASSES)

    probabilities = torch.softmax(outputs.double(), dim=1).numpy()
    assert found["loss"] == pytest.approx(sklearn.log_loss(targets, probabilities), rel=1e-5)
    expected = sklearn.accuracy_score(targets, outputs.argmax(dim=1))
    assert found["accuracy"] == pytest.approx(expected)
    assert primary_metric(CLASSES) == "accuracy"


def test_numbers_are_scored_in_the_targets_own_unit():
    outputs, targets = torch.randn(5, 1), torch.randn(5)

    found = metrics_of(outputs, targets, NUMBER)

    own = sklearn.root_mean_squared_error(targets * 4.0 + 10.0, outputs[:, 0] * 4.0 + 10.0)
    assert found["rmse"] == pytest.approx(own, rel=1e-5)
    assert found["loss"] == pytest.approx((own / 4.0) ** 2, rel=1e-5)
    assert primary_metric(NUMBER) == "rmse"


def test_bytes_are_scored_one_by_one_and_padding_not_at_all():
    outputs, targets = some_text()

    found = metrics_of(outputs, targets, TEXT)

    places = [(row, place) for row in range(5) for place in range(row + 1)]
    logs = torch.log_softmax(outputs.double(), dim=-1)
    each = [-logs[row, place, targets[row, place].item()].item() for row, place in places]
    right = [outputs[row, place].argmax() == targets[row, place] for row, place in places]
    assert found["loss"] == pytest.approx(np.mean(each), rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(np.mean(each) / np.log(2.0), rel=1e-5)
    assert found["accuracy"] == pytest.approx(np.mean(right))
    assert primary_metric(TEXT) == "loss"


def test_a_perfect_guess_of_uniform_bytes_costs_eight_bits():
    targets = torch.randint(1, 256, (5, 7))

    found = metrics_of(torch.zeros(5, 7, 256), targets, TEXT)

    assert found["bits_per_byte"] == pytest.approx(8.0, rel=1e-6)


def test_losses_and_gradients_of_what_is_ignored_are_zero():
    outputs, targets = some_text()
    outputs.requires_grad_()

    losses = element_losses(outputs, targets, TEXT)
    losses.sum().backward()

    ignored = targets == IGNORED
    assert (losses[ignored] == 0.0).all()
    assert (outputs.grad[ignored] == 0.0).all()
    assert (outputs.grad[~ignored].abs().sum(dim=-1) > 0.0).all()


@pytest.mark.parametrize("target", [CLASSES, NUMBER, TEXT], ids=lambda target: target.kind)
def test_rows_of_no_weight_do_not_count(target):
    outputs, targets = {
        "classification": (torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])),
        "regression": (torch.randn(5, 1), torch.randn(5)),
        "next_byte": some_text(),
    }[target.kind]

    found = metrics_of(outputs, targets, target, torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0]))

    kept = [0, 1, 3]
    assert found == pytest.approx(metrics_of(outputs[kept], targets[kept], target, ONES[:3]))


def test_parts_add_up_to_the_whole():
    outputs, targets = some_text()
    weights = element_weights(targets, ONES, TEXT)
    losses = element_losses(outputs, targets, TEXT)

    parts = sum(sum_elements(losses[i : i + 2], losses[i : i + 2], weights[i : i + 2])
                for i in range(0, 5, 2))  # fmt: skip

    assert parts.tolist() == pytest.approx(sum_elements(losses, losses, weights).tolist())
    assert parts[0] == 1 + 2 + 3 + 4 + 5


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_a_teacher_of_classes_is_followed_by_divergence(temperature):
    outputs, taught = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)

    found = teacher_losses(outputs, taught, CLASSES, temperature=temperature)

    teacher = torch.distributions.Categorical(logits=taught / temperature)
    student = torch.distributions.Categorical(logits=outputs / temperature)
    expected = torch.distributions.kl_divergence(teacher, student) * temperature**2
    assert torch.allclose(found, expected, atol=1e-5)
    assert found.shape == (5,)


def test_at_temperature_one_the_gradient_is_that_of_cross_entropy_with_soft_labels():
    outputs, taught = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    soft_labels = torch.softmax(taught, dim=1)

    (found,) = torch.autograd.grad(
        teacher_losses(outputs, taught, CLASSES, temperature=1.0).sum(), outputs
    )
    (expected,) = torch.autograd.grad(
        functional.cross_entropy(outputs, soft_labels, reduction="sum"), outputs
    )

    assert torch.allclose(found, expected, atol=1e-6)


def test_a_teacher_of_numbers_is_followed_by_squares():
    outputs, taught = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [2.5]])

    found = teacher_losses(outputs, taught, NUMBER, temperature=2.0)

    assert found.tolist() == [4.0, 0.25]


@pytest.mark.parametrize("target", [CLASSES, NUMBER], ids=lambda target: target.kind)
def test_who_agrees_with_the_teacher_has_nothing_to_learn_from_it(target):
    outputs = torch.randn(5, 3 if target is CLASSES else 1)

    assert teacher_losses(outputs, outputs, target, temperature=2.0).abs().max() < 1e-6


def test_a_text_model_has_no_teacher():
    with pytest.raises(SpecError, match="distillation"):
        teacher_losses(torch.zeros(1, 2, 256), torch.zeros(1, 2, 256), TEXT, temperature=1.0)
