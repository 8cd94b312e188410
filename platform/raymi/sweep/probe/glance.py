"""A first look at each network in each precision: what is hopelessly slow costs nothing more.

A precision that a processor does not have can be a hundred times slower than one that it has. So
the first look is at a few rows, and at fewer if those take long. Only what is not much slower
there is worth a look at many rows, where fixed costs of a pass matter less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raymi.sweep.evidence import Glance
from raymi.sweep.probe import journal
from raymi.sweep.probe.crew import Crew
from raymi.sweep.probe.journal import ProbeJournal
from raymi.sweep.probe.plan import ProbePlan
from raymi.sweep.setting import Setting
from raymi.train.failure import Reason, classify

MUCH_SLOWER = 1.5
"""Times as slow as the reference, at many rows: out, where only speed counts."""

_FEW_ROWS = 8
_MANY_ROWS = 64
_PASS_S = 0.02
"""Of the reference: if few rows take longer, fewer are enough."""

_MANY_S = 1.0
"""Likewise for many rows."""

_CERTAIN = 5.0
"""Over the limit by this factor in the very first pass, compared with the reference's very first:
no second one is needed."""

_MOST_PASSES = 5
_REPEAT_S = 0.1


@dataclass(frozen=True, slots=True)
class Look:
    """Some passes of one network."""

    num_rows: int
    first_s: float
    """Of the first pass, getting ready included."""

    pass_s: float
    """Of the fastest of the others; of the first, if that was certain enough."""

    @property
    def sample_s(self) -> float:
        """Seconds per row."""
        return self.pass_s / self.num_rows


def fewer_rows(num_rows: int, pass_s: float) -> int:
    """So many rows that a pass of the reference takes a moment; at least one."""
    return max(1, min(num_rows, math.floor(num_rows * _PASS_S / pass_s)))


def many_rows(largest: int, look: Look) -> int:
    """Rows at which fixed costs matter less, in a pass of the reference of a second at most."""
    affordable = math.floor(_MANY_S / look.sample_s)
    return max(look.num_rows, min(largest, _MANY_ROWS, affordable))


class Glancer:
    """Looks at every state of a plan, and says which are worth more."""

    def __init__(self, plan: ProbePlan, crew: Crew, pen: ProbeJournal, *, on_cpu: bool) -> None:
        self._plan = plan
        self._crew = crew
        self._journal = pen
        self._on_cpu = on_cpu
        self._base: tuple[Setting, Look] | None = None
        self._base_many: Look | None = None

    def run(self, is_over: Callable[[], bool]) -> None:
        """Look at every state that has not been looked at, the reference's first."""
        for settings in self._plan.states.values():
            out = self._journal.progress().out
            alive = [setting for setting in settings if setting.index not in out]
            if is_over():
                return
            if not alive:
                continue
            known = self._known(settings)
            if known is None:
                self._look_at(alive)
            elif self._base is None and known.sample_s is not None:
                rows = known.micro_batch_size
                pass_s = known.sample_s * rows
                # How long its first pass took is forgotten: nothing is certain by it.
                self._base = alive[0], Look(rows, math.inf, pass_s)

    def _known(self, settings: Sequence[Setting]) -> Glance | None:
        indices = {setting.index for setting in settings}
        return next((g for g in self._journal.progress().glances if g.setting in indices), None)

    def _look_at(self, settings: Sequence[Setting]) -> None:
        self._journal.looking(settings)
        try:
            look, slow = self._judge(settings)
        except Exception as error:
            if self._plan.is_sharded(settings[0].index):
                raise  # Others may be waiting in a collective: only a new group is safe.
            why = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            self._record(settings, None, why)
            # Too many rows for the first look need not be too many for the smallest micro-batch.
            if classify(error) is not Reason.OUT_OF_MEMORY:
                self._journal.fail(settings, why)
            return
        self._record(settings, look)
        if slow is not None:
            self._journal.give_up(settings, slow)

    def _judge(self, settings: Sequence[Setting]) -> tuple[Look, str | None]:
        """A look, and why it is the last one, if it is."""
        if self._base is None:
            look = self._base_look(settings)
            self._base = settings[0], look
            return look, None
        limit = self._plan.spec.hopeless_factor
        base = self._base[1]
        look, many = self._looks(settings[0], base)
        slower = look.pass_s / base.pass_s
        if slower > limit:
            return look, self._sentence(settings[0], slower, look.num_rows)
        if many is not None and self._base_many is not None:
            slower = many.pass_s / self._base_many.pass_s
            if slower > MUCH_SLOWER:
                return look, self._sentence(settings[0], slower, many.num_rows)
        return look, None

    def _looks(self, setting: Setting, base: Look) -> tuple[Look, Look | None]:
        """At few rows; and at many, if the few say that it is slower, but not hopeless."""
        attempt = self._passes_of(setting)
        look = self._look(setting, attempt, base.num_rows, certain_s=_CERTAIN * base.first_s)
        slower = look.pass_s / base.pass_s
        is_bearable = MUCH_SLOWER < slower <= self._plan.spec.hopeless_factor
        if self._plan.keeps_slow or not is_bearable:
            return look, None
        num_rows = many_rows(self._largest(), base)
        if self._base_many is None and self._base is not None:
            reference = self._base[0]
            self._base_many = self._look(reference, self._passes_of(reference), num_rows)
        return look, self._look(setting, attempt, num_rows)

    def _base_look(self, settings: Sequence[Setting]) -> Look:
        attempt = self._passes_of(settings[0])
        num_rows = self._largest()
        if self._on_cpu:
            num_rows = min(_FEW_ROWS, *(s.micro_batch_size for s in self._plan.settings))
        look = self._look(settings[0], attempt, num_rows)
        fewer = fewer_rows(num_rows, look.pass_s)
        if not self._on_cpu or fewer == num_rows:
            return look
        return Look(fewer, look.first_s, self._look(settings[0], attempt, fewer).pass_s)

    def _largest(self) -> int:
        """Rows that every state has to do in one pass anyway; no more than many."""
        states = self._plan.states.values()
        return min(_MANY_ROWS, *(settings[-1].micro_batch_size for settings in states))

    def _look(
        self,
        setting: Setting,
        attempt: Callable[[int], float],
        num_rows: int,
        *,
        certain_s: float = math.inf,
    ) -> Look:
        """A few passes.

        Args:
            setting: Whose network.
            attempt: Does one, and says how long it took.
            num_rows: Of each.
            certain_s: If the first takes more than `hopeless_factor` times as long, it is enough.
        """
        first_s = attempt(num_rows)
        compiles = self._plan.plan(setting.index).spec.parallelism.compile
        limit_s = self._plan.spec.hopeless_factor * certain_s
        # What a GPU loads for its first pass, and what is compiled, can take any time.
        if self._on_cpu and not compiles and first_s > limit_s:
            return Look(num_rows, first_s, first_s)
        taken = [attempt(num_rows)]
        while len(taken) < _MOST_PASSES and sum(taken) < _REPEAT_S:
            taken.append(attempt(num_rows))
        return Look(num_rows, first_s, min(taken))

    def _passes_of(self, setting: Setting) -> Callable[[int], float]:
        """What does one pass of some rows, forward, backward and update, in seconds."""
        if self._plan.is_sharded(setting.index):
            return lambda rows: self._crew.step(setting.index, 1, num_rows=rows).duration_s
        rig = self._crew.solo(setting.index)
        return lambda rows: rig.run(micro_batch_size=rows, num_passes=1, num_steps=1)

    def _record(
        self, settings: Sequence[Setting], look: Look | None, why: str | None = None
    ) -> None:
        """Once for each number of workers: they change nothing about what one does alone."""
        smallest = {s.num_workers: s for s in reversed(settings)}
        for setting in smallest.values():
            glance = Glance(
                setting=setting.index,
                micro_batch_size=look.num_rows if look else setting.micro_batch_size,
                sample_s=look.sample_s if look else None,
                why=why,
            )
            self._journal.measured(journal.GLANCE, glance)

    def _sentence(self, setting: Setting, slower: float, num_rows: int) -> str:
        reference = self._base[0] if self._base else setting
        name, other = setting.precision.value, reference.precision.value
        if name == other:
            name, other = setting.label, "the reference"
        rows = f"{num_rows} sample{'s' * (num_rows != 1)}"
        return f"{name}: {slower:.3g}x slower than {other} for {rows}; not probed further"
