"""What a batching server could do if nothing but forward passes took time: a bound for pruning.

Requests are answered in batches, by the rules of `raymi.serve.batching`; each batch takes as long
as passes of its size were measured to take. Parsing, HTTP and the network's way are not counted,
so a real endpoint is slower: what is too slow here cannot do it there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

PassSeconds = Callable[[int], float]
"""Rows of a forward pass -> seconds it takes."""


@dataclass(frozen=True, slots=True)
class Server:
    """What answers."""

    pass_s: PassSeconds
    max_batch_size: int
    max_wait_s: float
    num_replicas: int
    rows_per_request: int = 1

    def batch_s(self, num_requests: int) -> float:
        """Seconds for requests that travel together; large ones are cut into full batches."""
        full, rest = divmod(num_requests * self.rows_per_request, self.max_batch_size)
        seconds = full * self.pass_s(self.max_batch_size)
        return seconds + (self.pass_s(rest) if rest else 0.0)

    @property
    def most_requests(self) -> int:
        """In one batch."""
        return max(1, self.max_batch_size // self.rows_per_request)


def pass_times(medians_s: Mapping[int, float]) -> PassSeconds:
    """Straight lines between measured sizes; beyond the largest, as many passes of it."""
    sizes = sorted(medians_s)
    seconds = [medians_s[size] for size in sizes]

    def pass_s(num_rows: int) -> float:
        if num_rows > sizes[-1]:
            return seconds[-1] * num_rows / sizes[-1]
        return float(np.interp(num_rows, sizes, seconds))

    return pass_s


def capacity_rows_per_s(server: Server) -> float:
    """Rows a second beyond which all replicas together fall behind."""
    sizes = range(1, server.most_requests + 1)
    best = max(n * server.rows_per_request / server.batch_s(n) for n in sizes)
    return server.num_replicas * best


def simulate(arrivals_s: np.ndarray, server: Server) -> np.ndarray:
    """How long each request takes, in the order of arrival.

    Args:
        arrivals_s: When requests come, in seconds, sorted, (N,).
        server: A request goes to the replica that has the fewest.

    Returns:
        Seconds from arrival to answer, (N,).
    """
    replicas = [_Replica(server) for _ in range(server.num_replicas)]
    done_s = np.zeros(len(arrivals_s))
    for index, now_s in enumerate(arrivals_s.tolist()):
        for replica in replicas:
            replica.advance(now_s, done_s)
        chosen = min(replicas, key=lambda one: one.load(now_s))
        chosen.waiting.append((index, now_s))
    for replica in replicas:
        replica.advance(float("inf"), done_s)
    latencies: np.ndarray = done_s - arrivals_s
    return latencies


@dataclass(slots=True)
class _Replica:
    server: Server
    waiting: deque[tuple[int, float]] = field(default_factory=deque)
    busy_until_s: float = 0.0
    computing: int = 0
    expects_company: bool = True

    def load(self, now_s: float) -> int:
        """Requests that are here."""
        return len(self.waiting) + (self.computing if self.busy_until_s > now_s else 0)

    def advance(self, until_s: float, done_s: np.ndarray) -> None:
        """Send every batch that leaves before then."""
        while self.waiting:
            leave_s = self._leave_s()
            if leave_s >= until_s:
                return
            batch: list[int] = []
            while self.waiting and len(batch) < self.server.most_requests:
                if self.waiting[0][1] > leave_s:
                    break
                batch.append(self.waiting.popleft()[0])
            self.busy_until_s = leave_s + self.server.batch_s(len(batch))
            self.computing = len(batch)
            self.expects_company = len(batch) > 1
            done_s[batch] = self.busy_until_s

    def _leave_s(self) -> float:
        """When the next batch leaves, if nobody else comes."""
        first_s = self.waiting[0][1]
        ready_s = max(self.busy_until_s, first_s)
        if not self.expects_company:
            return ready_s
        leave_s = max(ready_s, first_s + self.server.max_wait_s)
        most = self.server.most_requests
        if len(self.waiting) >= most:
            leave_s = min(leave_s, max(ready_s, self.waiting[most - 1][1]))
        return leave_s
