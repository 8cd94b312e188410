"""Conducts one sweep: probe, train what could win, compare, confirm; all from what is on disk.

Every step looks first at what an earlier driver has left, so that the same command goes on where
that one was killed. What to do next is decided by pure functions of the evidence so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from raymi.errors import SpecError
from raymi.specs.sweep import Objective
from raymi.sweep.allowance import Affordable
from raymi.sweep.decision.decide import decide, next_to_confirm
from raymi.sweep.decision.finalists import choose_finalists, setting_to_train
from raymi.sweep.evidence import (
    UNPAID,
    Evidence,
    ProbeEvidence,
    Purpose,
    RunEvidence,
    RunStatus,
)
from raymi.sweep.ground import Ground
from raymi.sweep.means import Means
from raymi.sweep.monitor import Monitor
from raymi.sweep.probe.group import run_probe
from raymi.sweep.probe.on_ray import RayStarter
from raymi.sweep.probe.plan import ProbePlan
from raymi.sweep.row_groups import RowGroups
from raymi.sweep.setting import Setting
from raymi.sweep.training import Training, Wanted
from raymi.sweep.workspace import Intent, Workspace

_BY_SPEED = (Objective.SAMPLES_PER_S, Objective.ENERGY, Objective.MONEY, Objective.PEAK_MEMORY_GIB)
"""Objectives that the probe alone decides, so that the order of finalists is known before any
run."""


class Conductor:
    """One driver's work on one sweep."""

    def __init__(
        self,
        ground: Ground,
        workspace: Workspace,
        monitor: Monitor,
        training: Training,
        *,
        say: Callable[[str], None],
    ) -> None:
        self._ground = ground
        self._workspace = workspace
        self._monitor = monitor
        self._means = Means(ground, monitor)
        self._say = say
        self._training = training
        self._base = ground.evidence(workspace)
        self._groups = RowGroups(ground.plan)
        self._probe = ProbeEvidence()
        self._stopped_by: str | None = None

    @property
    def reference(self) -> Setting:
        """What others may not be worse than."""
        return self._ground.settings[self._base.reference]

    def evidence(self) -> Evidence:
        """Everything measured so far."""
        spending = self._monitor.spending()
        runs = self._training.outcomes
        has_tested = any(one.test is not None for one in runs)
        return self._base.model_copy(
            update={
                "probe": self._probe,
                "runs": runs,
                "slices": self._groups.slices(with_test=has_tested),
                "spending": spending.model_copy(update={"stopped_by": self._stopped_by}),
            }
        )

    def probe(self) -> None:
        """Time and measure every setting that can run.

        Raises:
            SpecError: The objective cannot be measured here, or nothing runs.
        """
        ground, spec = self._ground, self._ground.spec
        self._enter("probe")
        self._monitor.say("probe_started", num_settings=len(ground.usable))
        plan = ProbePlan(
            sweep_id=self._workspace.sweep_id,
            probe_dir=str(self._workspace.probe_dir),
            settings=tuple(ground.usable),
            plans=tuple(ground.plans[setting.index] for setting in ground.usable),
            reference=ground.reference,
            spec=spec.probe,
            num_workers=max(setting.num_workers for setting in ground.usable),
            cpus_per_worker=spec.train.resources.cpus_per_worker,
            accelerator=ground.accelerator.name,
            memory_limit_gib=ground.memory_limit_gib,
            limit_s=self._monitor.limits.accelerator_s,
            keeps_slow=spec.objective not in _BY_SPEED,
            seed=spec.train.seed,
        )
        self._probe = run_probe(
            plan,
            starter=RayStarter(plan),
            say=self._say,
            should_stop=self._monitor.should_stop,
        )
        self._note_stop()
        self._require_measured()
        self._choose_reference()
        decision = decide(self.evidence())
        self._monitor.say(
            "probe_ended",
            noise_floor=decision.noise_floor,
            seconds=round(self._monitor.spending().probe_s, 1),
        )
        self._tell_front()

    def train(self) -> None:
        """Train the reference and whatever could beat it, as far as the budget goes."""
        self._enter("quality")
        intent = self._workspace.intent or self._intend()
        if intent is None:
            return
        finalists = intent.finalists
        self._base = self._base.model_copy(update={"finalists": finalists})
        if intent.is_cut_short:
            self._note_unpaid()
        if intent.num_seeds == 0:
            return
        settings = [self.reference_to_train, *(self._setting(name) for name in finalists)]
        self._tell_plan("quality", settings * intent.num_seeds)
        if not finalists:
            self._train([(self.reference_to_train, 0)])
        elif self._ground.spec.objective in _BY_SPEED:
            # The first that is good enough wins: the others are slower.
            for name in finalists:
                may_go_on = self._compare([name], intent.num_seeds)
                if not may_go_on or self._leader() == name:
                    break
        else:
            self._compare(finalists, intent.num_seeds)
        self._tell_front()

    def _intend(self) -> Intent | None:
        """Settle what is to be trained with what the budget allows; None: it has ended."""
        finalists = self._choose_finalists()
        if finalists is None:
            return None
        settings = [self._setting(name) for name in finalists]
        means = self._means.for_quality(self.evidence(), settings, self.reference_to_train)
        # Of the reference alone, one run is enough.
        num_seeds = self._ground.spec.quality.seeds if finalists else 1
        wanted = Affordable(num_finalists=len(finalists), num_seeds=num_seeds)
        intent = Intent(
            finalists=finalists[: means.num_finalists],
            num_seeds=means.num_seeds,
            is_cut_short=means != wanted,
        )
        if means.num_seeds == 0:
            self._say("quality: what is left of the budget does not pay for one run")
        elif intent.is_cut_short:
            self._say(
                f"quality: the budget pays for {means.num_finalists} of {len(finalists)} "
                f"finalists, with {means.num_seeds} of {num_seeds} seeds"
            )
        self._workspace.settle(intent)
        return intent

    def _choose_finalists(self) -> tuple[str, ...] | None:
        """Who is compared with the reference, the most promising first; None: out of budget."""
        spec, everybody = self._ground.spec, len(self._ground.settings)
        limit = spec.quality.finalists
        finalists = choose_finalists(self.evidence(), limit=everybody)
        if spec.objective in _BY_SPEED or not finalists:
            return finalists[:limit]
        # Who could win depends on how they learn: the reference first, then a first look.
        if not self._train([(self.reference_to_train, 0)]):
            return None
        finalists = choose_finalists(self.evidence(), limit=everybody)
        if len(finalists) > limit and not self._screen(finalists):
            return None
        return choose_finalists(self.evidence(), limit=limit)

    def _compare(self, names: Sequence[str], num_seeds: int) -> bool:
        """Train some numerics and the reference with every seed; whether the phase may go on."""
        settings = [self.reference_to_train, *(self._setting(name) for name in names)]
        # The first seed shows who cannot be trained at all, before more is spent on it.
        if not self._train([(setting, 0) for setting in settings]):
            return False
        hopeful = [setting for setting in settings if self._training.has_succeeded(setting)]
        if len(hopeful) < 2 or hopeful[0] is not settings[0]:
            return True
        numbers = range(1, num_seeds)
        return self._train([(setting, number) for number in numbers for setting in hopeful])

    def _leader(self) -> str | None:
        winner = decide(self.evidence()).winner
        return None if winner is None else self._ground.settings[winner].numerics

    def confirm(self) -> None:
        """Compare the winner with the reference once more: fresh seeds, rows nobody has seen."""
        self._enter("confirmation", may_use_reserve=True)
        tried: set[str] = set()
        while (name := next_to_confirm(self.evidence())) is not None and name not in tried:
            tried.add(name)
            runs = self._confirmation(name)
            if not runs:
                self._note_unpaid()
                self._say("confirmation: what is left of the budget does not pay for one pair")
                return
            self._tell_plan("confirmation", [setting for setting, _ in runs])
            if not self._train(runs, purpose=Purpose.CONFIRMATION):
                return

    def _confirmation(self, numerics: str) -> list[Wanted]:
        """As many whole pairs as can be paid; runs that an earlier driver has paid cost nothing."""
        evidence = self.evidence()
        pair = [self.reference_to_train, self._setting(numerics)]
        for num_pairs in range(self._ground.spec.quality.confirm_seeds, 0, -1):
            wanted = [(setting, number) for number in range(num_pairs) for setting in pair]
            missing = self._training.missing(wanted, purpose=Purpose.CONFIRMATION)
            if self._means.pays(evidence, missing):
                return wanted
        return []

    def run_dir(self, outcome: RunEvidence) -> Path:
        """The directory of a run."""
        return self._training.run_dir(outcome)

    def finish(self) -> RunEvidence | None:
        """The winner's own run, trained now if no decision needed it; None: nobody won, or it
        cannot be paid."""
        winner = decide(self.evidence()).winner
        if winner is None:
            return None
        setting = self._ground.settings[winner]
        if not self._has_own_run(setting):
            if self._means.pays(self.evidence(), [setting]):
                self._train([(setting, 0)])
            else:
                self._note_unpaid()
        return next(iter(self._runs_like(setting)), None)

    def _has_own_run(self, setting: Setting) -> bool:
        return any(one.setting == setting.index for one in self._runs_like(setting))

    def _runs_like(self, setting: Setting) -> list[RunEvidence]:
        """Good runs of its numerics with the reference's seed, those of the setting first."""
        good = [
            one
            for one in self._training.outcomes
            if one.status is RunStatus.SUCCEEDED
            and one.purpose is Purpose.QUALITY
            and one.seed == self._ground.spec.train.seed
            and one.numerics == setting.numerics
        ]
        return sorted(good, key=lambda one: one.setting != setting.index)

    @property
    def reference_to_train(self) -> Setting:
        """How the reference's numerics are trained: the same gradient, cut to be fast."""
        return self._setting(self.reference.numerics)

    def _screen(self, finalists: Sequence[str]) -> bool:
        """One run each; hopeless ones are stopped early if the spec says so."""
        settings = [self._setting(name) for name in finalists]
        evidence = self.evidence()
        top_s = max(self._means.cost(evidence, setting).accelerator_s for setting in settings)
        return self._train([(setting, 0) for setting in settings], rung_top_s=top_s)

    def _train(
        self,
        wanted: Sequence[Wanted],
        *,
        purpose: Purpose = Purpose.QUALITY,
        rung_top_s: float | None = None,
    ) -> bool:
        """Have these runs, and whether the phase may go on."""
        reference = self.reference_to_train
        self._training.have(wanted, reference, purpose=purpose, rung_top_s=rung_top_s)
        self._note_stop()
        return self._monitor.reached is None

    def _tell_plan(self, phase: str, settings: Sequence[Setting]) -> None:
        expected_s = self._means.expected_s(self.evidence(), settings)
        self._monitor.say(
            "planned", phase=phase, runs=len(settings), expected_s=round(expected_s, 1)
        )

    def _setting(self, numerics: str) -> Setting:
        return self._ground.settings[setting_to_train(self.evidence(), numerics)]

    def _enter(self, phase: str, *, may_use_reserve: bool = False) -> None:
        self._monitor.enter(phase, may_use_reserve=may_use_reserve)

    def _note_stop(self) -> None:
        self._monitor.look()
        self._stopped_by = self._monitor.reached or self._stopped_by

    def _note_unpaid(self) -> None:
        self._stopped_by = self._stopped_by or UNPAID

    def _choose_reference(self) -> None:
        """Another one, if the probe has shown that the wanted one does not fit."""
        out = self._probe.failures | self._probe.given_up
        if self._base.reference in out:
            alive = [s for s in self._ground.usable if s.index not in out]
            safest = min(alive, key=lambda setting: setting.safety)
            self._say(f"the reference does not run here; compared with {safest.label} instead")
            self._base = self._base.model_copy(update={"reference": safest.index})

    def _require_measured(self) -> None:
        failures = self._probe.failures
        if all(setting.index in failures for setting in self._ground.usable):
            index, why = next(iter(failures.items()))
            raise SpecError(
                "no setting runs here",
                why=f"{self._ground.settings[index].label}: {why}",
                fix="lower batch.micro_batch_size, or use a smaller network",
            )
        if self._ground.spec.objective is Objective.ENERGY and self._probe.meter is None:
            raise SpecError(
                "objective: energy cannot be measured here",
                why=f"no instrument of {self._ground.accelerator.name} tells energy",
                fix="use `objective: samples_per_s` or `money`",
            )

    def _tell_front(self) -> None:
        evidence = self.evidence()
        decision = decide(evidence)
        front = {verdict.setting for verdict in decision.verdicts if verdict.on_front}
        self._monitor.say(
            "front",
            rows=[
                {
                    "setting": one.setting,
                    "label": evidence.settings[one.setting].label,
                    "samples_per_s": one.samples_per_s,
                    "quality": one.quality,
                    "peak_memory_gib": one.peak_memory_gib,
                }
                for one in decision.costs
                if one.setting in front
            ],
        )
