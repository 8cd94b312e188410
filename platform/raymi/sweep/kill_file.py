"""Ends a process as soon as a file appears: how a driver kills what it has no handle of.

Ray asks before it kills, and who is busy does not hear: a trial goes on for ten seconds, and
workers that are starting cannot be stopped at all. A budget that has ended does not wait.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

_LOOK_INTERVAL_S = 0.2


def die_once_there_is(file: Path) -> None:
    """Have this process end once the file is there; Ray ends whatever it owns."""
    threading.Thread(target=_watch, args=(file,), name="kill-file", daemon=True).start()


def _watch(file: Path) -> None:
    while not file.exists():
        time.sleep(_LOOK_INTERVAL_S)
    os._exit(1)
