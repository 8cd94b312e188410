"""TrainingState: what changes during a run, and how it is saved and brought back."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from raymi.errors import IntegrityError
from raymi.models.catalog import build_model
from raymi.train.checkpoint import load_state, save_state
from raymi.train.optimizer import build_optimizer
from raymi.train.plan import TrainPlan
from raymi.train.precision import build_scaler

_STEP_STRIDE = 1_000_003
"""A prime far above any rank: seeds of (step, rank) pairs do not meet."""


@dataclass
class TrainingState:
    """Model, optimizer, loss scale and position of one worker."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    """Optimizer steps done since the start of the run: epoch and data position follow from it."""
    elapsed_s: float = 0.0
    """Seconds of training in earlier attempts up to this step."""

    def save(self, directory: Path, *, fingerprint: str, elapsed_s: float) -> None:
        """Write everything into an empty directory."""
        directory.mkdir(parents=True, exist_ok=True)
        save_state(
            directory,
            {
                "spec_fingerprint": fingerprint,
                "step": self.step,
                "elapsed_s": elapsed_s,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
            },
        )

    def restore(self, directory: Path, *, fingerprint: str) -> None:
        """Go back to a saved state.

        Raises:
            IntegrityError: The checkpoint is damaged or belongs to another spec.
        """
        saved: dict[str, Any] = load_state(directory)
        if saved["spec_fingerprint"] != fingerprint:
            raise IntegrityError(
                f"{directory}: checkpoint of another run",
                why="it was saved under a spec with a different fingerprint",
                fix="resume with the spec of that run, or start a new run",
            )
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if saved["scaler"]:
            self.scaler.load_state_dict(saved["scaler"])
        self.step = saved["step"]
        self.elapsed_s = saved["elapsed_s"]


def build_state(plan: TrainPlan, device: torch.device) -> TrainingState:
    """Untrained state, equal on every rank: weights depend on the spec's seed alone."""
    seed_everything(plan.spec.seed)
    model = build_model(plan.architecture, plan.preprocessing).to(device)
    return TrainingState(
        model=model,
        optimizer=build_optimizer(model, plan.spec.optimizer),
        scaler=build_scaler(plan.spec.precision, device),
    )


def seed_everything(seed: int) -> None:
    """Seed every generator a model could draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make dropout a function of position: a resumed run draws what it would have drawn."""
    torch.manual_seed(seed + _STEP_STRIDE * (step + 1) + rank)
