"""The command line starts fast, and importing a module touches nothing."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "ray"}


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import raymi.specs.job",
        "import raymi.specs.loading",
        "import raymi.cli.main",
        "import raymi.control.local_head",
        "import raymi.data.stage, raymi.data.fitting, raymi.data.loading, raymi.data.intake",
        "from typer.testing import CliRunner\n"
        "from raymi.cli.main import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0",
    ],
    ids=["specs", "loading", "cli", "control", "data", "--help"],
)
def test_neither_torch_nor_ray_is_loaded(code):
    assert not modules_after(code) & HEAVY


def test_specs_need_nothing_heavier_than_pydantic():
    loaded = modules_after("import raymi.specs.job, raymi.specs.loading")

    assert not loaded & {"numpy", "pyarrow", "pandas", "sqlalchemy", "fastapi", "typer", "requests"}


def test_importing_the_package_writes_nothing(tmp_path):
    script = (
        "import importlib, pkgutil, raymi\n"
        "for m in pkgutil.walk_packages(raymi.__path__, 'raymi.'):\n"
        "    if m.name.rpartition('.')[2] not in ('__main__', 'env'):\n"
        "        importlib.import_module(m.name)\n"
    )

    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        check=True,
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert list(tmp_path.iterdir()) == []
