"""What a run's final weights got right and wrong, row by row, and which rows belong together.

Two runs can be compared far more sharply row by row than by their metrics. Scores are written
beside the model as `row_scores.<split>.npz`: float32 (N,) arrays in the order of the split.
    score       classification: 1 or 0; regression: squared error in the target's own unit;
                `next_byte`: loss in nats, summed over the row's bytes that count
    count       `next_byte` only: bytes that count
    confidence  classification only: the highest probability
    brier       classification only: sum over classes of (probability - truth) squared
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from raymi.data.encoding import value_text
from raymi.data.loading import load_split
from raymi.data.preprocessing import ClassTarget, NextByteTarget, NumberTarget, Target
from raymi.data.version import Split
from raymi.errors import IntegrityError
from raymi.train.evaluation_rows import share_of
from raymi.train.objective import element_losses, element_scores
from raymi.train.plan import TrainPlan
from raymi.train.scoring import Answers, Scorer

_QUARTERS = ("first", "second", "third", "fourth")

_NAMES: dict[type[Target], tuple[str, ...]] = {
    ClassTarget: ("score", "confidence", "brier"),
    NumberTarget: ("score",),
    NextByteTarget: ("score", "count"),
}


@torch.inference_mode()
def score_rows(scorer: Scorer, model: nn.Module, device: torch.device) -> dict[str, np.ndarray]:
    """Score a split row by row; all workers call it together, and all get all rows.

    Args:
        scorer: Of the split.
        model: In evaluation mode.
        device: Where it is.

    Returns:
        The arrays that this module's first lines name, float32 (N,).
    """
    names = _NAMES[type(scorer.target)]
    num_rows = scorer.rows.num_rows
    shares = [len(share_of(num_rows, rank, scorer.world_size)) for rank in range(scorer.world_size)]
    # Passes beyond this worker's share only keep the others company.
    own = torch.zeros((len(names), shares[0]), device=device)
    first, end = 0, shares[scorer.rank]
    for answers in scorer.answers(model, device):
        last = min(first + len(answers.targets), end)
        own[:, first:last] = _scores(answers, scorer.target)[:, : last - first]
        first = last
    parts = [own]
    if scorer.world_size > 1:
        parts = [torch.empty_like(own) for _ in shares]
        dist.all_gather(parts, own)
    scores = torch.cat([part[:, :share] for part, share in zip(parts, shares, strict=True)], dim=1)
    return dict(zip(names, scores.cpu().numpy(), strict=True))


def _scores(answers: Answers, target: Target) -> Tensor:
    """(number of names, N): one line for each of the target's names."""
    outputs, targets, weights = answers
    match target:
        case ClassTarget():
            probabilities = functional.softmax(outputs.float(), dim=1)
            truth = functional.one_hot(targets, probabilities.shape[1])
            brier = (probabilities - truth).square().sum(dim=1)
            score = element_scores(outputs, targets, target)
            return torch.stack([score, probabilities.amax(dim=1), brier])
        case NumberTarget(std=std):
            return element_scores(outputs, targets, target).unsqueeze(0) * std**2
        case NextByteTarget():
            losses = element_losses(outputs, targets, target)
            return torch.stack([(losses * weights).sum(dim=1), weights.sum(dim=1)])


def save_row_scores(run_dir: Path, split: Split, scores: dict[str, np.ndarray]) -> None:
    """Write scores into a run's directory; the file is there whole or not at all."""
    path = _path(run_dir, split)
    temporary = path.with_name(f".{path.name}")
    np.savez(temporary, allow_pickle=False, **scores)
    temporary.rename(path)


def load_row_scores(run_dir: Path, split: Split) -> dict[str, np.ndarray]:
    """The scores of a run's final weights, float32 (N,) each, in the order of the split.

    Raises:
        IntegrityError: They are not there, or damaged.
    """
    path = _path(run_dir, split)
    try:
        with zipfile.ZipFile(path) as archive:
            # Before numpy believes what a damaged header says.
            damaged = archive.testzip()
        with np.load(path, allow_pickle=False) as file:
            scores = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile) as error:
        raise _damaged(path, " ".join(str(error).split())) from error
    if damaged is not None or tuple(scores) not in _NAMES.values():
        raise _damaged(path, f"it holds {damaged or ', '.join(scores) or 'nothing'}")
    if any(
        array.dtype != np.float32 or array.shape != (len(scores["score"]),)
        for array in scores.values()
    ):
        raise _damaged(path, "its arrays are not lists of float32 of one length")
    return scores


def row_slices(plan: TrainPlan, split: Split) -> tuple[tuple[str, ...], np.ndarray]:
    """Which rows of a split belong together: by class, quarter of the target, or place in a text.

    Returns:
        Names, which every split of the run shares, and an index into them for each row, int64.

    Raises:
        IntegrityError: A shard is damaged.
        DataError: A target is missing or unknown.
    """
    preprocessing, target = plan.preprocessing, plan.preprocessing.target
    table = load_split(Path(plan.dataset_dir), plan.dataset, split)
    match target:
        case ClassTarget(column=column, classes=classes):
            names = tuple(f"{column}={value_text(label)}" for label in classes)
            return names, preprocessing.encode_target(table).astype(np.int64)
        case NumberTarget(column=column):
            order = np.argsort(preprocessing.encode_target(table), kind="stable")
            return tuple(f"{column}, {part} quarter" for part in _QUARTERS), _quarters(order)
        case NextByteTarget():
            order = np.arange(table.num_rows)
            return tuple(f"{part} quarter of the rows" for part in _QUARTERS), _quarters(order)


def _quarters(order: np.ndarray) -> np.ndarray:
    """The quarter that each row is in, if they are lined up as `order` says."""
    quarters = np.empty(len(order), dtype=np.int64)
    for number, rows in enumerate(np.array_split(order, len(_QUARTERS))):
        quarters[rows] = number
    return quarters


def _path(run_dir: Path, split: Split) -> Path:
    return run_dir / f"row_scores.{split.value}.npz"


def _damaged(path: Path, why: str) -> IntegrityError:
    return IntegrityError(f"{path}: no scores of rows", why=why, fix="train the run again")
