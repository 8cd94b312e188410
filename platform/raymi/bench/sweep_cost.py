"""What it costs to find the best setting: a plain Ray Tune grid, ASHA, and Raymi, on one space.

All train with the same code, and their cost is counted in the same way: workers times the seconds
that they were held, starting up included. What is best is told by an exhaustive run: every setting
trained fully with many seeds, in random order.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from raymi.bench.sweep_verdict import Row, Truth, pick, truth_of
from raymi.errors import SpecError
from raymi.specs.sweep import Objective, SweepSpec
from raymi.sweep import stage
from raymi.sweep.evidence import Purpose, RunEvidence, RunStatus
from raymi.sweep.ground import Ground, pin_data, survey
from raymi.sweep.receipt import Receipt
from raymi.sweep.runs import RunPlanner, SweepRun
from raymi.sweep.setting import Setting
from raymi.sweep.tuner import Tuning, run_all
from raymi.sweep.workspace import RECEIPT_FILE
from raymi.train import cluster
from raymi.train.planning import ensure_run

GRID, ASHA, RAYMI = "grid", "asha", "raymi"


@dataclass
class SweepCost:
    """What was measured."""

    settings: tuple[Setting, ...]
    accelerator_seconds: dict[str, float] = field(default_factory=dict)
    winner: dict[str, int | None] = field(default_factory=dict)
    """Contestant -> setting."""

    truth: Truth | None = None
    noise_floor: float | None = None
    """Of Raymi's own control."""

    rows: list[Row] = field(default_factory=list)
    """Every run of the exhaustive search."""

    by_precision_s: dict[str, float] = field(default_factory=dict)
    """What Raymi spent on each precision."""

    @property
    def ratio_to_grid(self) -> float:
        """What Raymi spent / what the grid spent."""
        return self.accelerator_seconds[RAYMI] / self.accelerator_seconds[GRID]

    def label(self, index: int | None) -> str | None:
        """A setting's name."""
        return None if index is None else self.settings[index].label

    def is_right(self, contestant: str) -> bool | None:
        """Whether it named the best setting, or one that equals it; None without a truth."""
        if self.truth is None:
            return None
        return self.winner[contestant] in self.truth.best

    def to_document(self) -> dict[str, object]:
        """For JSON."""
        truth = self.truth
        names = {name: self.label(index) for name, index in self.winner.items()}
        return {
            "accelerator_seconds": {
                name: round(value, 1) for name, value in self.accelerator_seconds.items()
            },
            "winner": {**names, "truth": self.label(truth.winner) if truth else None},
            "ratio_to_grid": round(self.ratio_to_grid, 4),
            "truth_ties": [self.label(index) for index in truth.best] if truth else [],
            "is_right": {name: self.is_right(name) for name in self.winner},
            "noise_floor": self.noise_floor,
            "raymi_seconds_by_precision": self.by_precision_s,
            "exhaustive": [
                {
                    "setting": self.label(row.setting),
                    "seed": row.seed,
                    "metric": row.metric,
                    "samples_per_s": row.samples_per_s,
                }
                for row in self.rows
            ],
        }


def measure(
    spec: SweepSpec, *, num_seeds: int, store_dir: Path, say: Callable[[str], None]
) -> SweepCost:
    """Let each of the three search the space, then search it exhaustively.

    Args:
        spec: The sweep; `objective: samples_per_s`.
        num_seeds: Of the exhaustive search, the grid's among them; 0: do without.
        store_dir: Where datasets and runs are.
        say: Receives progress.

    Raises:
        SpecError: The sweep has another objective, or nothing runs here.
    """
    if spec.objective is not Objective.SAMPLES_PER_S:
        raise SpecError(
            f"objective: {spec.objective.value} is not compared",
            why="a grid's runs tell speed and quality only",
            fix="--set objective=samples_per_s",
        )
    pinned = pin_data(spec, store_dir)
    cluster.join()
    name = f"bench-{secrets.token_hex(3)}"
    ground = survey(pinned, name, store_dir=store_dir)
    found = SweepCost(settings=ground.settings)
    search = _Search(ground, name, store_dir=store_dir, say=say)

    say(f"{RAYMI}: the sweep as it is")
    result = stage.run(spec, store_dir=store_dir, say=say, starts_anew=True)
    receipt = Receipt.load(Path(result.sweep_dir) / RECEIPT_FILE)
    found.accelerator_seconds[RAYMI] = receipt.evidence.spending.accelerator_s
    found.by_precision_s = receipt.evidence.spending.by_precision_s
    found.winner[RAYMI] = receipt.decision.winner
    found.noise_floor = receipt.decision.noise_floor

    margin = spec.constraints.max_quality_loss
    say(f"{GRID}: every setting, fully")
    grid = search.train(GRID, seed_number=0)
    say(f"{ASHA}: the same, halved at epochs 1, 4, 16, ...")
    halved = search.train(ASHA, seed_number=0, scheduler=_usual_asha(spec.train.epochs))
    for contestant, runs in ((GRID, grid), (ASHA, halved)):
        found.accelerator_seconds[contestant] = sum(run.accelerator_s for run in runs)
        found.winner[contestant] = pick(_rows(runs), ground, margin=margin)
    if num_seeds:
        found.rows = _rows(grid)
        for number in range(1, num_seeds):
            say(f"truth: every setting, seed {number + 1} of {num_seeds}")
            found.rows += _rows(search.train("truth", seed_number=number, shuffled=True))
        found.truth = truth_of(
            found.rows, ground, margin=margin, noise_floor=found.noise_floor or 0.0
        )
    return found


def _usual_asha(epochs: int) -> TrialScheduler:
    """Ray's defaults, judged by the validation metric after each epoch."""
    return ASHAScheduler(time_attr="epoch", max_t=max(2, epochs), stop_last_trials=False)


def _rows(runs: Sequence[RunEvidence]) -> list[Row]:
    """Runs that ended well."""
    return [
        Row(setting=r.setting, seed=r.seed, metric=r.metric, samples_per_s=r.samples_per_s)
        for r in runs
        if r.status is RunStatus.SUCCEEDED and r.metric is not None and r.samples_per_s is not None
    ]


class _Search:
    """Trains every setting of a space through Ray Tune."""

    def __init__(
        self, ground: Ground, name: str, *, store_dir: Path, say: Callable[[str], None]
    ) -> None:
        self._ground = ground
        self._name = name
        self._store_dir = store_dir
        self._say = say

    def train(
        self,
        contestant: str,
        *,
        seed_number: int,
        scheduler: TrialScheduler | None = None,
        shuffled: bool = False,
    ) -> list[RunEvidence]:
        """Every setting once, with one seed."""
        ground = self._ground
        planner = RunPlanner(
            ground.spec,
            sweep_id=f"{self._name}-{contestant}",
            accelerator=ground.accelerator.name,
            store_dir=self._store_dir,
        )
        settings = list(ground.usable)
        if shuffled:
            random.Random(seed_number).shuffle(settings)  # noqa: S311 - an order, not a secret
        runs = [planner.run(s, number=seed_number, purpose=Purpose.QUALITY) for s in settings]
        for run in runs:
            ensure_run(run.plan)
        directory = self._store_dir / "bench" / self._name
        trials_dir = directory / f"{contestant}-{seed_number}"
        trials_dir.mkdir(parents=True)
        return run_all(
            runs,
            Tuning(
                directory=directory / f"tune-{contestant}-{seed_number}",
                trials_dir=trials_dir,
                num_concurrent=1,
                metric=ground.metric,
                higher_is_better=ground.higher_is_better,
                quality=ground.spec.quality,
                scheduler=scheduler,
            ),
            provenance=ground.provenance,
            watcher=_Watcher(self._say),
        )


class _Watcher:
    """Says how runs end; never stops one."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def should_stop(self) -> bool:
        """Never."""
        return False

    def started(self, run: SweepRun) -> None:
        """Nothing to say."""

    def ended(self, run: SweepRun, outcome: RunEvidence) -> None:
        """One line."""
        metric = "" if outcome.metric is None else f", {outcome.metric:.4f}"
        self._say(f"  {run}: {outcome.status.value.lower()}{metric}, "
                  f"{outcome.accelerator_s:.0f} accelerator-s")  # fmt: skip
