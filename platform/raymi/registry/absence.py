"""What to say when a model, a version or an alias is not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from raymi.errors import NotFoundError
from raymi.registry.version import Alias
from raymi.specs.paths import closest

_TRAIN_COMMAND = "python jobs/train.py jobs/digits/train.yaml"


def no_model(name: str, known: Iterable[str]) -> NotFoundError:
    """There is no model of this name."""
    names = sorted(known)
    return NotFoundError(
        f"model {name}: not registered",
        why=f"the registry has {', '.join(names)}" if names else "the registry is empty",
        fix=closest(name, names) if names else f"train one: `{_TRAIN_COMMAND}`",
    )


def no_version(name: str, version: int, known: Sequence[int]) -> NotFoundError:
    """The model has no version of this number."""
    return NotFoundError(
        f"model {name}@{version}: no such version",
        why=f"{name} has versions {', '.join(map(str, known))}",
        fix=f"list them: `raymi models {name}`",
    )


def no_alias(name: str, alias: str) -> NotFoundError:
    """The model has versions, but none is called this."""
    fixes = {
        Alias.CHAMPION: f"`raymi promote {name}@candidate`",
        Alias.PREVIOUS: "promote a second version first",
    }
    return NotFoundError(
        f"model {name}@{alias}: there is no {alias}",
        why="no version was promoted yet"
        if alias == Alias.CHAMPION
        else f"no version of {name} has this alias yet",
        fix=fixes.get(Alias(alias), f"list them: `raymi models {name}`"),
    )
