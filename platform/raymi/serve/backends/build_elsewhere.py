"""The same as `raymi.serve.backends.build`, in a process of its own.

This process keeps what PyTorch's compiler has compiled for it, and its interpreter, for those who
wait for answers; and a compiler that crashes takes nothing along.

`python -m raymi.serve.backends.build_elsewhere` reads one JSON request from standard input and
writes nothing but its error, if there is one, to standard output. It ends when its input does: it
must not outlive a replica that is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import torch

from raymi.errors import (
    CapabilityError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    RaymiError,
    SpecError,
)
from raymi.registry.bundle import Bundle, load_bundle
from raymi.serve.backends.build import build_here
from raymi.specs.backend import BackendName, ServingPrecision

_TIMEOUT_S = 900.0
_ERRORS = {
    error.__name__: error
    for error in (CapabilityError, ConflictError, IntegrityError, NotFoundError, SpecError)
}
_MOST_CHARACTERS = 300


def build_elsewhere(
    bundle: Bundle,
    name: BackendName,
    precision: ServingPrecision,
    *,
    device: torch.device,
    path: Path,
    timeout_s: float = _TIMEOUT_S,
) -> None:
    """A `Build`; after `timeout_s` it is given up."""
    num_threads = torch.get_num_threads()
    request = {
        "bundle": str(bundle.directory),
        "fingerprint": bundle.fingerprint,
        "backend": name.value,
        "precision": precision.value,
        "device": str(device),
        "path": str(path),
        # Compiled code is made for a certain number of threads.
        "num_threads": num_threads,
    }
    with (path.parent / f"{path.name}.log").open("w+b") as log:
        process = _start(num_threads, log.fileno())
        answer = _answer(process, request, timeout_s)
        if process.returncode == 0 and path.is_file():
            return
        log.seek(0)
        said = log.read().decode(errors="replace").strip().splitlines()
    if answer is None:
        why = f"it was not done after {timeout_s:g} s"
    elif answer:
        error = json.loads(answer)
        raise _ERRORS.get(error["kind"], CapabilityError)(
            error["what"], why=error["why"], fix=error["fix"]
        )
    else:
        why = f"its process ended with code {process.returncode}"
        why += f": {said[-1][:_MOST_CHARACTERS]}" if said else ""
    raise CapabilityError(
        f"backend: the network cannot be made ready for {name} with {precision}",
        why=why,
        fix="use the backend `eager`",
    )


def _start(num_threads: int, log: int) -> subprocess.Popen[bytes]:
    threads = str(num_threads)
    return subprocess.Popen(
        [sys.executable, "-m", "raymi.serve.backends.build_elsewhere"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env={
            **os.environ,
            # A worker of Ray finds code where Ray has put it, which is not in its environment.
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
        },
        # Compilers start processes too: all of them end together.
        start_new_session=True,
    )


def _answer(
    process: subprocess.Popen[bytes], request: dict[str, Any], timeout_s: float
) -> bytes | None:
    """What it has written when it ends; None: it has not ended in time."""
    if process.stdin is None or process.stdout is None:
        raise TypeError("a process that builds has pipes")
    with process.stdin, process.stdout:
        try:
            # The pipe stays open until it has ended.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return process.stdout.read()


def main() -> None:
    """Build what is asked for."""
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    torch.set_num_threads(int(request["num_threads"]))
    try:
        build_here(
            load_bundle(Path(request["bundle"]), fingerprint=request["fingerprint"]),
            BackendName(request["backend"]),
            ServingPrecision(request["precision"]),
            device=torch.device(request["device"]),
            path=Path(request["path"]),
        )
    except RaymiError as error:
        kind = type(error).__name__
        said = {"kind": kind, "what": error.what, "why": error.why, "fix": error.fix}
        answers.write(json.dumps(said))
        answers.flush()
        os._exit(1)
    os._exit(0)


def _end_with_input() -> None:
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
