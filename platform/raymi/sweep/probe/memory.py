"""Peak memory of a micro-batch in a fresh process.

`python -m raymi.sweep.probe.memory PLAN DEVICE` imports torch once, reads requests from its input,
and forks a child for each: a clean context and a clean allocator, without the seconds that an
import takes. A child that passes the limit is killed, so that the machine is not. `MemoryProbe` is
the other side of the pipe.
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
from typing import TYPE_CHECKING, Any, NoReturn, Self

import psutil

from raymi.sweep.probe.plan import ProbePlan

if TYPE_CHECKING:
    import torch

_GIB = 1 << 30
_LOOK_INTERVAL_S = 0.005
_NUM_STEPS = 2
"""The first step makes the optimizer's state, the second has it beside the activations."""

_MOST_PASSES = 2
"""From the second pass of a step on, gradients are there beside the activations."""

OUT_OF_MEMORY = "out of memory"


class MemoryProbe:
    """Asks for fresh processes; a context manager."""

    def __init__(self, plan_file: Path, *, device: str) -> None:
        """Get ready; nothing is started before it is needed.

        Args:
            plan_file: A ProbePlan, saved.
            device: As torch names it.
        """
        self._plan_file = plan_file
        self._device = device
        self._process: subprocess.Popen[str] | None = None

    def peak_gib(
        self, setting: int, micro_batch_size: int, *, limit_gib: float | None
    ) -> tuple[float | None, str | None]:
        """Peak memory, or None and why there is none.

        Raises:
            RuntimeError: The process that forks is gone.
        """
        request = {"setting": setting, "micro_batch_size": micro_batch_size, "limit": limit_gib}
        if self._process is None:
            self._process = self._start()
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the memory probe has no pipes")
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the memory probe ended with code {process.wait()}")
        answer = json.loads(line)
        return answer["peak_gib"], answer["why"]

    def _start(self) -> subprocess.Popen[str]:
        module = "raymi.sweep.probe.memory"
        return subprocess.Popen(
            [sys.executable, "-m", module, str(self._plan_file), self._device],
            # A worker of Ray finds code where Ray has put it, which is not in its environment.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

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
        process = self._process
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        process.kill()
        process.wait()


def main(argv: list[str]) -> None:
    """Answer requests until the input ends."""
    import torch

    from raymi.sweep.probe import rig  # noqa: F401 - imported once, for all children

    plan, device = ProbePlan.load(Path(argv[0])), torch.device(argv[1])
    # Whatever a network prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(_in_a_child(plan, device, json.loads(line))) + "\n")
        answers.flush()


def _in_a_child(
    plan: ProbePlan, device: torch.device, request: dict[str, Any]
) -> dict[str, float | str | None]:
    """Fork, wait, and say how it ended."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _measure(plan, device, request, write_end)
    os.close(write_end)
    bound_gib = None
    if device.type == "cpu":
        # Without a limit, too, the machine is to live on.
        bound_gib = request["limit"] or psutil.virtual_memory().available / _GIB * 0.9
    status, was_killed = _wait(child, bound_gib)
    with os.fdopen(read_end, encoding="utf-8") as pipe:
        text = pipe.read()
    if text and os.WIFEXITED(status):
        answer: dict[str, float | str | None] = json.loads(text)
        return answer
    # A kill that did not come from here came from the kernel, which had run out of memory.
    was_killed |= os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    why = OUT_OF_MEMORY if was_killed else f"its process ended with status {status}"
    return {"peak_gib": None, "why": why}


def _wait(child: int, bound_gib: float | None) -> tuple[int, bool]:
    """Until the child has ended, or has grown too large and is killed."""
    was_killed = False
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status, was_killed
        if bound_gib is not None and not was_killed and _resident_gib(child) > bound_gib:
            os.kill(child, signal.SIGKILL)
            was_killed = True
        time.sleep(_LOOK_INTERVAL_S)


def _resident_gib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / _GIB


def _measure(plan: ProbePlan, device: torch.device, request: dict[str, Any], pipe: int) -> NoReturn:
    """In the child."""
    code = 1
    try:
        with contextlib.suppress(OSError):
            # If memory runs out all the same, the kernel should take this process.
            Path("/proc/self/oom_score_adj").write_text("1000")
        os.write(pipe, json.dumps(_peak(plan, device, request)).encode())
        code = 0
    finally:
        os._exit(code)


def _peak(
    plan: ProbePlan, device: torch.device, request: dict[str, Any]
) -> dict[str, float | str | None]:
    import torch

    from raymi.sweep.probe.rig import Rig
    from raymi.train.failure import Reason, classify
    from raymi.train.throughput import peak_memory_gib

    torch.set_num_threads(plan.cpus_per_worker)
    index = request["setting"]
    try:
        Rig(plan.plan(index), device=device).run(
            micro_batch_size=request["micro_batch_size"],
            num_passes=min(_MOST_PASSES, plan.setting(index).accumulation_steps),
            num_steps=_NUM_STEPS,
        )
    except Exception as error:  # noqa: BLE001 - a network may fail in any way
        if classify(error) is Reason.OUT_OF_MEMORY:
            return {"peak_gib": None, "why": OUT_OF_MEMORY}
        return {"peak_gib": None, "why": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    peak, limit = peak_memory_gib(device), request["limit"]
    if limit is not None and peak > limit:
        return {"peak_gib": None, "why": OUT_OF_MEMORY}
    return {"peak_gib": peak, "why": None}


if __name__ == "__main__":
    main(sys.argv[1:])
