"""The tree keeps the shape the README promises."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "platform" / "raymi"
MODULES = sorted(p for p in PACKAGE.rglob("*.py"))
SCRIPTS = sorted([*(ROOT / "jobs").rglob("*.py"), *(ROOT / "serve_apps").rglob("*.py")])

MAX_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_DEPTH = 3
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "manager"}
TOP_LEVEL = {"platform", "jobs", "serve_apps", "cluster", "tests"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def test_platform_does_not_shadow_the_standard_library():
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert not (ROOT / "tests" / "platform").exists()
    assert not (ROOT / "tests" / "ray").exists()


def test_there_is_no_other_visible_top_level_directory():
    visible = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")}

    assert visible <= TOP_LEVEL


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=name_of)
def test_a_module_opens_with_one_sentence_of_purpose(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))

    assert docstring, "say in one sentence what this file is for"
    assert docstring.splitlines()[0].endswith(".")


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=name_of)
def test_a_module_is_short_and_so_are_its_functions(path):
    source = path.read_text()

    too_long = [
        function.name
        for function in functions(ast.parse(source))
        if function.end_lineno - function.lineno >= MAX_FUNCTION_LINES
    ]

    assert len(source.splitlines()) <= MAX_LINES
    assert not too_long


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_has_a_real_name_of_its_own(path):
    assert len(path.relative_to(PACKAGE).parts) <= MAX_DEPTH
    assert path.stem not in VAGUE_NAMES
    assert path.stem not in sys.stdlib_module_names


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=name_of)
def test_nothing_loads_a_pickle(path):
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    } | {
        (node.module or "").partition(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
    }
    loads_torch_files = "torch.load(" in path.read_text()

    assert not imported & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    assert not loads_torch_files
