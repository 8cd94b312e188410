"""Lets one contestant run at a time, and hears from all its ranks how long it took."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymi.bench.turnstile import Hello, MakeRoom, Order, Run, order_document

_POLL_INTERVAL_S = 0.2
_HELLO_PATIENCE_S = 10.0


class LostContestantError(Exception):
    """A contestant can take no more turns."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


@dataclass(frozen=True, slots=True)
class _Rank:
    contestant: str
    number: int
    connection: socket.socket
    lines: Any

    def send(self, document: Mapping[str, object]) -> None:
        self.connection.sendall(json.dumps(document).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """Raises LostContestantError at the end of the stream."""
        try:
            line = self.lines.readline()
        except OSError:
            line = ""
        if not line:
            raise LostContestantError(self.contestant, f"rank {self.number} has left")
        document: dict[str, Any] = json.loads(line)
        return document

    def close(self) -> None:
        self.lines.close()
        self.connection.close()


class Coordinator:
    """The other end of every rank's turnstile."""

    def __init__(self, socket_path: Path) -> None:
        """Listen; whoever may write to the directory may connect."""
        self.socket_path = socket_path
        self.steps_per_epoch: dict[str, int] = {}
        self._ranks: dict[str, dict[int, _Rank]] = {}
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(socket_path))
        self._server.listen()
        self._server.settimeout(_POLL_INTERVAL_S)

    def wait_for(
        self,
        expected: Mapping[str, int],
        *,
        patience_s: float,
        watch: Callable[[str], None],
        ready: Callable[[str], None],
    ) -> dict[str, str]:
        """Wait until every rank has connected.

        Args:
            expected: Contestant -> number of ranks.
            patience_s: How long to wait for all.
            watch: Raises LostContestantError for a contestant that has ended.
            ready: Told of each contestant whose ranks are all there.

        Returns:
            Why, for each contestant that will not come.
        """
        lost: dict[str, str] = {}
        missing = {name for name, num_ranks in expected.items() if num_ranks}
        deadline_s = time.monotonic() + patience_s
        while missing:
            if rank := self._accept():
                name = rank.contestant
                self._ranks.setdefault(name, {})[rank.number] = rank
                if name in missing and len(self._ranks[name]) == expected[name]:
                    missing.remove(name)
                    ready(name)
            for name in sorted(missing):
                try:
                    watch(name)
                    if time.monotonic() > deadline_s:
                        raise LostContestantError(name, f"not ready after {patience_s:.0f} s")
                except LostContestantError as error:
                    lost[name] = error.why
                    missing.remove(name)
        return lost

    def turn(self, names: Iterable[str], run: Run, *, patience_s: float) -> dict[str, float]:
        """Let contestants run one turn at the same time; everybody else stands still.

        Returns:
            Seconds that rank 0 of each took for the timed steps.

        Raises:
            LostContestantError: One left, or did not answer within the patience.
        """
        names = list(names)
        self._exchange(names, MakeRoom(run.total_steps), patience_s)
        return self._exchange(names, run, patience_s)

    def dismiss(self, name: str) -> None:
        """Tell a contestant to leave; its ranks are not waited for."""
        for rank in self._ranks.pop(name, {}).values():
            rank.close()

    def close(self) -> None:
        """Tell everybody to leave."""
        for name in list(self._ranks):
            self.dismiss(name)
        self._server.close()
        self.socket_path.unlink(missing_ok=True)

    def _accept(self) -> _Rank | None:
        try:
            connection, _ = self._server.accept()
        except TimeoutError:
            return None
        connection.settimeout(_HELLO_PATIENCE_S)
        lines = connection.makefile("r", encoding="utf-8")
        try:
            hello = Hello(**json.loads(lines.readline()))
        except (OSError, ValueError, TypeError):
            connection.close()
            return None
        connection.settimeout(None)
        self.steps_per_epoch[hello.contestant] = hello.steps_per_epoch
        return _Rank(hello.contestant, hello.rank, connection, lines)

    def _exchange(self, names: list[str], order: Order, patience_s: float) -> dict[str, float]:
        """Give one order to every rank of some contestants and wait for all answers."""
        waiting = [rank for name in names for rank in self._ranks[name].values()]
        elapsed_s: dict[str, float] = {}
        deadline_s = time.monotonic() + patience_s
        with selectors.DefaultSelector() as selector:
            for rank in waiting:
                selector.register(rank.connection, selectors.EVENT_READ, rank)
            for rank in waiting:
                try:
                    rank.send(order_document(order))
                except OSError as error:
                    why = f"rank {rank.number} has left"
                    raise LostContestantError(rank.contestant, why) from error
            while selector.get_map():
                events = selector.select(timeout=max(0.0, deadline_s - time.monotonic()))
                if not events:
                    late: _Rank = next(iter(selector.get_map().values())).data
                    why = f"rank {late.number} did not answer within {patience_s:.0f} s"
                    raise LostContestantError(late.contestant, why)
                for key, _ in events:
                    rank = key.data
                    answer = rank.receive()
                    selector.unregister(rank.connection)
                    if rank.number == 0:
                        elapsed_s[rank.contestant] = answer["elapsed_s"]
        return elapsed_s
