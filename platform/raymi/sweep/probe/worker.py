"""What a probe's workers do; start reading here.

Plain PyTorch: it asks its launcher for rank and device, and knows nothing else about Ray. The
first worker decides, writes the journal and keeps the clock; the others do what it says.

    glance    a few samples in each precision: what is hopelessly slow costs nothing more
    memory    peak of a few micro-batches in fresh processes, a line through them, what still fits
    rounds    one window of every setting in each round, in random order, and one of the control
    latency   forward passes, as in serving
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

from raymi.specs.precision import Precision
from raymi.sweep.evidence import Glance, Latency, ProbeEvidence, Window
from raymi.sweep.probe import journal, race
from raymi.sweep.probe.crew import Crew
from raymi.sweep.probe.disturbance import host, verdict
from raymi.sweep.probe.journal import ProbeJournal, read_probe
from raymi.sweep.probe.memory import MemoryProbe
from raymi.sweep.probe.memory_search import MemorySearch
from raymi.sweep.probe.plan import ProbePlan
from raymi.sweep.setting import Setting
from raymi.train.launcher import Launcher

PLAN_FILE = "plan.json"
STOP_FILE = "stop"

_GLANCE_ROWS = 8
_CERTAIN = 5.0
"""A first pass slower than hopeless by this factor is not repeated, however much of it was
getting ready."""

_MOST_WARM_UP_STEPS = 10
_LATENCY_BUDGET_S = 0.08
"""For each size; small ones repeat dozens of times in it."""

_SETTLE_S = 1.0
"""Warm-up of a slow setting ends after so long, steady or not."""


def probe_worker(plan: ProbePlan, launcher: Launcher) -> None:
    """Measure everything that is not in the journal yet."""
    torch.set_num_threads(plan.cpus_per_worker)
    if launcher.device.type == "cuda":
        torch.cuda.set_device(launcher.device)
    crew = Crew(plan, launcher)
    try:
        if launcher.rank == 0:
            Prober(plan, launcher, crew).run()
        else:
            crew.follow()
    finally:
        crew.close()


class Prober:
    """The first worker."""

    def __init__(self, plan: ProbePlan, launcher: Launcher, crew: Crew) -> None:
        self._plan = plan
        self._crew = crew
        self._launcher = launcher
        self._dir = Path(plan.probe_dir)
        self._journal = ProbeJournal(self._dir)
        self._step_s: dict[tuple[int, bool], float] = {}

    def run(self) -> None:
        """From the first glance to the last latency."""
        self._journal.note(
            journal.READY,
            machine=[host(), self._plan.accelerator, torch.__version__],
            memory_limit_gib=self._plan.memory_limit_gib,
            meter=self._crew.meter_name,
        )
        self._glance()
        if self._plan.spec.memory:
            self._measure_memory()
        self._race()
        self._time_latencies()
        self._journal.note(journal.COMPLETE)
        self._crew.leave()

    def _evidence(self) -> ProbeEvidence:
        return read_probe(self._dir, keep_open_round=False)

    def _alive(self) -> list[Setting]:
        """Settings that nothing speaks against so far."""
        failures = self._evidence().failures
        return [setting for setting in self._plan.settings if setting.index not in failures]

    def _is_over(self) -> bool:
        limit = self._plan.limit_s
        spent_out = limit is not None and journal.probe_accelerator_s(self._dir) >= limit
        return spent_out or (self._dir / STOP_FILE).exists()

    def _fail(self, settings: list[Setting], why: str) -> None:
        for setting in settings:
            self._journal.note(journal.FAILED, setting=setting.index, why=why)

    def _look_at(self, setting: Setting) -> None:
        self._journal.note(journal.LOOKING, setting=setting.index)

    def _glance(self) -> None:
        """The reference's state first: the others are compared with it."""
        failures = self._evidence().failures
        states = [
            alive
            for settings in self._plan.states().values()
            if (alive := [s for s in settings if s.index not in failures])
        ]
        rows = min(_GLANCE_ROWS, *(s.micro_batch_size for s in self._plan.settings))
        known = {glance.setting: glance.sample_s for glance in self._evidence().glances}
        reference_s: float | None = None
        for settings in states:
            if self._is_over():
                return
            first = settings[0]
            if first.index not in known:
                known[first.index] = self._glance_at(first, rows, reference_s)
            sample_s = known[first.index]
            if reference_s is None:
                reference_s = sample_s
            elif sample_s is not None:
                self._judge_glance(settings, sample_s / reference_s, rows)

    def _glance_at(self, setting: Setting, rows: int, reference_s: float | None) -> float | None:
        self._look_at(setting)
        factor = self._plan.spec.hopeless_factor * _CERTAIN
        try:
            taken_s = self._crew.attempt(setting.index, num_rows=rows).duration_s
            if reference_s is None or taken_s / rows < factor * reference_s:
                taken_s = self._crew.attempt(setting.index, num_rows=rows).duration_s
        except (RuntimeError, NotImplementedError) as error:
            if self._launcher.world_size > 1:
                raise  # The others may be waiting in a collective: only a new group is safe.
            why = f"{type(error).__name__}: {error}"[:200]
            glance = Glance(setting=setting.index, micro_batch_size=rows, sample_s=None, why=why)
            self._journal.measured(journal.GLANCE, glance)
            self._fail(self._plan.states()[self._plan.state_of(setting.index)], why)
            return None
        glance = Glance(setting=setting.index, micro_batch_size=rows, sample_s=taken_s / rows)
        self._journal.measured(journal.GLANCE, glance)
        return glance.sample_s

    def _judge_glance(self, settings: list[Setting], slower: float, rows: int) -> None:
        if slower < self._plan.spec.hopeless_factor:
            return
        reference = self._plan.setting(self._plan.reference)
        name, other = settings[0].precision, reference.precision
        against = f"{other.value}" if name is not other else "the reference"
        self._fail(
            settings,
            f"{name.value}: {slower:.1f}x slower than {against} for {rows} samples; "
            "not probed further",
        )

    def _measure_memory(self) -> None:
        plan_file = self._dir / PLAN_FILE
        search = MemorySearch(self._plan, self._journal, self._look_at)
        if not search.is_needed(self._alive(), self._evidence()):
            return
        with MemoryProbe(plan_file, device=str(self._launcher.device)) as probe:
            for settings, why in search.run(probe, self._alive(), self._evidence(), self._is_over):
                self._fail(settings, why)
        lines = search.lines(self._evidence())
        limit = self._plan.memory_limit_gib
        needed = sum(line.fixed_gib for line in lines.values())
        if limit is not None and lines and needed > limit / 2:
            self._crew.keep_rigs(1)

    def _race(self) -> None:
        """Rounds of windows, until there are enough or nothing more is to be learned."""
        samples = {s.index: s.global_batch_size for s in self._plan.settings}
        dropped = journal.dropped_settings(self._dir)
        for number in range(journal.rounds_done(self._dir), self._plan.spec.rounds):
            runners = [s for s in self._alive() if s.index not in dropped]
            if self._is_over() or not runners:
                return
            if not self._run_round(number, runners):
                return
            evidence = self._evidence_with_round()
            speeds = race.speeds(evidence.windows, samples)
            in_race = {i: r for i, r in speeds.items() if i not in dropped}
            dropped |= race.to_drop(
                in_race,
                self._families(runners),
                protected={self._plan.reference},
                keeps_slow=self._plan.keeps_slow,
            )
            self._journal.note(journal.ROUND, round=number, dropped=sorted(dropped))
            left = {i: r for i, r in in_race.items() if i not in dropped}
            if race.is_over(left):
                return

    def _evidence_with_round(self) -> ProbeEvidence:
        return read_probe(self._dir)

    def _families(self, runners: list[Setting]) -> list[list[int]]:
        """Settings of one state, the reference's first."""
        alive = {setting.index for setting in runners}
        families = [
            [setting.index for setting in settings if setting.index in alive]
            for settings in self._plan.states().values()
        ]
        return [family for family in families if family]

    def _run_round(self, number: int, runners: list[Setting]) -> bool:
        """One window of each, in random order; whether it was completed."""
        turns = [(setting, False) for setting in runners]
        reference = self._plan.setting(self._plan.reference)
        if reference in runners:
            turns.append((reference, True))
        order = random.Random(self._plan.seed * 1_000_003 + number)  # noqa: S311 - not a secret
        order.shuffle(turns)
        again: list[tuple[Setting, bool]] = []
        for setting, is_control in turns:
            if self._is_over():
                return False
            if self._window(number, setting, is_control=is_control) is not None:
                again.append((setting, is_control))
        # A machine that is busy all the time disturbs all windows alike: then they count.
        is_always_busy = 2 * len(again) > len(turns)
        for setting, is_control in again:
            if self._is_over():
                return False
            self._window(number, setting, is_control=is_control, counts=is_always_busy)
        return True

    def _window(
        self, number: int, setting: Setting, *, is_control: bool, counts: bool = False
    ) -> str | None:
        """Time one window, after a warm-up if it is the first; why it does not count.

        Args:
            number: Of the round.
            setting: What is timed.
            is_control: Whether it is the reference's twin.
            counts: It does, whatever happens meanwhile.
        """
        self._look_at(setting)
        step_s = self._warm_up(setting, is_control=is_control)
        num_steps = max(1, round(self._plan.spec.window_s / step_s))
        turn = self._crew.step(setting.index, num_steps, is_control=is_control)
        self._step_s[setting.index, is_control] = turn.duration_s / num_steps
        rejected = None
        if not counts:
            rejected = verdict(turn.foreign_share, throttled=turn.throttled)
        self._journal.measured(
            journal.WINDOW,
            Window(
                setting=setting.index,
                is_control=is_control,
                round=number,
                num_steps=num_steps,
                duration_s=turn.duration_s,
                rejected=rejected,
                energy_j=turn.energy_j,
                peak_gib=turn.peak_gib,
            ),
        )
        return rejected

    def _warm_up(self, setting: Setting, *, is_control: bool) -> float:
        """Step until steps are steady; seconds of one. Only once for each rig and micro-batch."""
        key = (setting.index, is_control)
        if key in self._step_s and self._crew.has_rig(setting.index, is_control=is_control):
            return self._step_s[key]
        taken: list[float] = []
        while len(taken) < _MOST_WARM_UP_STEPS and not race.is_steady(taken):
            taken.append(self._crew.step(setting.index, 1, is_control=is_control).duration_s)
            if len(taken) > 1 and sum(taken) > _SETTLE_S:
                break
        return min(taken)

    def _time_latencies(self) -> None:
        """Forward passes on this worker alone: one row, and every size that was timed."""
        evidence = self._evidence()
        done = {(one.setting, one.num_rows) for one in evidence.latencies}
        timed = {window.setting for window in evidence.windows}
        seen: set[tuple[str, Precision, int]] = set()
        for setting in self._alive():
            if setting.index not in timed or self._launcher.world_size < setting.num_workers:
                continue
            for num_rows in (1, setting.micro_batch_size):
                # Workers change nothing about a forward pass.
                key = (setting.numerics, setting.precision, num_rows)
                if key in seen or self._is_over():
                    continue
                seen.add(key)
                if (setting.index, num_rows) not in done:
                    self._time_latency(setting, num_rows)

    def _time_latency(self, setting: Setting, num_rows: int) -> None:
        if self._is_sharded(setting) or not self._crew.has_rig(setting.index):
            return
        self._look_at(setting)
        rig = self._crew.rig(setting.index)
        latency_s = rig.latency_s(num_rows, budget_s=_LATENCY_BUDGET_S)
        self._journal.measured(
            journal.LATENCY,
            Latency(setting=setting.index, num_rows=num_rows, latency_ms=latency_s * 1e3),
        )

    def _is_sharded(self, setting: Setting) -> bool:
        """A sharded network gathers its weights in each pass, which takes everybody."""
        parallelism = self._plan.plan(setting.index).spec.parallelism
        return parallelism.strategy.value == "fsdp" and setting.num_workers > 1
