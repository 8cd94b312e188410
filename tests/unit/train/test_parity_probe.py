"""The probe tells rounding from breakdown, and leaves no trace."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from raymi.accelerators.catalog import CPU, find
from raymi.specs.optimizer import ScheduleSpec
from raymi.specs.precision import Precision
from raymi.specs.train import TrainSpec
from raymi.train.batch import Batch
from raymi.train.parity import LOSS_TOLERANCE, ParityReport, compare, probe

CPU_DEVICE = torch.device("cpu")


class Classifier(nn.Sequential):
    """Reads the column `numbers`; its middle layer is one that fp8 is for."""

    def __init__(self, *middle: nn.Module) -> None:
        torch.manual_seed(0)
        middle = middle or (nn.GELU(), nn.LayerNorm(32))
        super().__init__(
            nn.Linear(8, 32),
            *middle,
            nn.Linear(32, 32),
            nn.GELU(),
            nn.Dropout(0.5),
            nn.Linear(32, 3),
        )

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return super().forward(inputs["numbers"])


class Times(nn.Module):
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, values: Tensor) -> Tensor:
        return values * self.factor


def batches(num_steps: int = 3) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    return [
        Batch(
            arrays={"numbers": torch.randn(64, 8, generator=generator)},
            targets=torch.randint(0, 3, (64,), generator=generator),
            weights=torch.ones(64),
        )
        for _ in range(num_steps)
    ]


def mean_loss(network: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(network(batch.arrays).float(), batch.targets)


def spec_of(precision: Precision, **optimizer: object) -> TrainSpec:
    return TrainSpec.from_document(
        {
            "name": "x",
            "problem": "x",
            "data": "x",
            "precision": precision,
            "batch": {"global_batch_size": 64, "micro_batch_size": 64},
            "optimizer": optimizer,
        }
    )


def run(precision: Precision, model: nn.Module | None = None, forward_loss=mean_loss, **optimizer):
    return probe(
        model=model or Classifier(),
        spec=spec_of(precision, **optimizer),
        accelerator=find("AMD-Instinct-MI300X-OAM") if precision is Precision.FP8 else CPU,
        device=CPU_DEVICE,
        steps=batches(),
        forward_loss=forward_loss,
    )


def test_fp32_is_its_own_twin_to_the_bit():
    report = run(Precision.FP32)

    assert report.losses == report.reference_losses
    assert report.gradient_norm_ratios == (1.0, 1.0, 1.0)
    assert report.agrees


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_sound_network_agrees_in_every_precision(precision, name):
    report = run(precision, name=name)

    assert report.agrees, report.verdict
    assert report.max_loss_difference < LOSS_TOLERANCE[precision]


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16, Precision.FP8])
def test_rounding_is_seen(precision):
    assert run(precision).max_loss_difference > 0.0


def test_the_losses_are_those_of_the_first_steps():
    report = run(Precision.FP32, learning_rate=1e-12)

    expected = [mean_loss(Classifier().eval(), batch).item() for batch in batches()]
    assert report.losses == pytest.approx(expected, rel=1e-5)


def test_the_twins_learn():
    same_batch = batches(1) * 8
    report = probe(
        model=Classifier(),
        spec=spec_of(Precision.BF16, learning_rate=0.1),
        accelerator=CPU,
        device=CPU_DEVICE,
        steps=same_batch,
        forward_loss=mean_loss,
    )

    assert report.losses[-1] < 0.9 * report.losses[0]
    assert report.agrees


def test_activations_that_overflow_fp16_are_found():
    """65504 is its largest number; bf16 goes as far as fp32."""
    model = Classifier(Times(1e6), nn.LayerNorm(32))

    report = run(Precision.FP16, model)

    assert report.agrees is False
    assert report.max_loss_difference is None
    assert "breaks down" in report.verdict
    assert run(Precision.BF16, model).agrees


def test_differences_lost_in_bf16_are_found():
    """1000 and 1001 are the same number in bf16."""
    model = Classifier(Shifted(1000.0))

    assert run(Precision.BF16, model).agrees is False
    assert run(Precision.FP32, model).agrees


class Shifted(nn.Module):
    """Adds a constant and takes it away again: exact in fp32, a catastrophe in bf16."""

    def __init__(self, size: float) -> None:
        super().__init__()
        self.size = size

    def forward(self, values: Tensor) -> Tensor:
        return (values + self.size) - self.size


def test_fp16_gradients_that_overflow_only_when_scaled_are_no_breakdown():
    report = run(Precision.FP16, forward_loss=lambda n, b: 100.0 * mean_loss(n, b))

    assert report.agrees, report.verdict


@pytest.mark.parametrize("precision", Precision)
def test_it_leaves_model_random_state_and_modes_as_they_were(precision):
    model = Classifier()
    before = copy.deepcopy(model.state_dict())
    modes = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    state = torch.get_rng_state()

    run(precision, model)

    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training and model[5].p == 0.5
    assert not any(parameter.grad is not None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == modes


def test_without_memory_for_a_twin_it_is_skipped_and_says_so():
    def too_large(network: nn.Module, batch: Batch) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    report = run(Precision.BF16, forward_loss=too_large)

    assert report.agrees is None
    assert "not compared with fp32" in report.verdict


def test_other_errors_are_not_hidden():
    def broken(network: nn.Module, batch: Batch) -> Tensor:
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        run(Precision.BF16, forward_loss=broken)


def test_without_a_warm_up_the_probe_starts_at_the_peak_as_the_run_does():
    slow, fast = (
        probe(
            model=Classifier(),
            spec=spec_of(Precision.FP32).model_copy(
                update={"schedule": ScheduleSpec(warmup_fraction=share)}
            ),
            accelerator=CPU,
            device=CPU_DEVICE,
            steps=batches(1) * 4,
            forward_loss=mean_loss,
        )
        for share in (0.05, 0.0)
    )

    assert fast.losses[-1] < slow.losses[-1] < slow.losses[0]


# The judgement.


def test_the_largest_difference_over_all_steps_decides():
    report = compare(Precision.BF16, [(1.0, 1.0), (1.03, 1.0)], [(1.0, 1.0), (1.0, 1.0)])

    assert report.loss_differences == pytest.approx((0.0, 0.03))
    assert report.max_loss_difference == pytest.approx(0.03)
    assert not report.agrees
    assert "differs by at most 3.00% (allowed 2.00%)" in report.verdict


def test_gradients_of_another_size_disagree():
    report = compare(Precision.BF16, [(1.0, 1.2)], [(1.0, 1.0)])

    assert report.gradient_norm_ratios == pytest.approx((1.2,))
    assert not report.agrees


def test_a_loss_that_reaches_zero_is_compared_with_where_it_began():
    assert compare(Precision.BF16, [(1.0, 1.0), (1e-9, 1.0)], [(1.0, 1.0), (0.0, 1.0)]).agrees


def test_a_report_survives_its_file(tmp_path):
    report = compare(Precision.FP16, [(math.nan, math.inf)], [(1.0, 1.0)])

    report.save(tmp_path / "parity.json")

    assert ParityReport.load(tmp_path / "parity.json") == report
    assert report.losses == (None,)
