"""Somebody's own network class travels with its bundle and runs from the verified file there."""

import sys
from pathlib import Path

import pytest
import torch

from raymi.errors import IntegrityError, SpecError
from raymi.models.architecture import Architecture
from raymi.models.own_code import check_travels_alone
from raymi.registry.bundle import load_bundle
from raymi.store.artifacts import verify

NET = """
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Width:
    value: int


class Net(nn.Module):
    def __init__(self, preprocessing, width=4):
        super().__init__()
        self.width = Width(width)
        self.head = nn.Linear(3 * len(preprocessing.numbers), preprocessing.num_outputs)

    def forward(self, inputs):
        return self.head(inputs["numbers"])
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module outside of every package, importable while the test runs."""
    folder = tmp_path / "src"
    folder.mkdir()
    path = folder / "strange_network.py"
    path.write_text(NET)
    monkeypatch.syspath_prepend(folder)
    yield path
    sys.modules.pop("strange_network", None)


@pytest.fixture
def version(make_run, enrol, own_module):
    architecture = Architecture(name="strange_network:Net", arguments={"width": 5})
    return enrol(make_run(architecture=architecture))


def test_the_class_is_loaded_from_the_bundle_and_not_from_where_it_was(version, own_module):
    own_module.unlink()
    sys.modules.pop("strange_network")

    predictor = load_bundle(Path(version.path)).predictor(torch.device("cpu"))

    assert predictor.device.type == "cpu"
    assert "strange_network" not in sys.modules


def test_loading_leaves_the_bundle_as_it_was_published(version):
    load_bundle(Path(version.path)).predictor(torch.device("cpu"))

    assert verify(Path(version.path)) == version.fingerprint


def test_changed_code_is_refused_before_it_runs(version, tmp_path):
    code = Path(version.path) / "code" / "strange_network.py"
    witness = tmp_path / "witness"
    code.write_text(f"open({str(witness)!r}, 'w')\n{NET}")

    with pytest.raises(IntegrityError, match="strange_network"):
        load_bundle(Path(version.path))

    assert not witness.exists()


@pytest.mark.parametrize(
    "line", ["from . import layers", "from jobs.mine import layers", "import layers"]
)
def test_a_file_that_needs_its_neighbours_cannot_travel(tmp_path, line):
    (tmp_path / "layers.py").write_text("")
    path = tmp_path / "problem.py"
    path.write_text(f"import torch\n{line}\n")

    with pytest.raises(SpecError, match=r"problem\.py:2: imports"):
        check_travels_alone(path, "jobs.mine.problem")


def test_a_file_that_needs_installed_packages_can_travel(tmp_path):
    path = tmp_path / "problem.py"
    path.write_text("import math\nfrom torch import nn\nfrom raymi.train.problem import Problem\n")

    check_travels_alone(path, "jobs.mine.problem")
