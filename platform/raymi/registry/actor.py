"""Who is doing something, for the record."""

from __future__ import annotations

import getpass
import os


def current_user() -> str:
    """The user this process runs as; a container may give its user no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
