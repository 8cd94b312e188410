"""Training speed of Raymi on Ray Train and of the others, measured in turns of a second or less.

Every contestant is started once and stays. In each round each has one turn, in random order,
while the rest are frozen, with all their processes: start-up is paid once, whatever else the
machine does hits everybody alike, and what a contestant does in the background (Ray's daemons,
torchrun's agent) slows down nobody but itself. A turn is the same number of optimizer steps for
all, after some warm-up, and never contains the end of an epoch. What is compared is each
round's ratio.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from raymi.accelerators.catalog import require_precision
from raymi.accelerators.detect import resolve
from raymi.bench import rules
from raymi.bench.contestants import (
    Contestant,
    Kind,
    Running,
    command,
    contestants,
    environment,
)
from raymi.bench.coordinator import Coordinator, LostContestantError
from raymi.bench.guard import Guard
from raymi.bench.train_result import ALONE, OURS, TOGETHER, TrainSpeed, summarise
from raymi.bench.turnstile import MARGIN_STEPS, Run
from raymi.errors import TrainingError
from raymi.specs.train import TrainSpec
from raymi.train.planning import make_plan

READY_PATIENCE_S = 600.0
_TURN_PATIENCE_S = 120.0

SETTLING_S = 0.3
"""Between thawing and running: periodic work that fell due meanwhile is done at once."""

_TRIAL_RUN = Run(num_warmup_steps=20, num_steps=30)
"""The first turn: says how long a step takes."""

_WARMUP_FRACTION = 0.5
"""Steps before the timed ones, as a share of them: caches warm up again, and Raymi's loop,
which looks at the clock, finds its pace again after standing still."""

_COOLDOWN_FRACTION = 0.1
"""Steps after the timed ones: those that run at the same time do not end at the same moment."""

_LEAST_UNTIMED_STEPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to measure."""

    spec: TrainSpec
    num_rounds: int
    window_s: float
    """Aimed-at seconds of a turn."""
    store_dir: Path
    seed: int = 0
    """Decides the order of turns."""


@dataclass(frozen=True, slots=True)
class Heat:
    """Who runs at the same time in one turn."""

    name: str
    contestants: tuple[str, ...]
    samples_per_step: int
    """Of each of them."""


def measure(request: Request, *, say: Callable[[str], None]) -> TrainSpeed:
    """Start everybody, take turns, and compare.

    Raises:
        SpecError: The spec asks for what cannot be compared here.
        TrainingError: Raymi on Ray Train could not be measured.
    """
    spec = rules.level(request.spec)
    if note := busy_note(os.getloadavg()[0], os.cpu_count() or 1):
        say(note)
    accelerator = resolve(spec.resources.accelerator)
    require_precision(accelerator, spec.precision)
    with ExitStack() as stack:
        # A Unix socket's path may not be long, and its directory is nobody else's.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="raymi-bench-")))
        arena = _Arena(spec, directory, say)
        stack.callback(arena.close)
        arena.open(accelerator.name, request.store_dir)
        rounds = arena.run_rounds(request)
        if not any(OURS in one for one in rounds):
            raise TrainingError(
                "bench: Raymi on Ray Train could not be measured",
                reason="failed",
                why=arena.lost.get(OURS, "it had no turn"),
                fix="train with the same spec (`python jobs/train.py FILE`) to see what is wrong",
            )
        return summarise(rounds, num_workers=spec.resources.max_workers, lost=arena.lost)


def busy_note(load: float, num_cpus: int) -> str | None:
    """What to say about a machine that has other things to do; None if it has not.

    Args:
        load: Processes that want to run, over the last minute.
        num_cpus: How many can.
    """
    if load < 0.25 * num_cpus:
        return None
    return (
        f"this machine is busy (load {load:.1f} on {num_cpus} CPUs): expect wide intervals, "
        "and trust no ratio that is nearer to 1 than the noise below"
    )


class _Arena:
    """The contestants, and the turns they take."""

    def __init__(self, spec: TrainSpec, directory: Path, say: Callable[[str], None]) -> None:
        self.lost: dict[str, str] = {}
        self._spec = spec
        self._directory = directory
        self._say = say
        self._coordinator = Coordinator(directory / "turns")
        self._running: dict[str, Running] = {}
        self._guard = Guard()

    def open(self, accelerator: str, store_dir: Path) -> None:
        """Start everybody who can take part, and wait until all are ready."""
        spec = self._spec
        plan = make_plan(spec, run_id="bench", accelerator=accelerator, store_dir=store_dir)
        plan = rules.repeat_rows(plan, self._directory / "data")
        began_s = time.monotonic()
        everybody = contestants(spec.resources.max_workers)
        for contestant in everybody:
            if contestant.missing:
                self.lost[contestant.name] = contestant.missing
                continue
            own = spec if contestant.kind is not Kind.SINGLE else rules.alone(spec)
            run_dir = self._directory / contestant.name
            run_dir.mkdir()
            own_plan = plan.model_copy(update={"spec": own, "run_dir": str(run_dir)})
            own_plan.save(run_dir / "plan.json")
            self._start(contestant, run_dir)
        expected = {one.name: one.num_ranks for one in everybody if one.name in self._running}
        self._say(f"starting {', '.join(expected)}")
        for name, why in self._coordinator.wait_for(
            expected,
            patience_s=READY_PATIENCE_S,
            watch=lambda name: self._running[name].require_alive(),
            ready=lambda name: self._say(f"  {name} after {time.monotonic() - began_s:.0f} s"),
        ).items():
            self._lose(name, why)
        for running in self._running.values():
            running.freeze(self._guard)

    def run_rounds(self, request: Request) -> list[dict[str, float]]:
        """Samples per second of every heat, round by round."""
        heats = self._heats()
        seconds_per_step = [
            elapsed_s / _TRIAL_RUN.num_steps
            for heat in heats
            if (elapsed_s := self._turn(heat, _TRIAL_RUN)) is not None
        ]
        run = self._run(sorted(seconds_per_step), request.window_s)
        self._say(f"{run.num_steps} steps a turn, {request.num_rounds} rounds")
        shuffle = random.Random(request.seed)  # noqa: S311 - the order of turns, no secret
        rounds: list[dict[str, float]] = []
        for number in range(1, request.num_rounds + 1):
            speeds: dict[str, float] = {}
            for heat in shuffle.sample(heats, len(heats)):
                elapsed_s = self._turn(heat, run)
                if elapsed_s is not None:
                    num_samples = heat.samples_per_step * len(heat.contestants) * run.num_steps
                    speeds[heat.name] = num_samples / elapsed_s
            rounds.append(speeds)
            if number % 5 == 0:
                self._say(f"  round {number}")
        return rounds

    def close(self) -> None:
        """End everybody."""
        self._coordinator.close()
        for running in self._running.values():
            running.stop()
        self._guard.close()

    def _start(self, contestant: Contestant, run_dir: Path) -> None:
        self._running[contestant.name] = Running(
            command(
                contestant,
                socket_path=self._coordinator.socket_path,
                plan_path=run_dir / "plan.json",
            ),
            name=contestant.name,
            variables=environment(self._spec.resources.cpus_per_worker),
            log_path=run_dir / "output.txt",
        )

    def _heats(self) -> list[Heat]:
        num_workers = self._spec.resources.max_workers
        batch = self._spec.batch.global_batch_size
        singles = tuple(name for name in self._running if name.startswith("single-"))
        heats = [Heat(name, (name,), batch) for name in self._running if name not in singles]
        if len(singles) == num_workers:
            heats.append(Heat(ALONE, singles[:1], batch // num_workers))
            heats.append(Heat(TOGETHER, singles, batch // num_workers))
        return heats

    def _run(self, seconds_per_step: list[float], window_s: float) -> Run:
        """The turn that everybody takes: as long as wanted, if that fits into an epoch."""
        room = min(self._coordinator.steps_per_epoch.values()) - MARGIN_STEPS
        typical_s = seconds_per_step[len(seconds_per_step) // 2]
        longest = (room - 2 * _LEAST_UNTIMED_STEPS) / (1 + _WARMUP_FRACTION + _COOLDOWN_FRACTION)
        num_steps = max(1, min(round(window_s / typical_s), int(longest)))
        return Run(
            num_warmup_steps=max(_LEAST_UNTIMED_STEPS, int(_WARMUP_FRACTION * num_steps)),
            num_steps=num_steps,
            num_cooldown_steps=max(_LEAST_UNTIMED_STEPS, int(_COOLDOWN_FRACTION * num_steps)),
        )

    def _turn(self, heat: Heat, run: Run) -> float | None:
        """Mean seconds of the timed steps; None if somebody of the heat is gone."""
        if any(name not in self._running for name in heat.contestants):
            return None
        for name in heat.contestants:
            self._running[name].thaw()
        time.sleep(SETTLING_S)
        try:
            elapsed_s = self._coordinator.turn(heat.contestants, run, patience_s=_TURN_PATIENCE_S)
        except LostContestantError as error:
            self._lose(error.name, error.why)
            return None
        finally:
            for name in heat.contestants:
                if running := self._running.get(name):
                    running.freeze(self._guard)
        # Speeds add up, so their mean is harmonic in seconds.
        return len(elapsed_s) / sum(1.0 / seconds for seconds in elapsed_s.values())

    def _lose(self, name: str, why: str) -> None:
        """Go on without a contestant."""
        self._coordinator.dismiss(name)
        running = self._running.pop(name)
        running.stop()
        self.lost[name] = f"{why}: {running.last_words()}" if "exit code" not in why else why
        self._say(f"  {name} is out: {self.lost[name]}")
