"""Time ways to compute and collect their answers, in a process of its own.

A way that fails, hangs or brings its process down is noted as broken; the others go on.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from raymi.serve.tuning.evidence import Outputs, PassTime
from raymi.serve.tuning.ways import Way
from raymi.specs.backend import BackendName

_ANSWER_TIMEOUT_S = 300.0
"""Compiling a network takes minutes on a busy machine."""

_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured, and how it would be served."""

    bundle: Path
    fingerprint: str
    store_dir: Path
    cache_dir: Path
    num_threads: int
    uses_accelerator: bool
    """Whether it would be served on one; else it is measured on the CPU."""

    log: Path
    """Where its process's own words go."""

    def to_document(self) -> dict[str, Any]:
        """The first request to a workbench."""
        return {
            "bundle": str(self.bundle),
            "fingerprint": self.fingerprint,
            "store_dir": str(self.store_dir),
            "cache_dir": str(self.cache_dir),
            "num_threads": self.num_threads,
            "uses_accelerator": self.uses_accelerator,
        }


class Instrument:
    """Use it as a context manager: its process ends with the block."""

    def __init__(self, subject: Subject, ways: Sequence[Way]) -> None:
        """Start nothing yet."""
        self.broken: dict[int, str] = {}
        """Way -> how it failed."""
        self._subject = subject
        self._ways = ways
        self._processes: dict[int | None, subprocess.Popen[str]] = {}

    def __enter__(self) -> Instrument:
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._processes):
            self._stop(key)

    def time_passes(
        self,
        sizes: Mapping[int, Sequence[int]],
        *,
        rounds: int,
        seed: int,
        say: Callable[[str], None],
        is_hopeless: Callable[[int, Sequence[PassTime]], bool],
    ) -> tuple[PassTime, ...]:
        """Time passes of each way in rounds, in random order.

        Args:
            sizes: Way -> rows of the passes that are timed.
            rounds: Turns.
            seed: Of the order.
            say: Told what is going on.
            is_hopeless: Asked after the first round whether a way is not worth timing further.
        """
        draw = random.Random(seed)  # noqa: S311 - an order, not a secret
        found: list[PassTime] = []
        left = dict(sizes)
        for number in range(rounds):
            tasks = [(way, size) for way, own in left.items() for size in own]
            draw.shuffle(tasks)
            for way, size in tasks:
                if way in self.broken:
                    continue
                answer = self._ask(way, {"do": "time", "num_rows": size})
                if answer is None:
                    say(f"{self._ways[way].label}: {self.broken[way]}")
                    continue
                seconds = float(answer["pass_s"])
                found.append(PassTime(way=way, num_rows=size, round=number, pass_s=seconds))
            if number == 0:
                left = {way: own for way, own in left.items() if not is_hopeless(way, found)}
        return tuple(one for one in found if one.way not in self.broken)

    def outputs(self, way: int, *, max_batch_size: int) -> Outputs | None:
        """Answers of a way to test rows and made-up ones; None: it is broken."""
        answer = self._ask(way, {"do": "answer", "max_batch_size": max_batch_size})
        return None if answer is None else Outputs(way=way, **answer)

    def _ask(self, way: int, request: dict[str, Any]) -> dict[str, Any] | None:
        if way in self.broken:
            return None
        described = self._ways[way].model_dump(mode="json")
        # A compiled way has a process of its own, as it would have a replica of its own: whatever
        # the compiler keeps in a process is out of the other ways' times.
        key = way if self._ways[way].backend is BackendName.COMPILE else None
        answer = self._exchange(key, {**request, **described})
        if (error := answer.get("error")) is not None:
            self.broken[way] = error
            return None
        return answer

    def _exchange(self, key: int | None, request: dict[str, Any]) -> dict[str, Any]:
        if key not in self._processes:
            self._processes[key] = self._start()
            opened = self._round_trip(key, self._subject.to_document())
            if "error" in opened:
                # It would take the next request for the one that it could not answer.
                self._stop(key)
                return opened
        return self._round_trip(key, request)

    def _round_trip(self, key: int | None, request: object) -> dict[str, Any]:
        process = self._processes[key]
        stdin, stdout = _pipes(process)
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            ready, _, _ = select.select([stdout], [], [], _ANSWER_TIMEOUT_S)
            line = stdout.readline() if ready else ""
        except BrokenPipeError:
            ready, line = [stdout], ""
        if not line.endswith("\n"):
            self._stop(key)
            if not ready:
                return {"error": f"it did not answer within {_ANSWER_TIMEOUT_S:.0f} s"}
            return {"error": f"its process ended with code {process.returncode}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _start(self) -> subprocess.Popen[str]:
        threads = str(self._subject.num_threads)
        with self._subject.log.open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "raymi.serve.tuning.workbench"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
            )

    def _stop(self, key: int | None) -> None:
        process = self._processes.pop(key, None)
        if process is None:
            return
        stdin, stdout = _pipes(process)
        for pipe in (stdin, stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                continue
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    if process.stdin is None or process.stdout is None:
        raise TypeError("a workbench has pipes")
    return process.stdin, process.stdout
