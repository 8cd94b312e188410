"""Peak memory of a micro-batch in a fresh process: `python -m raymi.sweep.probe.memory PLAN`.

The process imports torch once, reads requests from its input, and forks a child for each: a clean
context and a clean allocator, without the seconds that an import takes. A child that passes the
limit is killed, so that the machine is not. `MemoryProbe` is the other side of the pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from raymi.sweep.probe.plan import ProbePlan

_GIB = 1 << 30
_LOOK_INTERVAL_S = 0.01
_NUM_STEPS = 2
"""The first step makes the optimizer's state, the second has it beside the activations."""

OUT_OF_MEMORY = "out of memory"


class MemoryProbe:
    """Asks for fresh processes; a context manager."""

    def __init__(self, plan_file: Path, *, device: str) -> None:
        """Start the process that forks.

        Args:
            plan_file: A ProbePlan, saved.
            device: As torch names it.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "raymi.sweep.probe.memory", str(plan_file), device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def peak_gib(
        self, setting: int, micro_batch_size: int, *, limit_gib: float | None
    ) -> tuple[float | None, str | None]:
        """Peak memory, or None and why there is none.

        Raises:
            RuntimeError: The process that forks is gone.
        """
        request = {"setting": setting, "micro_batch_size": micro_batch_size, "limit": limit_gib}
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the memory probe has no pipes")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the memory probe ended with code {self._process.wait()}")
        answer = json.loads(line)
        return answer["peak_gib"], answer["why"]

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def main(argv: list[str]) -> None:
    """Answer requests until the input ends."""
    import torch

    from raymi.sweep.probe import rig  # noqa: F401 - imported once, for all children

    plan = ProbePlan.load(Path(argv[0]))
    for line in sys.stdin:
        request = json.loads(line)
        answer = _in_a_child(plan, torch.device(argv[1]), request)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _in_a_child(plan: ProbePlan, device: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Fork, wait, and say how it ended."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _measure(plan, device, request, write_end)
    os.close(write_end)
    status, was_killed = _wait(child, request["limit"] if device.type == "cpu" else None)
    with os.fdopen(read_end, encoding="utf-8") as pipe:
        text = pipe.read()
    if text and os.WIFEXITED(status):
        answer: dict[str, Any] = json.loads(text)
        return answer
    is_kernel = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    why = OUT_OF_MEMORY if was_killed or is_kernel else f"the process ended with status {status}"
    return {"peak_gib": None, "why": why}


def _wait(child: int, limit_gib: float | None) -> tuple[int, bool]:
    """Until the child has ended, or has grown too large and is killed."""
    was_killed = False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status, was_killed
        if limit_gib is not None and not was_killed and _resident_gib(child) > limit_gib:
            os.kill(child, signal.SIGKILL)
            was_killed = True
        time.sleep(_LOOK_INTERVAL_S)


def _resident_gib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / _GIB


def _measure(plan: ProbePlan, device: Any, request: dict[str, Any], pipe: int) -> None:
    """In the child: two steps of one micro-batch; never returns."""
    code = 1
    try:
        answer = json.dumps(_peak(plan, device, request))
        os.write(pipe, answer.encode())
        code = 0
    finally:
        os._exit(code)


def _peak(plan: ProbePlan, device: Any, request: dict[str, Any]) -> dict[str, Any]:
    import torch

    from raymi.sweep.probe.rig import Rig
    from raymi.train.failure import Reason, classify
    from raymi.train.throughput import peak_memory_gib

    torch.set_num_threads(plan.cpus_per_worker)
    try:
        rig = Rig(plan.plan(request["setting"]), device=device, rank=0, num_workers=1, group=None)
        rig.run(micro_batch_size=request["micro_batch_size"], num_passes=1, num_steps=_NUM_STEPS)
    except (RuntimeError, MemoryError) as error:
        if classify(error) is Reason.OUT_OF_MEMORY or isinstance(error, MemoryError):
            return {"peak_gib": None, "why": OUT_OF_MEMORY}
        return {"peak_gib": None, "why": f"{type(error).__name__}: {error}"[:200]}
    peak, limit = peak_memory_gib(device), request["limit"]
    if limit is not None and peak > limit:
        return {"peak_gib": None, "why": OUT_OF_MEMORY}
    return {"peak_gib": peak, "why": None}


if __name__ == "__main__":
    main(sys.argv[1:])
