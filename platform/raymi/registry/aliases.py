"""How aliases move: pure functions from the aliases before to the aliases after."""

from __future__ import annotations

import re
from collections.abc import Mapping

from raymi.errors import ConflictError, SpecError
from raymi.registry.version import Alias

Aliases = Mapping[str, int]
"""Alias -> version."""


def after_registration(aliases: Aliases, version: int) -> dict[str, int]:
    """The newest version is the candidate."""
    return {**aliases, Alias.CANDIDATE: version}


def after_promotion(aliases: Aliases, version: int) -> dict[str, int]:
    """The version becomes champion, and the champion before it `previous`.

    Promoting the champion again changes nothing: `previous` must stay a way back.
    """
    champion = aliases.get(Alias.CHAMPION)
    if champion == version:
        return dict(aliases)
    moved = {**aliases, Alias.CHAMPION: version}
    return moved if champion is None else {**moved, Alias.PREVIOUS: champion}


def after_rollback(aliases: Aliases, *, name: str) -> dict[str, int]:
    """Champion and previous change places, so a second rollback undoes the first.

    Raises:
        ConflictError: Nothing was champion before the champion.
    """
    champion, previous = aliases.get(Alias.CHAMPION), aliases.get(Alias.PREVIOUS)
    if champion is None or previous is None:
        raise ConflictError(
            f"rollback {name}: there is no previous champion",
            why="no version was promoted yet"
            if champion is None
            else f"{name}@{champion} is the first version that was promoted",
            fix=f"`raymi promote {name}@VERSION` makes any version champion",
        )
    return {**aliases, Alias.CHAMPION: previous, Alias.PREVIOUS: champion}


def parse_reference(reference: str) -> tuple[str, int | str]:
    """Split `digits@champion` or `digits@3` into a name and an alias or version.

    Raises:
        SpecError: It is neither.
    """
    name, _, wanted = reference.partition("@")
    if name and re.fullmatch(r"[1-9][0-9]{0,8}", wanted):
        return name, int(wanted)
    if name and wanted in set(Alias):
        return name, wanted
    raise SpecError(
        f"{reference}: not a model reference",
        why=f"after the @ comes a version number, or one of {', '.join(Alias)}",
        fix=f"for example {name or 'digits'}@champion or {name or 'digits'}@1",
    )
