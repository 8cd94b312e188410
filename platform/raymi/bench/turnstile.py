"""What keeps a contestant standing still, between two steps, until it is its turn.

Every rank of every contestant holds one connection to the coordinator and does what it is
ordered: run on until a whole turn fits before the end of the epoch, run a turn and say how
long it took, or leave. In between it is blocked in a read and uses no CPU.

A turn is so many warm-up steps, so many timed steps, and so many steps after them; all are
plain steps of the loop. What happens at the end of an epoch (validation, reports, a new
permutation) never falls between the first and the last timed step.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch

from raymi.train.launcher import Launcher
from raymi.train.throughput import synchronizer


@dataclass(frozen=True, slots=True)
class Hello:
    """The first thing a rank says."""

    contestant: str
    rank: int
    steps_per_epoch: int
    """Optimizer steps between two ends of an epoch."""


@dataclass(frozen=True, slots=True)
class MakeRoom:
    """Run on, if need be into the next epoch, until so many steps are left in the epoch."""

    num_steps: int


@dataclass(frozen=True, slots=True)
class Run:
    """Run one turn."""

    num_warmup_steps: int
    num_steps: int
    num_cooldown_steps: int = 0

    @property
    def total_steps(self) -> int:
        """Steps of the turn, timed or not."""
        return self.num_warmup_steps + self.num_steps + self.num_cooldown_steps


Order = MakeRoom | Run


class Turnstile(Protocol):
    """One rank's connection to whoever decides whose turn it is."""

    def next_order(self) -> Order | None:
        """Wait for what to do next; None: leave."""

    def answer(self, elapsed_s: float) -> None:
        """Say that the last order is done, and how long its timed steps took."""


class Course:
    """Where one rank is on its way through orders and epochs."""

    def __init__(
        self,
        turnstile: Turnstile,
        *,
        steps_per_epoch: int,
        synchronize: Callable[[], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Start at the first step of an epoch.

        Args:
            turnstile: Gives the orders.
            steps_per_epoch: Steps between two ends of an epoch.
            synchronize: Waits for the device's queue.
            clock: Seconds.
        """
        self._turnstile = turnstile
        self._steps_per_epoch = steps_per_epoch
        self._synchronize = synchronize
        self._clock = clock
        self._num_steps = -1
        self._steps = self._follow_orders()

    def is_over(self) -> bool:
        """Call this once between any two steps: it returns when the next may start.

        True means that there is no next step.
        """
        self._num_steps += 1
        return next(self._steps, _NO_STEP) is _NO_STEP

    def _follow_orders(self) -> Iterator[None]:
        """Yields once for each step to run."""
        while (order := self._turnstile.next_order()) is not None:
            elapsed_s = 0.0
            if isinstance(order, MakeRoom):
                yield from repeat(None, self._steps_to_room(order.num_steps))
            else:
                yield from repeat(None, order.num_warmup_steps)
                self._synchronize()
                began_at = self._clock()
                yield from repeat(None, order.num_steps)
                self._synchronize()
                elapsed_s = self._clock() - began_at
                yield from repeat(None, order.num_cooldown_steps)
            self._turnstile.answer(elapsed_s)

    def _steps_to_room(self, num_steps: int) -> int:
        # The last step of an epoch may hold fewer rows, and a loop may ask before its steps or
        # after them: one step of distance on either side makes both harmless.
        position = self._num_steps % self._steps_per_epoch
        if position >= 1 and position + num_steps <= self._steps_per_epoch - 2:
            return 0
        return (1 - position) % self._steps_per_epoch


_NO_STEP = object()

MARGIN_STEPS = 3
"""Steps of an epoch that no turn may take: its first one and its last two."""


class SocketTurnstile:
    """A turnstile at the end of a Unix socket; when the coordinator is gone, it says leave.

    It connects when the first order is asked for: by then the rank has loaded and compiled
    whatever it needs, and is ready.
    """

    def __init__(self, path: Path, hello: Hello) -> None:
        self._path = path
        self._hello = hello
        self._socket: socket.socket | None = None
        self._lines: TextIO | None = None

    def next_order(self) -> Order | None:
        """Blocked in a read until the coordinator writes."""
        try:
            if self._lines is None:
                self._lines = self._connect()
            line = self._lines.readline()
        except OSError:
            line = ""
        if not line:
            self.close()
            return None
        return parse_order(json.loads(line))

    def answer(self, elapsed_s: float) -> None:
        """Ignored by a coordinator that is gone: the next order will be to leave."""
        try:
            self._send({"elapsed_s": elapsed_s})
        except OSError:
            return

    def close(self) -> None:
        """Leave; nothing can be said or heard any more."""
        if self._lines is not None:
            self._lines.close()
        if self._socket is not None:
            self._socket.close()

    def _connect(self) -> TextIO:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(self._path))
        self._send(asdict(self._hello))
        return self._socket.makefile("r", encoding="utf-8")

    def _send(self, document: Mapping[str, object]) -> None:
        if self._socket is not None:
            self._socket.sendall(json.dumps(document).encode() + b"\n")


def order_document(order: Order) -> dict[str, Any]:
    """An order as JSON."""
    return {"order": type(order).__name__, **asdict(order)}


def parse_order(document: dict[str, Any]) -> Order:
    """An order from JSON."""
    kinds: dict[str, type[Order]] = {"MakeRoom": MakeRoom, "Run": Run}
    return kinds[document.pop("order")](**document)


class TurnstileLauncher:
    """Any launcher, with a turnstile between its steps."""

    def __init__(self, inner: Launcher, course: Course) -> None:
        self.rank = inner.rank
        self.local_rank = inner.local_rank
        self.world_size = inner.world_size
        self.device = inner.device
        self._inner = inner
        self._course = course

    def interrupted(self) -> bool:
        """What the inner launcher says; else wait for the turn, and leave when all are over."""
        return self._inner.interrupted() or self._course.is_over()

    def report(self, metrics: Mapping[str, float]) -> None:
        """Hand metrics on."""
        self._inner.report(metrics)


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where to queue, and as whom."""

    socket_path: Path
    contestant: str

    def course(self, *, rank: int, steps_per_epoch: int, device: torch.device) -> Course:
        """Queue as one rank."""
        hello = Hello(self.contestant, rank, steps_per_epoch)
        return Course(
            SocketTurnstile(self.socket_path, hello),
            steps_per_epoch=steps_per_epoch,
            synchronize=synchronizer(device),
        )
