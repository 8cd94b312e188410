"""The digits train as they did when their golden loss curve was recorded."""

import os
import subprocess
import sys

import pytest

from raymi.accelerators.detect import detect
from raymi.train.baseline import Baseline, compare, record_baseline, require_comparable


@pytest.mark.timeout(240)
def test_the_digits_learn_as_recorded(repository, tmp_path):
    path = repository / f"jobs/digits/baselines/{detect().name}.json"
    if not path.is_file():
        pytest.skip(f"nobody has recorded a baseline of the digits on {path.stem}")
    kept = Baseline.load(path)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    job = [f"--nproc-per-node={kept.num_workers}", "-m", "raymi.train.torchrun"]
    environment = os.environ | {
        "RAYMI_HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(repository / "platform"),
    }
    environment.pop("RAYMI_STORE", None)

    subprocess.run(
        [*torchrun, *job, "jobs/digits/train.yaml"],
        cwd=repository,
        env=environment,
        check=True,
        timeout=200,
    )

    [run_dir] = (tmp_path / "store/runs").iterdir()
    found = record_baseline(run_dir)
    require_comparable(kept, found)
    assert compare(kept, found) == ()
