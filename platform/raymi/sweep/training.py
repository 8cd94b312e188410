"""Training runs of one sweep: had through Ray Tune, remembered, and read back with their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from raymi.sweep.accounts import Accounts
from raymi.sweep.evidence import Purpose, RunEvidence, RunStatus
from raymi.sweep.ground import Ground
from raymi.sweep.monitor import Monitor
from raymi.sweep.runs import SweepRun, with_row_scores
from raymi.sweep.setting import Setting
from raymi.sweep.tuner import Tuning, read_outcome, run_all
from raymi.sweep.workspace import Workspace
from raymi.train.events import EVENTS_FILE
from raymi.train.follow import follow
from raymi.train.planning import ensure_run
from raymi.train.teaching import Teach, taught

Wanted = tuple[Setting, int]
"""A setting and the number of its run: the n-th run of every setting has the same seed."""


class Training:
    """What was trained so far, by this driver or an earlier one."""

    def __init__(
        self,
        ground: Ground,
        workspace: Workspace,
        monitor: Monitor,
        accounts: Accounts,
        *,
        say: Callable[[str], None],
        teach: Teach | None,
    ) -> None:
        self._ground = ground
        self._workspace = workspace
        self._monitor = monitor
        self._accounts = accounts
        self._say = say
        self._teach = teach
        self._outcomes: dict[str, RunEvidence] = {}
        self._runs: dict[str, SweepRun] = {}
        self._num_tuned = 0

    @property
    def outcomes(self) -> tuple[RunEvidence, ...]:
        """What became of every run that was wanted."""
        return tuple(self._outcomes.values())

    def run_dir(self, outcome: RunEvidence) -> Path:
        """The directory of a run."""
        return self._runs[outcome.run_id].run_dir

    def missing(self, wanted: Sequence[Wanted], *, purpose: Purpose) -> list[Setting]:
        """Settings of the runs that nobody has finished."""
        trials_dir = self._workspace.trials_dir
        return [
            setting
            for setting, number in wanted
            if read_outcome(self._run(setting, number, purpose), trials_dir) is None
        ]

    def has_succeeded(self, setting: Setting) -> bool:
        """Whether the first run of a setting trained to the end."""
        outcome = self._outcomes.get(self._run(setting, 0, Purpose.QUALITY).run_id)
        return outcome is not None and outcome.status is RunStatus.SUCCEEDED

    def have(
        self,
        wanted: Sequence[Wanted],
        reference: Setting,
        *,
        purpose: Purpose,
        rung_top_s: float | None = None,
    ) -> None:
        """Train what was not trained yet, or as much of it as the budget allows.

        Args:
            wanted: Runs.
            reference: Never stopped early.
            purpose: Of all of them.
            rung_top_s: Of halving; see `Tuning`.
        """
        runs = [self._run(setting, number, purpose) for setting, number in wanted]
        runs = [run for run in runs if run.run_id not in self._outcomes]
        if not runs:
            return
        plans = [run.plan for run in runs]
        for plan in plans:
            ensure_run(plan)
        runs = [
            replace(run, plan=plan)
            for run, plan in zip(runs, taught(plans, self._teach), strict=True)
        ]
        self._accounts.add(runs)
        self._runs |= {run.run_id: run for run in runs}
        self._num_tuned += 1
        logs = {f"[{run}] ": run.run_dir / EVENTS_FILE for run in runs}
        with follow(logs, self._say):
            outcomes = run_all(
                runs,
                self._tuning(runs, reference, rung_top_s),
                provenance=self._ground.provenance,
                watcher=self._monitor,
            )
        self._outcomes |= {
            run.run_id: with_row_scores(outcome, run)
            for run, outcome in zip(runs, outcomes, strict=True)
        }

    def _run(self, setting: Setting, number: int, purpose: Purpose) -> SweepRun:
        return self._ground.planner.run(setting, number=number, purpose=purpose)

    def _tuning(
        self, runs: Sequence[SweepRun], reference: Setting, rung_top_s: float | None
    ) -> Tuning:
        ground, monitor = self._ground, self._monitor
        return Tuning(
            directory=self._workspace.directory / f"tune-{monitor.session}-{self._num_tuned}",
            trials_dir=self._workspace.trials_dir,
            num_concurrent=ground.num_concurrent([run.setting for run in runs]),
            metric=ground.metric,
            higher_is_better=ground.higher_is_better,
            quality=ground.spec.quality,
            rung_top_s=rung_top_s,
            reference=reference.index,
        )
