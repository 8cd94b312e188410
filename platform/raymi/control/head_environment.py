"""Environment variables of a local head's processes and of a shell that talks to it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from raymi.control.head_state import HeadState
from raymi.control.ports import LOOPBACK, HeadPorts
from raymi.control.processes import CLUSTER_ID

# Variables of the caller's shell that name another cluster, or the place of a process in one.
# A head that inherited them would talk to that cluster, or not start.
_OF_ANOTHER_CLUSTER = frozenset(
    {
        "RAY_ADDRESS",
        "RAY_API_SERVER_ADDRESS",
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN",
        "RAY_AUTH_TOKEN_PATH",
        "RAY_CLIENT_MODE",
        "RAY_CLOUD_INSTANCE_ID",
        "RAY_DASHBOARD_ADDRESS",
        "RAY_FAKE_CLUSTER",
        "RAY_JOB_CONFIG_JSON_ENV_VAR",
        "RAY_JOB_HEADERS",
        "RAY_JOB_ID",
        "RAY_NAMESPACE",
        "RAY_NODE_TYPE_NAME",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING",
        "RAY_RAYLET_PID",
        "RAY_REDIS_ADDRESS",
        "RAY_TMPDIR",
        "RAY_gcs_storage",
        "RAY_gcs_storage_path",
    }
)

# Ray's switch for "one machine only", meant for macOS: every component then binds to loopback
# instead of the host's address (`--node-ip-address=127.0.0.1` alone is replaced by that
# address). Clients must agree, or they look for the head at the host's address.
_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

SHELL_NAMES = (
    "RAY_API_SERVER_ADDRESS",  # read by `ray job`
    "RAY_DASHBOARD_ADDRESS",  # read by `serve`
    "RAY_ADDRESS",  # read by `ray.init` and `ray status`
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN_PATH",
    *_LOOPBACK_ONLY,
)
"""What `shell_variables` sets."""

_TUNING = {
    # Ray gives workers nice 15. The head is there for its workers: a replica that yields to
    # every other process measures the niceness, not the model.
    "RAY_worker_niceness": "0",
    # The environment of a job is the one this head runs in; with `uv run`, Ray would build another.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # A stopped run saves before it ends, and Ray kills it after 3 s unless told otherwise.
    "RAY_JOB_STOP_SIGNAL": "SIGINT",
    "RAY_JOB_STOP_WAIT_TIME_S": "60",
    # How often Train's controller looks at its workers; 2 s by default, which is most of the
    # time of a small run.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "PYTHONUNBUFFERED": "1",
}


_SERVING = {
    # Serve's own proxy is one Python process; HAProxy sends requests straight to the replicas.
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # One event loop a replica, buffered logs, no garbage collection of what lives for ever.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # Requests that reach a replica's port go to its model at once.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "raymi.serve.ingress:middlewares",
    # HAProxy's per-request metrics are parsed in Python; a replica counts its own.
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # A prediction may be asked again: what a replica took and did not answer goes to another.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    # One refused connection and a replica gets no more until it answers a health check again: it is
    # down. With more to lose, one request each would be tried at it.
    "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT": "1",
    "RAY_SERVE_HAPROXY_RETRIES": "3",
    # Only a request that fits can be sent again.
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "65536",
    # Not bounded by default: a request that finds no replica waits for one, but not for ever.
    "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "120",
    # An hour by default: who sends nothing would hold a connection as long.
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "120",
    # A replica that is to go waits until HAProxy knows; half a minute by default, with its memory.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
}

_MOST_HAPROXY_THREADS = 4


def serving_environment(haproxy: Path, ports: HeadPorts, *, python: Path) -> dict[str, str]:
    """What makes Serve fast, and keeps its HAProxy to this cluster and this machine.

    Args:
        haproxy: A directory for HAProxy's files.
        ports: Of the head.
        python: The interpreter; `raymi-haproxy` is beside it.
    """
    return {
        **_SERVING,
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(os.cpu_count() or 1, _MOST_HAPROXY_THREADS)),
        # Serve opens HAProxy's statistics to everybody; this one closes them.
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(python.parent / "raymi-haproxy"),
        # HAProxy's defaults are one path and one port for the whole machine: a second cluster would
        # take over the first one's proxy.
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(haproxy / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.haproxy_stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.haproxy_metrics),
        # These too are the same on every cluster by default: one would ask another's replicas.
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports.first_replica),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports.last_replica),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports.fallback_grpc),
        "RAYMI_GRPC_PORT": str(ports.grpc),
    }


def daemon_environment(
    state: HeadState, *, inherited: Mapping[str, str], home: Path, python: Path
) -> dict[str, str]:
    """What `ray start` and, through it, every daemon, worker and job is started with.

    Args:
        state: The head to be started.
        inherited: The caller's environment. Its other `RAY_*` variables pass through, and
            override the tuning here; identity, safety and places do not.
        home: RAYMI_HOME, absolute, so that jobs use the same store.
        python: The interpreter; `python` in a job's command means it.
    """
    kept = {name: value for name, value in inherited.items() if name not in _OF_ANOTHER_CLUSTER}
    environment = {
        **_TUNING,
        **serving_environment(state.temp_dir / "haproxy", state.ports, python=python),
        **kept,
        # One number for the whole machine unless given: a second cluster would have no metrics.
        "DASHBOARD_METRIC_PORT": str(state.ports.dashboard_metrics),
        "AUTOSCALER_METRIC_PORT": str(state.ports.autoscaler_metrics),
        **_LOOPBACK_ONLY,
        CLUSTER_ID: state.cluster_id,
        "RAYMI_HOME": str(home),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state.token_path),
        # Inherited by workers: without it, Ray Train's placement-group cleaner searches the
        # machine for clusters, and fails when it finds more than one.
        "RAY_ADDRESS": state.gcs_address,
        "RAY_USAGE_STATS_ENABLED": "0",
        # Process titles overwrite the environment that /proc shows; it is how processes of this
        # cluster are recognised.
        "SPT_NOENV": "1",
        "PATH": os.pathsep.join([str(python.parent), kept.get("PATH", os.defpath)]),
    }
    if "RAYMI_STORE" in kept:
        environment["RAYMI_STORE"] = str(Path(kept["RAYMI_STORE"]).expanduser().resolve())
    return environment


def start_command(state: HeadState, *, python: Path) -> list[str]:
    """The command that becomes the head."""
    ports = state.ports
    command = [
        # -P: a directory named `ray` where the caller happens to be is not Ray.
        *(str(python), "-P", "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        f"--temp-dir={state.temp_dir}",
        f"--port={ports.gcs}",
        f"--dashboard-host={LOOPBACK}",
        f"--dashboard-port={ports.dashboard}",
        f"--dashboard-agent-listen-port={ports.agent}",
        f"--ray-client-server-port={ports.client}",
        # Zero: the operating system picks a free port, whatever else runs on this machine.
        *("--min-worker-port=0", "--max-worker-port=0"),
        "--disable-usage-stats",
    ]
    if state.num_cpus is not None:
        command.append(f"--num-cpus={state.num_cpus}")
    if state.num_gpus is not None:
        command.append(f"--num-gpus={state.num_gpus}")
    return command


def shell_variables(state: HeadState) -> dict[str, str]:
    """What a shell needs so that plain `ray job submit`, `serve status` and `ray.init` work."""
    return {
        "RAY_API_SERVER_ADDRESS": state.dashboard_url,
        "RAY_DASHBOARD_ADDRESS": state.dashboard_url,
        "RAY_ADDRESS": state.gcs_address,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(state.token_path),
        **_LOOPBACK_ONLY,
    }


def shell_lines(state: HeadState) -> list[str]:
    """`shell_variables` as lines for a POSIX shell."""
    return [f"export {name}={shlex.quote(text)}" for name, text in shell_variables(state).items()]


def shell_lines_to_forget() -> list[str]:
    """Lines that take `shell_lines` back."""
    return [f"unset {name}" for name in SHELL_NAMES]
