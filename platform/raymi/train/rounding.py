"""Optimizers for bf16 weights that do not lose updates smaller than a weight's last bit.

bf16 keeps 8 significant bits: added to a weight by rounding to the nearest, an update below
2^-9 of it does nothing, however often it is repeated. Two remedies, both of Zamirai et al.,
"Revisiting BFloat16 Training" (arXiv 2010.06192), applied to arithmetic in fp32:

- `kahan`: what rounding took from the weight is kept in a second bf16 number and goes into the
  next update: 16 significant bits in all, so that updates are lost below 2^-17 of a weight.
- `stochastic`: round up or down at random, in proportion to what is lost, so that the mean is
  exact. Nothing is lost, but the weight walks at random around where it should be.

The running means of AdamW and SGD forget, so an exact mean is all that they need: they are
rounded stochastically either way. With beta2 = 0.999, to the nearest they would stand still.
Bytes for each weight and its AdamW state: 8 with `kahan`, 6 with `stochastic`, 12 in fp32.

The random bits are a hash of (seed, step, place of the weight in the model), not a generator's
state: ranks round alike, shards round as the whole would, and a resumed run goes on exactly.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from raymi.specs.optimizer import Rounding
from raymi.train.buckets import Bucket, Piece, buckets_of, pieces_of
from raymi.train.random_rounding import random_bits, round_stochastically

Group = dict[str, Any]
"""One of an optimizer's groups of parameters, with their options by name."""


class RoundedOptimizer(torch.optim.Optimizer):
    """The walk over parameters that both update rules share.

    fp32 parameters among the bf16 ones (BatchNorm's) are updated as torch would.
    """

    moments: tuple[str, ...]
    """Names of the running means kept for each weight."""

    def __init__(
        self, params: Iterable[Any], defaults: dict[str, Any], *, rounding: Rounding, seed: int
    ) -> None:
        super().__init__(params, defaults)
        self._rounding = rounding
        self._seed = seed

    @abstractmethod
    def advance(
        self, weight: Tensor, grad: Tensor, moments: list[Tensor], *, group: Group, step: int
    ) -> Tensor:
        """The new weights; `moments` are changed in place. All fp32, flat, of one length."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns what `closure` does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        first_element = 0
        for group in self.param_groups:
            pieces: list[Piece] = []
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._prepare(parameter)
                    pieces += pieces_of(parameter, self.state[parameter], first_element)
                first_element += parameter.numel()
            for bucket in buckets_of(pieces):
                self._update(bucket, group)
        return loss

    def _prepare(self, parameter: Tensor) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for name in self.moments:
                state[name] = torch.zeros_like(parameter)
            if parameter.dtype is torch.bfloat16 and self._rounding is Rounding.KAHAN:
                state["compensation"] = torch.zeros_like(parameter)
        state["step"] += 1

    def _update(self, bucket: Bucket, group: Group) -> None:
        weight = bucket.read("weight")
        has_compensation = "compensation" in bucket.pieces[0].tensors
        if has_compensation:
            weight += bucket.read("compensation")
        moments = [bucket.read(name) for name in self.moments]
        weight = self.advance(weight, bucket.read("grad"), moments, group=group, step=bucket.step)
        if bucket.dtype is not torch.bfloat16:
            bucket.write("weight", weight)
            for name, moment in zip(self.moments, moments, strict=True):
                bucket.write(name, moment)
            return
        counters = bucket.counters()
        noise = random_bits(counters, seed=self._seed, step=bucket.step, stream=0)
        for name, moment, bits in zip(self.moments, moments, noise, strict=False):
            bucket.write(name, round_stochastically(moment, bits))
        if has_compensation:
            nearest = weight.bfloat16()
            bucket.write("weight", nearest)
            bucket.write("compensation", (weight - nearest.float()).bfloat16())
        else:
            bits, _ = random_bits(counters, seed=self._seed, step=bucket.step, stream=1)
            bucket.write("weight", round_stochastically(weight, bits))


class RoundedAdamW(RoundedOptimizer):
    """AdamW (arXiv 1711.05101) over bf16 weights."""

    moments = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float],
        rounding: Rounding,
        seed: int,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": 1e-8, "weight_decay": 0.0}
        super().__init__(params, defaults, rounding=rounding, seed=seed)

    def advance(
        self, weight: Tensor, grad: Tensor, moments: list[Tensor], *, group: Group, step: int
    ) -> Tensor:
        """One step, with decay taken from the weight and not put into the gradient."""
        mean, mean_square = moments
        beta1, beta2 = group["betas"]
        mean.lerp_(grad, 1.0 - beta1)
        mean_square.mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
        root = (mean_square / (1.0 - beta2**step)).sqrt_().add_(group["eps"])
        rate = group["lr"] / (1.0 - beta1**step)
        decayed = weight.mul_(1.0 - group["lr"] * group["weight_decay"])
        return decayed.addcdiv_(mean, root, value=-rate)


class RoundedSGD(RoundedOptimizer):
    """SGD with momentum over bf16 weights; decay is part of the gradient, as in torch's."""

    moments = ("momentum_buffer",)

    def __init__(
        self, params: Iterable[Any], *, lr: float, momentum: float, rounding: Rounding, seed: int
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": 0.0}
        super().__init__(params, defaults, rounding=rounding, seed=seed)

    def advance(
        self,
        weight: Tensor,
        grad: Tensor,
        moments: list[Tensor],
        *,
        group: Group,
        step: int,  # noqa: ARG002
    ) -> Tensor:
        """One step, the same whichever it is."""
        (velocity,) = moments
        velocity.mul_(group["momentum"]).add_(grad).add_(weight, alpha=group["weight_decay"])
        return weight.add_(velocity, alpha=-group["lr"])
