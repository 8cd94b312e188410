"""What a probe's workers do; start reading here.

Plain PyTorch: it asks its launcher for rank and device, and knows nothing else about Ray. The
first worker decides, writes the journal and keeps the clock; the others do what it says.

    glance    a few samples in each precision: what is hopelessly slow costs nothing more
    memory    peak of a few micro-batches in fresh processes, a line through them, what still fits
    rounds    one window of every setting in each round, in random order, and one of the control
    latency   forward passes, as in serving
"""

from __future__ import annotations

from pathlib import Path

import torch

from raymi.sweep.evidence import Latency
from raymi.sweep.probe import journal
from raymi.sweep.probe.crew import Crew
from raymi.sweep.probe.glance import Glancer
from raymi.sweep.probe.journal import ProbeJournal
from raymi.sweep.probe.memory import MemoryProbe
from raymi.sweep.probe.memory_search import (
    MemorySearch,
    by_state,
    memory_lines,
    num_rigs_to_keep,
)
from raymi.sweep.probe.plan import PLAN_FILE, ProbePlan
from raymi.sweep.probe.rounds import Rounds
from raymi.sweep.setting import Setting
from raymi.train.failure import Reason, classify
from raymi.train.launcher import Launcher

STOP_FILE = "stop"
"""If it is there, the workers leave after the measurement that is under way."""

_LATENCY_S = 1.0
"""For all sizes of a state; small ones repeat dozens of times in it."""

_MOST_LATENCY_S = 0.1
"""For one size."""


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

    def run(self) -> None:
        """From the first glance to the last latency."""
        instruments = self._crew.instruments
        self._journal.note(
            journal.READY,
            num_workers=self._launcher.world_size,
            machine=instruments.machine_line(),
            memory_limit_gib=self._plan.memory_limit_gib,
            meter=instruments.meter_name,
        )
        on_cpu = self._launcher.device.type == "cpu"
        Glancer(self._plan, self._crew, self._journal, on_cpu=on_cpu).run(self._is_over)
        if self._plan.spec.memory:
            self._measure_memory()
        Rounds(self._plan, self._crew, self._journal).run(self._alive, self._is_over)
        self._time_latencies()
        if not self._is_over():
            self._journal.note(journal.COMPLETE)
        self._crew.leave()

    def _alive(self) -> list[Setting]:
        """Settings that nothing speaks against so far."""
        out = self._journal.progress().out
        return [setting for setting in self._plan.settings if setting.index not in out]

    def _is_over(self) -> bool:
        limit_s = self._plan.limit_s
        is_spent = limit_s is not None and self._journal.accelerator_s() >= limit_s
        return is_spent or (self._dir / STOP_FILE).exists()

    def _measure_memory(self) -> None:
        if self._launcher.device.type == "cuda":
            # What is measured has the device for itself.
            self._crew.keep_rigs(0)
        plan_file = self._dir / PLAN_FILE
        self._plan.save(plan_file)
        with MemoryProbe(plan_file, device=str(self._launcher.device)) as probe:
            MemorySearch(self._plan, self._journal, probe, self._is_over).run(self._alive())
        self._crew.keep_rigs(self._num_rigs())

    def _num_rigs(self) -> int:
        largest: dict[tuple[str, int], int] = {}
        for setting in self._alive():
            key = self._plan.state_of(setting.index), setting.num_workers
            largest[key] = max(setting.micro_batch_size, largest.get(key, 0))
        rigs = [(state, size) for (state, _), size in largest.items()]
        reference = self._plan.setting(self._plan.reference)
        control = self._plan.state_of(reference.index), reference.micro_batch_size
        return num_rigs_to_keep(
            memory_lines(self._plan, self._journal.progress().memory),
            [*rigs, control],
            limit_gib=self._plan.memory_limit_gib,
        )

    def _time_latencies(self) -> None:
        """Forward passes on this worker alone: one row, and every micro-batch that was timed."""
        done = self._journal.progress()
        timed = {window.setting for window in done.windows}
        alive = [setting for setting in self._alive() if setting.index in timed]
        for settings in by_state(self._plan, alive).values():
            if self._is_over():
                return
            by_rows = {s.micro_batch_size: s for s in reversed(settings)}
            by_rows[1] = settings[0]
            indices = {setting.index for setting in settings}
            known = {one.num_rows for one in done.latencies if one.setting in indices}
            wanted = {rows: setting for rows, setting in by_rows.items() if rows not in known}
            if wanted:
                self._journal.looking(settings)
                self._time_state(wanted)

    def _time_state(self, wanted: dict[int, Setting]) -> None:
        """One state, not compiled: shapes vary in serving."""
        budget_s = min(_MOST_LATENCY_S, _LATENCY_S / len(wanted))
        try:
            rig = self._crew.solo(next(iter(wanted.values())).index, compiles=False)
            for rows, setting in sorted(wanted.items()):
                latency_ms = rig.latency_s(rows, budget_s=budget_s) * 1e3
                self._journal.measured(
                    journal.LATENCY,
                    Latency(setting=setting.index, num_rows=rows, latency_ms=latency_ms),
                )
        except RuntimeError as error:
            # A sharded network may be too large for one device alone.
            if classify(error) is not Reason.OUT_OF_MEMORY:
                raise
