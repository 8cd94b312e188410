"""Write checkpoints beside the training: the loop hands over a copy and goes on.

Storage that is full or away is tried again until the spec's patience ends; only then does the
run stop, with the reason, and with its newest good checkpoint still there.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from raymi.errors import TrainingError
from raymi.train.checkpoint_store import CheckpointStore
from raymi.train.failure import CONSEQUENCES, Reason

T = TypeVar("T")

RETRY_INTERVAL_S = 1.0

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StorageTrouble:
    """One stretch of failed writes: how long it has lasted, and what to call it."""

    def __init__(self, patience_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._since: float | None = None

    def give_up(self, error: OSError) -> TrainingError | None:
        """What to raise once patience has ended; None while it is worth trying again."""
        now = self._clock()
        self._since = now if self._since is None else self._since
        if now - self._since < self._patience_s:
            return None
        reason = storage_reason(error)
        return TrainingError(
            CONSEQUENCES[reason].sentence,
            reason=reason.value,
            why=f"{error} (for {now - self._since:.0f} s)",
            fix=CONSEQUENCES[reason].fix,
        )


def storage_reason(error: OSError) -> Reason:
    """Full, or away."""
    return Reason.DISK_FULL if error.errno in _FULL else Reason.STORAGE_UNAVAILABLE


def persist(
    work: Callable[[], T],
    patience_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Write or read now, trying again while storage is full or away.

    Raises:
        TrainingError: It stayed so for `patience_s`.
    """
    trouble = StorageTrouble(patience_s, clock=clock)
    while True:
        try:
            return work()
        except OSError as error:
            if failure := trouble.give_up(error):
                raise failure from error
            sleep(RETRY_INTERVAL_S)


class CheckpointWriter:
    """One thread that publishes one checkpoint at a time; only the first worker has one."""

    def __init__(
        self,
        store: CheckpointStore,
        *,
        patience_s: float,
        published: Callable[[int], None],
        trouble: Callable[[Reason, str], None],
    ) -> None:
        """Start waiting for work.

        Args:
            store: Where to publish.
            patience_s: How long failing storage is tried again.
            published: Hears of every step that is safe.
            trouble: Hears of the first failure of a stretch.
        """
        self._store = store
        self._patience_s = patience_s
        self._published = published
        self._say_trouble = trouble
        self._failure: Exception | None = None
        self._in_trouble = threading.Event()
        self._step: int | None = None
        self._idle = threading.Event()
        self._idle.set()
        self._stopped = threading.Event()
        self._queue: SimpleQueue[tuple[int, dict[str, Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def submit(self, step: int, state: dict[str, Any], *, waits: bool = False) -> None:
        """Hand over a copied state; waits for the one before, so that memory is bounded.

        While storage fails nobody waits, unless `waits`: the one before is still being tried, and
        this one is dropped. One of the step that was handed over last is the same again.

        Raises:
            TrainingError: An earlier one could not be written, and patience has ended.
        """
        if self._in_trouble.is_set() and not waits:
            self.check()
            return
        self.drain()
        if step == self._step:
            return
        self._step = step
        self._idle.clear()
        self._queue.put((step, state))

    def drain(self) -> None:
        """Wait until everything handed over is safe.

        Raises:
            TrainingError: It could not be written, and patience has ended.
        """
        self._idle.wait()
        self.check()

    def check(self) -> None:
        """Notice a failure without waiting.

        Raises:
            TrainingError: As `drain`.
        """
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop after the current attempt; what is not written by then is dropped."""
        self._stopped.set()
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                self._publish(*work)
            except Exception as error:  # noqa: BLE001 - raised again in the training thread
                self._failure = error
            finally:
                self._in_trouble.clear()
                self._idle.set()

    def _publish(self, step: int, state: dict[str, Any]) -> None:
        trouble = StorageTrouble(self._patience_s)
        while not self._stopped.is_set():
            try:
                self._store.publish(step, state)
            except OSError as error:
                self._make_room(error)
                if failure := trouble.give_up(error):
                    raise failure from error
                self._stopped.wait(RETRY_INTERVAL_S)
            else:
                self._published(step)
                return

    def _make_room(self, error: OSError) -> None:
        """Say so, once in a stretch; on a full disk, an old checkpoint is worth less than a new."""
        reason = storage_reason(error)
        if not self._in_trouble.is_set():
            self._in_trouble.set()
            self._say_trouble(reason, str(error))
        if reason is Reason.DISK_FULL:
            with suppress(OSError):
                self._store.prune(1)
