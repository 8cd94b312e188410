"""Send requests over many connections from one thread, and note what came back and how late.

Closed loop: each connection sends its next request when the last one is answered, which finds the
highest throughput. Open loop: requests leave when they are due, whatever happened to earlier ones,
and their time counts from when they were due; a closed loop would wait with the server and hide
how late it is (Schroeder, Wierman, Harchol-Balter, NSDI 2006).
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from raymi.serve.load.message import parse_answer

_READ_BYTES = 1 << 18
_CONNECT_TIMEOUT_S = 5.0
_MOST_RETRIES = 3


@dataclass(slots=True)
class Outcome:
    """What came of a load."""

    duration_s: float = 0.0
    """From the first request until the last answer that counts."""

    latencies_s: list[float] = field(default_factory=list)
    """Of answers with status 200, in the order they came."""

    rejected_latencies_s: list[float] = field(default_factory=list)
    """Of answers with status 429 or 503."""

    statuses: dict[int, int] = field(default_factory=dict)
    """How many answers had which status."""

    lost: int = 0
    """Requests that got no answer: the connection broke, or it did not come in time."""

    retried: int = 0
    """Requests sent again because their connection was closed before they could be answered."""

    first_rejection: bytes = b""
    """The first answer with status 429 or 503."""

    first_fault: bytes = b""
    """The first answer that was neither 200 nor a rejection."""

    @property
    def good_per_s(self) -> float:
        """Answers with status 200 a second."""
        return len(self.latencies_s) / self.duration_s if self.duration_s else 0.0

    @property
    def failed(self) -> int:
        """Requests that got no answer, or another than 200, 429 and 503."""
        told = sum(n for status, n in self.statuses.items() if status not in (200, 429, 503))
        return told + self.lost

    def percentile_ms(self, percent: float) -> float:
        """Of the times of good answers; NaN without any."""
        if not self.latencies_s:
            return float("nan")
        return float(np.percentile(self.latencies_s, percent)) * 1000.0


@dataclass(slots=True)
class _Connection:
    sock: socket.socket
    received: bytes = b""
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    due_s: float = 0.0
    request: bytes = b""
    tries: int = 0
    num_answered: int = 0
    is_busy: bool = False


NextRequest = Callable[[], bytes]


def closed_loop(
    port: int, requests: Sequence[bytes], *, num_connections: int, duration_s: float
) -> Outcome:
    """Keep every connection busy for a while.

    Args:
        port: On the loopback interface.
        requests: Sent in turn.
        num_connections: How many wait for an answer at any time.
        duration_s: For how long.

    Raises:
        OSError: Nobody listens.
    """
    load = _Load(port)
    count = 0
    for _ in range(num_connections):
        load.send(load.connect(), requests[count % len(requests)], time.perf_counter())
        count += 1
    end_s = load.began_s + duration_s
    while (now_s := time.perf_counter()) < end_s:
        for connection in load.wait(end_s - now_s):
            load.send(connection, requests[count % len(requests)], time.perf_counter())
            count += 1
    return load.finish()


def open_loop(
    port: int,
    requests: Sequence[bytes],
    arrivals_s: np.ndarray,
    *,
    timeout_s: float = 10.0,
    max_connections: int = 1000,
) -> Outcome:
    """Send a request at each arrival time, on a free connection or a new one.

    Args:
        port: On the loopback interface.
        requests: Sent in turn.
        arrivals_s: Seconds from the start, sorted.
        timeout_s: After the last arrival, when the rest counts as lost.
        max_connections: An arrival beyond waits, and its time runs.

    Raises:
        OSError: Nobody listens.
    """
    load = _Load(port)
    free: deque[_Connection] = deque()
    next_arrival = 0
    end_s = load.began_s + (float(arrivals_s[-1]) if len(arrivals_s) else 0.0) + timeout_s
    while next_arrival < len(arrivals_s) or load.num_busy:
        now_s = time.perf_counter()
        if now_s > end_s:
            break
        while next_arrival < len(arrivals_s):
            due_s = load.began_s + arrivals_s[next_arrival]
            if due_s > now_s or (not free and load.num_open >= max_connections):
                break
            connection = free.pop() if free else load.connect()
            load.send(connection, requests[next_arrival % len(requests)], due_s)
            next_arrival += 1
        wait_s = end_s - now_s
        if next_arrival < len(arrivals_s) and (free or load.num_open < max_connections):
            wait_s = load.began_s + arrivals_s[next_arrival] - now_s
        free.extend(load.wait(max(0.0, wait_s)))
    load.give_up()
    return load.finish()


class _Load:
    """Connections, and what came back over them."""

    def __init__(self, port: int) -> None:
        self.began_s = time.perf_counter()
        self.num_busy = 0
        self._address = ("127.0.0.1", port)
        self._poll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._outcome = Outcome()
        self._last_s = self.began_s

    @property
    def num_open(self) -> int:
        return len(self._connections)

    def connect(self) -> _Connection:
        return self._adopt(_Connection(self._open()))

    def _open(self) -> socket.socket:
        sock = socket.create_connection(self._address, timeout=_CONNECT_TIMEOUT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(0.0)
        return sock

    def _adopt(self, connection: _Connection) -> _Connection:
        self._connections[connection.sock.fileno()] = connection
        self._poll.register(connection.sock, select.EPOLLIN)
        return connection

    def send(self, connection: _Connection, request: bytes, due_s: float) -> None:
        connection.request, connection.due_s = request, due_s
        connection.tries, connection.received = 0, b""
        connection.is_busy = True
        self.num_busy += 1
        self._begin(connection)

    def _begin(self, connection: _Connection) -> None:
        connection.unsent = memoryview(connection.request)
        self._write(connection)

    def _write(self, connection: _Connection) -> None:
        try:
            sent = connection.sock.send(connection.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            # Closed by the other side; reading says so too, and sends it again.
            return
        connection.unsent = connection.unsent[sent:]
        wanted = select.EPOLLIN | (select.EPOLLOUT if connection.unsent else 0)
        if connection.unsent or sent < len(connection.request):
            self._poll.modify(connection.sock, wanted)

    def wait(self, seconds: float) -> list[_Connection]:
        """Connections whose request was answered, or lost."""
        free: list[_Connection] = []
        for fileno, event in self._poll.poll(seconds):
            connection = self._connections.get(fileno)
            if connection is None:
                continue
            if event & select.EPOLLOUT:
                self._write(connection)
            if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                ready = self._read(connection)
                if ready is not None:
                    free.append(ready)
        return free

    def _read(self, connection: _Connection) -> _Connection | None:
        try:
            data = connection.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return self._broken(connection)
        connection.received += data
        answer = parse_answer(connection.received)
        if answer is None or not connection.is_busy:
            return None
        self._count(connection, answer.status)
        connection.num_answered += 1
        self._settle(connection)
        return connection if answer.keeps_connection else self._renew(connection)

    def _count(self, connection: _Connection, status: int) -> None:
        self._last_s = time.perf_counter()
        took_s = self._last_s - connection.due_s
        outcome = self._outcome
        outcome.statuses[status] = outcome.statuses.get(status, 0) + 1
        if status == 200:
            outcome.latencies_s.append(took_s)
        elif status in (429, 503):
            outcome.rejected_latencies_s.append(took_s)
            outcome.first_rejection = outcome.first_rejection or connection.received
        else:
            outcome.first_fault = outcome.first_fault or connection.received

    def _settle(self, connection: _Connection) -> None:
        connection.is_busy = False
        self.num_busy -= 1

    def _broken(self, connection: _Connection) -> _Connection | None:
        """A closed connection. As other clients do, send again what was sent on a kept connection
        that the server closed without a word; on a new one it is lost."""
        if not connection.is_busy:
            self._drop(connection)
            return None
        is_kept = connection.num_answered > 0 and not connection.received
        can_retry = is_kept and connection.tries < _MOST_RETRIES
        renewed = self._renew(connection)
        if renewed is not None and can_retry:
            renewed.tries += 1
            self._outcome.retried += 1
            self._begin(renewed)
            return None
        self._outcome.lost += 1
        self._settle(connection)
        return renewed

    def _renew(self, connection: _Connection) -> _Connection | None:
        self._drop(connection)
        try:
            connection.sock = self._open()
        except OSError:
            return None
        connection.received, connection.num_answered = b"", 0
        return self._adopt(connection)

    def _drop(self, connection: _Connection) -> None:
        fileno = connection.sock.fileno()
        if self._connections.get(fileno) is connection:
            del self._connections[fileno]
        with contextlib.suppress(OSError, ValueError):
            self._poll.unregister(connection.sock)
        connection.sock.close()

    def give_up(self) -> None:
        """Count what is still under way as lost."""
        self._outcome.lost += self.num_busy

    def finish(self) -> Outcome:
        """Close everything. In a closed loop requests under way were cut off, not lost."""
        for connection in list(self._connections.values()):
            connection.sock.close()
        self._poll.close()
        self._outcome.duration_s = max(self._last_s - self.began_s, 1e-9)
        return self._outcome
