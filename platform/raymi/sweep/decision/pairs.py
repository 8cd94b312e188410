"""Runs of two ways to compute, paired by seed and row, and what their difference shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raymi.significance.non_inferiority import MIN_SEEDS, Comparison, compare
from raymi.sweep.decision.case import Case
from raymi.sweep.evidence import Purpose, RowScores, RunEvidence

_MIN_ROWS = 2
"""One row has no variance."""


@dataclass(frozen=True)
class Pairs:
    """The runs of both that finished with the same seed."""

    seeds: tuple[int, ...]
    candidate: tuple[RowScores, ...]
    reference: tuple[RowScores, ...]

    @property
    def num_rows(self) -> int:
        """Evaluation rows."""
        return len(self.reference[0].score)

    @property
    def counts(self) -> np.ndarray | None:
        """What each row's score is a sum of, (N,); None: of one."""
        count = self.reference[0].count
        return None if count is None else np.array(count)


def pair_up(case: Case, candidate: str, reference: str, purpose: Purpose) -> Pairs | None:
    """Pairs of runs with one seed; None if there is none, or no two rows to judge them by."""
    ours, theirs = (
        {seed: _scores(run, purpose) for seed, run in case.finished(name, purpose).items()}
        for name in (candidate, reference)
    )
    both = [
        (seed, mine, other)
        for seed in sorted(ours.keys() & theirs.keys())
        if (mine := ours[seed]) is not None and (other := theirs[seed]) is not None
    ]
    if not both or len(both[0][1].score) < _MIN_ROWS:
        return None
    seeds, mines, others = zip(*both, strict=True)
    return Pairs(seeds=seeds, candidate=mines, reference=others)


def compare_pairs(case: Case, pairs: Pairs, *, confidence: float | None = None) -> Comparison:
    """Judge the candidate by the margin of the sweep.

    Args:
        case: What was asked.
        pairs: Runs.
        confidence: One-sided, of bounds; None: as asked.
    """
    return compare(
        np.array([scores.score for scores in pairs.candidate]),
        np.array([scores.score for scores in pairs.reference]),
        metric=case.evidence.metric,
        margin=case.margin,
        confidence=case.spec.quality.confidence if confidence is None else confidence,
        power=case.spec.quality.power,
        counts=pairs.counts,
    )


def differ_in_quality(case: Case, candidate: str, other: str) -> bool:
    """Whether the quality of two ways to compute is shown to differ, two-sided."""
    if candidate == other:
        return False
    pairs = pair_up(case, candidate, other, Purpose.QUALITY)
    if pairs is None or len(pairs.seeds) < MIN_SEEDS:
        return False
    one_sided = (1.0 + case.spec.quality.confidence) / 2.0
    compared = compare_pairs(case, pairs, confidence=one_sided)
    return compared.lower_bound > 0.0 or compared.upper_bound < 0.0


def _scores(run: RunEvidence, purpose: Purpose) -> RowScores | None:
    return run.test if purpose is Purpose.CONFIRMATION else run.validation
