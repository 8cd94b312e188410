"""What answers compiled is not compiled again because another backend is opened beside it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from raymi.accelerators.catalog import CPU
from raymi.errors import CapabilityError, IntegrityError
from raymi.registry.bundle import load_bundle
from raymi.serve.backends.build_elsewhere import build_elsewhere
from raymi.serve.backends.catalog import available, open_backend, probe
from raymi.serve.rows import example_row, parse_rows
from raymi.specs.backend import BackendName, ServingPrecision
from tests.integration.serving.served_models import register_model

DEVICE = torch.device("cpu")
MAX_BATCH_SIZE = 40
FP32 = ServingPrecision.FP32
OTHERS = [
    (a.backend, a.precision)
    for a in available(probe(CPU))
    if a.reason is None and a.backend is not BackendName.COMPILE
]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYMI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAYMI_STORE", raising=False)
    version = register_model(tmp_path, seed=1)
    return load_bundle(Path(version.path), fingerprint=version.fingerprint)


def num_compiled():
    """Graphs that PyTorch's compiler has made in this process so far."""
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def inputs_of(bundle, num_rows):
    rows = parse_rows([example_row(bundle.signature)] * num_rows, bundle.signature, max_rows=99)
    arrays = bundle.preprocessing.encode(pa.Table.from_batches([rows]))
    return bundle.preprocessing.prepare(arrays)


def test_opening_every_other_backend_leaves_what_is_compiled(bundle, tmp_path):
    def opened(backend, precision):
        return open_backend(
            bundle, backend, precision, num_threads=1, device=DEVICE, cache_dir=tmp_path / "made"
        )

    answering = opened(BackendName.COMPILE, FP32)
    expected = answering.run(inputs_of(bundle, 3))
    before = num_compiled()

    others = [opened(*way) for way in OTHERS]
    for num_rows in range(1, MAX_BATCH_SIZE + 1):
        answering.run(inputs_of(bundle, num_rows))

    assert before > 0
    assert num_compiled() == before
    for other in others:
        if other.precision is FP32:
            np.testing.assert_allclose(other.run(inputs_of(bundle, 3)), expected, atol=1e-5)


def test_a_bundle_that_was_damaged_is_the_same_error_as_here(bundle, tmp_path):
    (bundle.directory / "bundle.json").write_text("{}")

    with pytest.raises(IntegrityError, match=r"bundle\.json"):
        build_elsewhere(bundle, BackendName.AOT, FP32, device=DEVICE, path=tmp_path / "network.pt2")


def test_what_takes_too_long_is_given_up_and_says_so(bundle, tmp_path):
    path = tmp_path / "network.pt2"

    with pytest.raises(CapabilityError, match=r"not done after 0\.01 s") as refused:
        build_elsewhere(bundle, BackendName.AOT, FP32, device=DEVICE, path=path, timeout_s=0.01)

    assert "eager" in refused.value.fix
    assert not path.exists()


@pytest.mark.drill
def test_the_process_ends_with_the_one_that_started_it(bundle, tmp_path):
    request = {
        "bundle": str(bundle.directory),
        "fingerprint": bundle.fingerprint,
        "backend": "aot",
        "precision": "fp32",
        "device": "cpu",
        "path": str(tmp_path / "network.pt2"),
        "num_threads": 1,
    }
    module = "raymi.serve.backends.build_elsewhere"
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    # Closes its input, as the end of this process would.
    process.communicate(json.dumps(request).encode() + b"\n", timeout=60)

    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "network.pt2").exists()
