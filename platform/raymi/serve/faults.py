"""The log's line about a fault of ours: its kind and place, never a value of the request."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

_NUM_FRAMES = 6

_log = logging.getLogger("ray.serve")


def tell(error: Exception, request_id: str) -> None:
    """Log a fault by kind and place, not its text, which may hold a request's values."""
    places = " < ".join(
        f"{frame.name} ({Path(frame.filename).name}:{frame.lineno})"
        for frame in reversed(traceback.extract_tb(error.__traceback__)[-_NUM_FRAMES:])
    )
    _log.error("request %s failed: %s in %s", request_id, type(error).__name__, places)
