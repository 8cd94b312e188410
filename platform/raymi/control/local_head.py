"""Start, look at and stop one local Ray head, and touch nothing that it did not start."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from raymi.control import head_files, ports, preflight, processes
from raymi.control.head_api import HeadApi
from raymi.control.head_environment import daemon_environment, start_command
from raymi.control.head_report import HeadReport, observe, require_head, status
from raymi.control.head_state import (
    Condition,
    HeadFiles,
    HeadIdentity,
    HeadState,
    assess,
    ensure_token,
    read_head,
    read_identity,
)
from raymi.errors import ConflictError, RaymiError, UnreachableError

__all__ = [
    "HeadReport",
    "HeadRequest",
    "HeadState",
    "down",
    "read_head",
    "require_head",
    "status",
    "up",
]

# A start takes 7 s on a quiet machine and was seen to take 20 s on a busy one.
START_TIMEOUT_S = 120.0
_LOCK_WAIT_S = START_TIMEOUT_S + 60.0
_POLL_INTERVAL_S = 0.1
_PORT_RELEASE_WAIT_S = 5.0

Say = Callable[[str], None]

# A head outlives the command that starts it; Python warns about a child that is forgotten alive.
_started: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class HeadRequest:
    """What `raymi up` may be asked for; None leaves the choice to Raymi or Ray."""

    dashboard_port: int | None = None
    serve_port: int | None = None
    num_cpus: int | None = None
    num_gpus: int | None = None
    grpc_port: int | None = None


def up(request: HeadRequest, *, home: Path, say: Say) -> tuple[HeadState, bool]:
    """Make sure that one local head runs.

    Args:
        request: What it should be like, if it has to be started.
        home: RAYMI_HOME, absolute.
        say: Gets a line when something takes time.

    Returns:
        The head, and whether it was started just now rather than found running.

    Raises:
        RaymiError: This machine cannot run one, or it did not start; nothing is left behind.
        ConflictError: A port is taken, or a head runs that is not as asked, or not well.
        KeyboardInterrupt: Interrupted; nothing is left behind.
    """
    preflight.require_able(preflight.machine_facts())
    files = HeadFiles(home)
    files.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with head_files.locked(files.lock, wait_s=_LOCK_WAIT_S):
        earlier = read_head(home)
        if earlier is not None:
            diagnosis = assess(observe(earlier, being_changed=False))
            if diagnosis.condition is Condition.UP:
                _require_as_asked(request, earlier)
                return earlier, False
            if diagnosis.condition is Condition.DEGRADED:
                raise ConflictError(
                    "a local head is there, and not well", why=diagnosis.why, fix=diagnosis.fix
                )
            say(f"clearing up after an earlier head: {diagnosis.why}")
            _clear_away(earlier, files)
        ensure_token(files.token)
        state = _plan(request, files)
        say("starting a local Ray head")
        return _start(state, files), True


def down(*, home: Path) -> HeadIdentity | None:
    """Stop the local head and everything that runs on it.

    Returns:
        What was stopped, or None when there was nothing.

    Raises:
        RaymiError: Something could not be stopped; calling again tries again.
        ConflictError: The caller is itself a job on this head.
    """
    files = HeadFiles(home)
    if not files.directory.is_dir():
        return None
    with head_files.locked(files.lock, wait_s=_LOCK_WAIT_S), _deferred_interrupts():
        head = read_identity(home)
        if head is not None:
            _clear_away(head, files)
        return head


def _plan(request: HeadRequest, files: HeadFiles) -> HeadState:
    chosen = ports.choose_ports(
        dashboard=request.dashboard_port,
        serve=request.serve_port,
        grpc=request.grpc_port,
        reserved=head_files.ports_of_other_heads(),
    )
    cluster_id = uuid.uuid4().hex
    return HeadState(
        cluster_id=cluster_id,
        gcs_address=f"{ports.LOOPBACK}:{chosen.gcs}",
        dashboard_url=f"http://{ports.LOOPBACK}:{chosen.dashboard}",
        serve_host=ports.LOOPBACK,
        serve_port=chosen.serve,
        token_path=files.token,
        temp_dir=head_files.temp_dir_for(cluster_id),
        log_path=files.log,
        ports=chosen,
        started_at=datetime.now(UTC),
        num_cpus=request.num_cpus,
        num_gpus=request.num_gpus,
    )


def _start(state: HeadState, files: HeadFiles) -> HeadState:
    with _deferred_interrupts() as interrupted:
        try:
            head_files.make_temp_dir(state.temp_dir, state.ports)
            # Written before anything is started: whatever happens to this process, `raymi down`
            # knows the mark to search for.
            state.save(files.state)
            process = _launch(state, home=files.home)
            created = processes.create_time(process.pid)
            state = state.model_copy(update={"pid": process.pid, "create_time": created})
            state.save(files.state)
            version = _wait_until_ready(process, state, interrupted)
            state = state.model_copy(update={"ready": True, "ray_version": version})
            state.save(files.state)
        except BaseException:
            _clear_away(state, files)
            raise
    return state


def _launch(state: HeadState, *, home: Path) -> subprocess.Popen[bytes]:
    python = Path(sys.executable)
    with state.log_path.open("wb") as log:
        process = subprocess.Popen(
            start_command(state, python=python),
            env=daemon_environment(state, inherited=os.environ, home=home, python=python),
            cwd=state.temp_dir,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Its own session: it outlives this command, and a Ctrl-C in the terminal is ours
            # alone to handle.
            start_new_session=True,
        )
    _started.append(process)
    return process


def _wait_until_ready(
    process: subprocess.Popen[bytes], state: HeadState, interrupted: threading.Event
) -> str:
    api = HeadApi(state)
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        if interrupted.is_set():
            raise KeyboardInterrupt
        if process.poll() is not None:
            raise RaymiError(
                "the local head did not start",
                why=f"`ray start` ended with exit code {process.returncode}; its last lines:\n    "
                + head_files.last_words(state.log_path, state.temp_dir),
                fix=f"read {state.log_path}",
            )
        try:
            version = api.ray_version()
            api.require_agent()
            api.require_node()
        except UnreachableError as error:
            why = f"{error.what}: {error.why}"
        else:
            return version
        if time.monotonic() > deadline:
            raise UnreachableError(
                f"the local head was not ready after {START_TIMEOUT_S:.0f} s",
                why=f"{why}; last lines of its log:\n    "
                + head_files.last_words(state.log_path, state.temp_dir),
                fix=f"read {state.log_path}; is the machine out of memory or very busy?",
            )
        time.sleep(_POLL_INTERVAL_S)


def _clear_away(head: HeadIdentity, files: HeadFiles) -> None:
    """End every process of a head, check its ports, delete its files; the state file last."""
    if processes.is_inside(head.cluster_id):
        raise ConflictError(
            "this command runs inside the cluster that it should stop",
            why="it is part of a job on the local head",
            fix="run it from a shell of yours",
        )
    held = {port for _, port in processes.listening(processes.owned_by(head.cluster_id))}
    survivors = processes.stop_owned(head.cluster_id)
    if survivors:
        raise RaymiError(
            "some processes of the local head cannot be ended",
            why="they survived SIGKILL: " + ", ".join(str(one.pid) for one in survivors),
            fix="they wait for a device or a disk; when that is over, `raymi down` again",
        )
    _require_released(held)
    if head.temp_dir.parent == head_files.temp_root():
        shutil.rmtree(head.temp_dir, ignore_errors=True)
    files.state.unlink(missing_ok=True)


def _require_released(held: set[int]) -> None:
    deadline = time.monotonic() + _PORT_RELEASE_WAIT_S
    while taken := ports.listened_to(held):
        if time.monotonic() > deadline:
            raise RaymiError(
                f"ports of the local head still have a listener: {', '.join(map(str, taken))}",
                why=ports.holder_of(taken[0]),
                fix="if that process came from a job of yours, end it; then `raymi down` again",
            )
        time.sleep(_POLL_INTERVAL_S)


def _require_as_asked(request: HeadRequest, state: HeadState) -> None:
    for option, asked, actual in (
        ("--dashboard-port", request.dashboard_port, state.ports.dashboard),
        ("--serve-port", request.serve_port, state.serve_port),
        ("--grpc-port", request.grpc_port, state.ports.grpc),
        ("--num-cpus", request.num_cpus, state.num_cpus),
        ("--num-gpus", request.num_gpus, state.num_gpus),
    ):
        if asked is not None and asked != actual:
            raise ConflictError(
                f"a local head is already up, with {option} {actual}, not {asked}",
                why="a running head cannot be changed",
                fix="`raymi down`, then `raymi up` again; running jobs are lost",
            )


@contextmanager
def _deferred_interrupts() -> Iterator[threading.Event]:
    """Note Ctrl-C, SIGTERM and SIGHUP instead of dying of them halfway through a change."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    earlier = {number: signal.signal(number, lambda *_: interrupted.set()) for number in signals}
    try:
        yield interrupted
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
