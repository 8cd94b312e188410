"""Run a script as on a machine that has numpy and onnxruntime and nothing else.

    python -I bare_process.py run.py rows.json

Every other package is refused when it is imported, however it got into this environment.
"""

from __future__ import annotations

import importlib.abc
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType

ALLOWED = ("numpy", "onnxruntime")


class OnlyAllowed(importlib.abc.MetaPathFinder):
    """Refuses what is neither of the standard library nor allowed."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the interface's
        target: ModuleType | None = None,  # noqa: ARG002 - the interface's
    ) -> None:
        """Leave what is allowed to the usual finders.

        Raises:
            ModuleNotFoundError: It is not.
        """
        top = fullname.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ALLOWED:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


if __name__ == "__main__":
    sys.meta_path.insert(0, OnlyAllowed())
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
