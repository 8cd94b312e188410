"""The parts of README.md that are printed from the code; `make docs` rewrites them."""

import ast
import re
import sys
from pathlib import Path

from raymi.lifecycle import STAGES

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PACKAGE = ROOT / "platform" / "raymi"


def sections() -> dict[str, str]:
    """Marker name -> the text between its markers."""
    return {"stages": _stages(), "map": _map()}


def section(text: str, name: str) -> str:
    """What stands between two markers in a document."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text, flags=re.DOTALL)
    if found is None:
        raise LookupError(f"README.md has no section {name}")
    return found.group(1)


def rewrite() -> None:
    """Bring README.md up to date."""
    text = README.read_text()
    for name, content in sections().items():
        text = text.replace(
            f"<!-- {name} -->\n{section(text, name)}", f"<!-- {name} -->\n{content}"
        )
    README.write_text(text)


def _stages() -> str:
    rows = [
        f"| `{stage.name}` | {stage.question} | {', '.join(stage.takes)} | {stage.gives} |"
        for stage in STAGES
    ]
    return "\n".join(["| stage | question | takes | gives |", "|---|---|---|---|", *rows]) + "\n"


def _map() -> str:
    entries = [
        (path.name if path.is_file() else f"{path.name}/", _purpose(path))
        for path in sorted(PACKAGE.iterdir(), key=lambda path: (path.is_file(), path.name))
        if path.suffix == ".py" or (path / "__init__.py").is_file()
        if not path.name.startswith("__")
    ]
    lines = [f"  {name:<16} {purpose}" for name, purpose in entries]
    return "\n".join(["```text", "platform/raymi/", *lines, "```"]) + "\n"


def _purpose(path: Path) -> str:
    file = path if path.is_file() else path / "__init__.py"
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    return docstring.splitlines()[0]


if __name__ == "__main__":
    rewrite()
    sys.stdout.write("README.md is up to date\n")
