"""Where and with what a run happens: code, environment, hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from raymi.accelerators.catalog import Accelerator
from raymi.train.result import Provenance

_GIB = 1 << 30


def collect_provenance(accelerator: Accelerator, *, code_package: str | None) -> Provenance:
    """Look around now. Costs some tens of milliseconds."""
    return Provenance(
        git_commit=_git_commit(Path.cwd()) or _git_commit(Path(__file__).parent),
        code_package=code_package,
        environment={
            "python": platform.python_version(),
            **{
                distribution.name: distribution.version
                for distribution in sorted(metadata.distributions(), key=lambda d: d.name.lower())
                if distribution.name
            },
        },
        hardware=_hardware(accelerator),
        started_at=datetime.now(UTC),
    )


def _hardware(accelerator: Accelerator) -> dict[str, Any]:
    return {
        "accelerator": accelerator.name,
        "architecture": accelerator.architecture,
        "cpu": _cpu_model(),
        "num_cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / _GIB, 1),
        "os": platform.platform(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _git_commit(directory: Path) -> str | None:
    try:
        commit = _git(directory, "rev-parse", "HEAD")
        dirty = _git(directory, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+dirty" if dirty else commit


def _git(directory: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(directory), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    ).stdout.strip()
