"""Does this precision compute what fp32 does? The first steps of a run, twice, side by side."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from raymi.accelerators.catalog import Accelerator
from raymi.specs.precision import Precision
from raymi.specs.train import TrainSpec
from raymi.store.record import Record
from raymi.train.batch import Batch
from raymi.train.failure import Reason, classify
from raymi.train.optimizer import build_optimizer, set_learning_rate
from raymi.train.precision import compute_context, matmul_mode, prepare_model

LOSS_TOLERANCE = {
    Precision.FP32: 0.0001,
    Precision.TF32: 0.005,
    Precision.FP16: 0.01,
    Precision.BF16: 0.02,
    Precision.BF16_PURE: 0.03,
    Precision.FP8: 0.10,
}
"""Largest relative difference of a step's loss that is put down to rounding.

About ten rounding errors of the format where products are many and cancel (half a last bit:
bf16 2^-9, fp16 and tf32 2^-12; tf32 has room because gfx942's is close to bf16), and one and a
half of e4m3's 2^-4. What the probe is for, an overflow or a wrong scale, differs by far more;
twelve layers of 256 on eight rows, at AdamW's usual rate, stayed below a quarter of each.
"""

GRADIENT_FACTOR = 5.0
"""How much more than the loss the gradient's norm may differ: errors add up twice, on the way
forward and on the way back, and no mean over rows evens them out."""

WARMUP_SHARE = 0.1
"""Of the peak rate, where the probe's rates end if there is a warm-up: it begins with less. At the
peak itself first steps of AdamW amplify every rounding error, in a run as in the probe."""

_LARGEST_LOSS_SCALE = 2.0**16
_DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


class ParityReport(Record):
    """A run's precision beside fp32, step by step."""

    precision: Precision
    """Of the run."""

    losses: tuple[float | None, ...] = ()
    """Mean loss of each step, before its update; None: not a finite number."""

    reference_losses: tuple[float | None, ...] = ()
    """The same in fp32."""

    loss_differences: tuple[float | None, ...] = ()
    """Relative to the fp32 loss; None where one of the two is not finite."""

    gradient_norm_ratios: tuple[float | None, ...] = ()
    """Norm of the whole gradient over fp32's, before clipping."""

    max_loss_difference: float | None = None
    """Over all steps; None if some step is not finite, or nothing was compared."""

    loss_tolerance: float
    """What `max_loss_difference` was held against."""

    gradient_tolerance: float
    """How far from 1 a gradient ratio may be."""

    agrees: bool | None
    """Whether every step is within the tolerances; None: the probe was skipped."""

    verdict: str
    """The same for people, in one sentence."""


def probe(
    *,
    model: nn.Module,
    spec: TrainSpec,
    accelerator: Accelerator,
    device: torch.device,
    steps: Sequence[Batch],
    forward_loss: Callable[[nn.Module, Batch], Tensor],
) -> ParityReport:
    """Take the first steps in the run's precision and in fp32, from the same weights.

    One batch is one optimizer step, at the small rates of a warm-up if the spec has one. Dropout
    is off: its masks depend on the dtype. Nothing is exchanged between workers, and the model,
    the random state and the memory are left as they were.

    Args:
        model: As built: fp32, neither prepared for a precision nor distributed.
        forward_loss: Mean loss of a batch; the probe chooses the arithmetic around it.
    """
    precision = spec.precision
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(spec.seed)
            pair = [
                _Twin(model, spec, used, accelerator, device).train(steps, forward_loss)
                for used in (precision, Precision.FP32)
            ]
    except Exception as error:
        if classify(error) is not Reason.OUT_OF_MEMORY:
            raise
        return _skipped(precision, "two copies of the network and its optimizer do not fit")
    finally:
        if devices:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
    return compare(precision, *pair)


def compare(
    precision: Precision,
    own: Sequence[tuple[float, float]],
    reference: Sequence[tuple[float, float]],
) -> ParityReport:
    """Judge (loss, gradient norm) of each step against fp32's."""
    tolerance = LOSS_TOLERANCE[precision]
    gradient_tolerance = GRADIENT_FACTOR * tolerance
    # A loss that reaches zero has no relative difference; a hundredth of the first is near enough.
    floor = 0.01 * abs(reference[0][0]) if reference else 0.0
    differences = tuple(
        _finite((loss - exact) / max(abs(exact), floor, 1e-30))
        for (loss, _), (exact, _) in zip(own, reference, strict=True)
    )
    ratios = tuple(
        _finite(norm / exact) if exact else _finite(1.0 + norm)
        for (_, norm), (_, exact) in zip(own, reference, strict=True)
    )
    sizes = [abs(difference) for difference in differences if difference is not None]
    gaps = [abs(ratio - 1.0) for ratio in ratios if ratio is not None]
    is_finite = len(sizes) == len(gaps) == len(own)
    largest, widest = max(sizes, default=0.0), max(gaps, default=0.0)
    agrees = is_finite and largest <= tolerance and widest <= gradient_tolerance
    return ParityReport(
        precision=precision,
        losses=tuple(_finite(loss) for loss, _ in own),
        reference_losses=tuple(_finite(loss) for loss, _ in reference),
        loss_differences=differences,
        gradient_norm_ratios=ratios,
        max_loss_difference=largest if is_finite else None,
        loss_tolerance=tolerance,
        gradient_tolerance=gradient_tolerance,
        agrees=agrees,
        verdict=_sentence(
            precision, largest, widest, num_steps=len(own), agrees=agrees, is_finite=is_finite
        ),
    )


class _Twin:
    """A copy of the network that takes a few steps in one precision."""

    def __init__(
        self,
        model: nn.Module,
        spec: TrainSpec,
        precision: Precision,
        accelerator: Accelerator,
        device: torch.device,
    ) -> None:
        self._spec = spec
        self._precision = precision
        self._device = device
        network = _without_dropout(copy.deepcopy(model)).to(device)
        self._network = prepare_model(network, precision, accelerator).train()
        self._optimizer = build_optimizer(
            self._network, spec.optimizer, precision=precision, device=device, seed=0
        )
        self._loss_scale = _LARGEST_LOSS_SCALE if precision is Precision.FP16 else 1.0

    def train(
        self, steps: Sequence[Batch], forward_loss: Callable[[nn.Module, Batch], Tensor]
    ) -> list[tuple[float, float]]:
        """(loss, gradient norm) of each step, not finite once the numbers break down."""
        with matmul_mode(self._precision):
            measured = []
            for index, batch in enumerate(steps):
                share = (index + 1) / len(steps)
                set_learning_rate(self._optimizer, share * self._largest_rate())
                measured.append(self._step(batch, forward_loss))
            return measured

    def _largest_rate(self) -> float:
        peak = self._spec.optimizer.learning_rate
        return WARMUP_SHARE * peak if self._spec.schedule.warmup_fraction > 0.0 else peak

    def _step(
        self, batch: Batch, forward_loss: Callable[[nn.Module, Batch], Tensor]
    ) -> tuple[float, float]:
        loss, norm = self._differentiate(batch, forward_loss)
        # A run skips steps until its loss scale is small enough; the probe takes them again, so
        # that both twins take the same ones.
        while math.isfinite(loss) and not math.isfinite(norm) and self._loss_scale > 1.0:
            self._loss_scale /= 2.0
            loss, norm = self._differentiate(batch, forward_loss)
        limit = self._spec.optimizer.max_gradient_norm
        if limit is not None and norm > limit:
            for gradient in self._gradients():
                gradient.mul_(limit / norm)
        self._optimizer.step()
        return loss, norm

    def _differentiate(
        self, batch: Batch, forward_loss: Callable[[nn.Module, Batch], Tensor]
    ) -> tuple[float, float]:
        self._optimizer.zero_grad(set_to_none=True)
        with compute_context(self._precision, self._device):
            loss = forward_loss(self._network, batch)
        torch.autograd.backward(loss * self._loss_scale)
        gradients = self._gradients()
        for gradient in gradients:
            gradient.div_(self._loss_scale)
        norms = [torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in gradients]
        norm = torch.linalg.vector_norm(torch.stack(norms)).item() if norms else 0.0
        return loss.item(), norm

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self._network.parameters() if p.grad is not None]


def _without_dropout(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, _DROPOUTS):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention | nn.RNNBase):
            module.dropout = 0.0
    return network


def _skipped(precision: Precision, why: str) -> ParityReport:
    return ParityReport(
        precision=precision,
        loss_tolerance=LOSS_TOLERANCE[precision],
        gradient_tolerance=GRADIENT_FACTOR * LOSS_TOLERANCE[precision],
        agrees=None,
        verdict=f"not compared with fp32: {why}",
    )


def _finite(number: float) -> float | None:
    """JSON has no infinity and no NaN."""
    return number if math.isfinite(number) else None


def _sentence(
    precision: Precision,
    largest: float,
    widest: float,
    *,
    num_steps: int,
    agrees: bool,
    is_finite: bool,
) -> str:
    compared = f"over {num_steps} step{'' if num_steps == 1 else 's'}"
    if not is_finite:
        return f"{precision} breaks down {compared}: a loss or gradient is not a finite number"
    tolerance = LOSS_TOLERANCE[precision]
    return (
        f"{precision} {'agrees' if agrees else 'disagrees'} with fp32 {compared}: the loss differs "
        f"by at most {largest:.2%} (allowed {tolerance:.2%}), the gradient's norm by "
        f"{widest:.2%} (allowed {GRADIENT_FACTOR * tolerance:.2%})"
    )
