"""The README tells the truth: its map is the tree, its commands exist, its links lead somewhere."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raymi.cli.main import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "cluster" / "README.md",
    ROOT / "jobs" / "README.md",
    ROOT / "serve_apps" / "README.md",
    ROOT / "platform" / "TRAINING.md",
]

_path = ROOT / "tests" / "docs" / "readme_sections.py"
_spec = importlib.util.spec_from_file_location("readme_sections", _path)
readme_sections = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(readme_sections)


def raymi_commands() -> list[list[str]]:
    """Every `$ raymi ...` line of the README, split as a shell would."""
    lines = re.findall(r"^\$ (raymi .*)$", README, flags=re.MULTILINE)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def command_path(words: list[str]) -> list[str]:
    """The words that name the command: `data import` or `check`."""
    return words[:2] if words[0] == "data" else words[:1]


@pytest.mark.parametrize(
    "place", readme_sections.sections(), ids=lambda place: f"{place[0].name}-{place[1]}"
)
def test_a_printed_section_is_up_to_date(place):
    path, name = place

    printed = readme_sections.section(path.read_text(), name)

    assert printed == readme_sections.sections()[place], "run `make docs`"


@pytest.mark.parametrize("words", raymi_commands(), ids=" ".join)
def test_a_command_in_the_readme_exists_with_its_options(words):
    result = CliRunner().invoke(app, [*command_path(words), "--help"], env={"COLUMNS": "200"})

    assert result.exit_code == 0
    assert all(word in result.output for word in words if word.startswith("--"))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^\$ make ([a-z-]+)", README, re.M))))
def test_a_make_target_in_the_readme_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page):
    links = re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_files_named_as_proof_exist():
    named = re.findall(r"`(tests/[\w/.]+)`", README)

    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_refusal_shown_is_the_refusal_given():
    shown = re.search(r"^error: (--set .*\n  why: .*\n  try: .*)$", README, flags=re.MULTILINE)
    (command,) = [words for words in raymi_commands() if "micro_batch_sze" in " ".join(words)]

    result = CliRunner().invoke(app, command)

    assert str(result.exception) == shown.group(1)
