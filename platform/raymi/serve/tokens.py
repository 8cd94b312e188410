"""Bearer tokens of applications: made once, kept for their owner alone, handed out as a path."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from raymi.errors import RaymiError
from raymi.serve.guard import fingerprint

_DIRECTORY = "tokens"
_NUM_BYTES = 32


def token_path(home: Path, application: str) -> Path:
    """Where the token of an application is kept."""
    return home / _DIRECTORY / application


def ensure_token(home: Path, application: str) -> str:
    """Make a token unless there is one, and return its fingerprint.

    Raises:
        RaymiError: The file is there and holds nothing.
    """
    path = token_path(home, application)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(_NUM_BYTES) + "\n")
    return fingerprint(read_token(path))


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        RaymiError: There is none.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RaymiError(
            f"{path}: no token", why=str(error), fix="`raymi deploy --new-token` makes one"
        ) from error
    if not token:
        raise RaymiError(
            f"{path}: no token", why="the file is empty", fix="`raymi deploy --new-token` makes one"
        )
    return token


def forget_token(home: Path, application: str) -> None:
    """Let the next deployment make another one."""
    token_path(home, application).unlink(missing_ok=True)


def bearer(path: Path | None) -> dict[str, str]:
    """The header that carries the token of a file; none for an endpoint that is open."""
    return {} if path is None else {"authorization": f"Bearer {read_token(path)}"}
