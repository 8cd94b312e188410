"""What a step minimises: labels alone, a teacher alone, or the mixture in between."""

import pytest
import torch
from torch.nn import functional

from raymi.data.preprocessing import ClassTarget, NumberTarget
from raymi.errors import SpecError
from raymi.specs.distillation import DistillationSpec
from raymi.train.batch import Batch
from raymi.train.criterion import Criterion

CPU = torch.device("cpu")
CLASSES = ClassTarget(column="label", classes=("a", "b", "c"))
NUMBER = NumberTarget(column="price", mean=10.0, std=4.0)
OUTPUTS = torch.tensor([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0], [9.0, 9.0, 9.0]])
TEACHER = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [1.0, 1e-9, 1e-9]]).log()
LABELS = torch.tensor([0, 2, 1])
WEIGHTS = torch.tensor([1.0, 1.0, 0.0])


def loss(weight, *, temperature=1.0, outputs=OUTPUTS, labels=LABELS, teacher=TEACHER):
    distillation = DistillationSpec(teacher="big@1", weight=weight, temperature=temperature)
    batch = Batch({}, labels, WEIGHTS, soft_targets=teacher)
    return Criterion(CLASSES, distillation, CPU).loss_sum(outputs, batch)


def loss_of_labels():
    return Criterion(CLASSES, None, CPU).loss_sum(OUTPUTS, Batch({}, LABELS, WEIGHTS))


def test_without_a_teacher_it_is_the_cross_entropy_of_the_rows_that_count():
    expected = functional.cross_entropy(OUTPUTS[:2], LABELS[:2], reduction="sum")

    assert loss_of_labels() == pytest.approx(expected.item())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_weight_1_is_the_softened_divergence_of_the_rows_that_count(temperature):
    teacher = torch.distributions.Categorical(logits=TEACHER[:2] / temperature)
    student = torch.distributions.Categorical(logits=OUTPUTS[:2] / temperature)
    expected = torch.distributions.kl_divergence(teacher, student).sum() * temperature**2

    found = loss(1.0, temperature=temperature)

    assert found == pytest.approx(expected.item(), abs=5e-6)


def test_weight_1_does_not_look_at_the_labels():
    assert loss(1.0, labels=LABELS) == loss(1.0, labels=torch.tensor([2, 0, 0]))


@pytest.mark.parametrize("weight", [0.25, 0.5, 0.9])
def test_in_between_it_is_the_weighted_mean_of_both(weight):
    expected = (1 - weight) * loss_of_labels() + weight * loss(1.0)

    assert loss(weight) == pytest.approx(expected.item(), rel=1e-6)


def test_at_temperature_1_soft_and_hard_labels_mix_into_one_cross_entropy():
    """(1 - w) CE(label) + w KL(p || q) = CE((1 - w) label + w p, q) - w H(p), in closed form."""
    mixed = 0.3 * functional.one_hot(LABELS, 3) + 0.7 * TEACHER.exp()
    entropy = torch.distributions.Categorical(logits=TEACHER[:2]).entropy().sum()
    expected = functional.cross_entropy(OUTPUTS[:2], mixed[:2], reduction="sum") - 0.7 * entropy

    assert loss(0.7) == pytest.approx(expected.item(), rel=1e-5)


def test_the_gradient_at_weight_1_is_the_difference_of_the_distributions():
    """Temperature T: T (softmax(student / T) - softmax(teacher / T)), and 0 for padding."""
    outputs = OUTPUTS.clone().requires_grad_()

    loss(1.0, temperature=2.0, outputs=outputs).backward()

    expected = 2.0 * (functional.softmax(OUTPUTS / 2, 1) - functional.softmax(TEACHER / 2, 1))
    torch.testing.assert_close(outputs.grad[:2], expected[:2])
    assert outputs.grad[2].abs().max() == 0


def test_numbers_mix_squares():
    distillation = DistillationSpec(teacher="big@1", weight=0.25)
    batch = Batch({}, torch.tensor([1.0]), torch.ones(1), soft_targets=torch.tensor([[3.0]]))

    found = Criterion(NUMBER, distillation, CPU).loss_sum(torch.tensor([[2.0]]), batch)

    assert found == pytest.approx(0.75 * (2.0 - 1.0) ** 2 + 0.25 * (2.0 - 3.0) ** 2)


def test_a_teacher_that_nobody_asked_is_an_error_and_not_another_run():
    with pytest.raises(SpecError, match="nobody has asked the teacher"):
        loss(0.5, teacher=None)
