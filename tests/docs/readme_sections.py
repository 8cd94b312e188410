"""The parts of documents that are printed from the code; `make docs` rewrites them."""

import ast
import re
import sys
from pathlib import Path

from raymi.lifecycle import STAGES
from raymi.train.failure import CONSEQUENCES

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TRAINING = ROOT / "platform" / "TRAINING.md"
PACKAGE = ROOT / "platform" / "raymi"


def sections() -> dict[tuple[Path, str], str]:
    """Document and marker name -> the text between its markers."""
    return {
        (README, "stages"): _stages(),
        (README, "map"): _map(),
        (TRAINING, "failures"): _failures(),
    }


def section(text: str, name: str) -> str:
    """What stands between two markers in a document."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", text, flags=re.DOTALL)
    if found is None:
        raise LookupError(f"there is no section {name}")
    return found.group(1)


def rewrite() -> None:
    """Bring every document up to date."""
    for (path, name), content in sections().items():
        text = path.read_text()
        path.write_text(
            text.replace(f"<!-- {name} -->\n{section(text, name)}", f"<!-- {name} -->\n{content}")
        )


def _stages() -> str:
    rows = [
        f"| `{stage.name}` | {stage.question} | {', '.join(stage.takes)} | {stage.gives} |"
        for stage in STAGES
    ]
    return "\n".join(["| stage | question | takes | gives |", "|---|---|---|---|", *rows]) + "\n"


def _failures() -> str:
    rows = [
        f"| `{reason.value}` | {consequence.sentence} | {consequence.policy.value} "
        f"| {consequence.fix} |"
        for reason, consequence in CONSEQUENCES.items()
    ]
    head = ["| reason | what happened | policy | what to try |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


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
    sys.stdout.write("the documents are up to date\n")
