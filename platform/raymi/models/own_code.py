"""Somebody's own network class: its file travels with the bundle and runs from there."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from raymi.errors import SpecError
from raymi.models.architecture import Architecture


def source_of(architecture: Architecture) -> Path | None:
    """The file that defines an architecture named `module:Class`; None for the catalog's.

    Raises:
        SpecError: The module has no file of its own, or needs files that would stay behind.
    """
    module_name, colon, _ = architecture.name.partition(":")
    if not colon:
        return None
    path = importlib.import_module(module_name).__file__
    if path is None or Path(path).suffix != ".py":
        raise SpecError(
            f"model: {architecture.name} cannot travel",
            why=f"{module_name} is not one Python file",
            fix="move the class into the problem's own file",
        )
    check_travels_alone(Path(path), module_name)
    return Path(path)


def check_travels_alone(path: Path, module_name: str) -> None:
    """Refuse a file that imports its neighbours: only the file itself goes into the bundle.

    Raises:
        SpecError: Naming the line and the import.
    """
    package = module_name.partition(".")[0]
    for name, line in _imports(ast.parse(path.read_bytes(), str(path))):
        top = name.partition(".")[0]
        here = (path.parent / f"{top}.py", path.parent / top / "__init__.py")
        if name.startswith(".") or top == package or any(file.is_file() for file in here):
            raise SpecError(
                f"{path}:{line}: imports {name}",
                why="a bundle carries the one file that defines the network, so this import "
                "would fail, or find other code, wherever the model is served",
                fix="move what the network needs into this file, or into an installed package",
            )


def execute(source: bytes, *, path: Path, fingerprint: str) -> ModuleType:
    """Run verified source text as a module that nothing else can import by its old name.

    From text and not through the import system, which would write byte code into the bundle.
    """
    module = ModuleType(f"raymi_bundle_{fingerprint[:16]}_{path.stem}")
    module.__file__ = str(path)
    # Dataclasses look the module of a class up by name.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - verified bytes
    except BaseException:
        del sys.modules[module.__name__]
        raise
    return module


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node.lineno
