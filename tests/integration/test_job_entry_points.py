"""The entry points work as jobs of Ray's own job interface, with nothing but the checkout."""

from __future__ import annotations

import time

import pytest
from ray.job_submission import JobSubmissionClient

from raymi.registry.store import open_store

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

JOB_TIMEOUT_S = 180.0


@pytest.fixture(scope="module")
def run_job(cluster, repository):
    """Submit a command in a copy of the checkout, wait; its details and what it printed."""
    client = JobSubmissionClient(
        cluster.dashboard_url, headers={"Authorization": f"Bearer {cluster.token}"}
    )

    def run_job(entrypoint):
        name = client.submit_job(
            entrypoint=entrypoint, runtime_env={"working_dir": str(repository)}
        )
        deadline_s = time.monotonic() + JOB_TIMEOUT_S
        while not client.get_job_status(name).is_terminal() and time.monotonic() < deadline_s:
            time.sleep(0.2)
        return client.get_job_info(name), client.get_job_logs(name)

    return run_job


def test_a_training_job_registers_a_version(run_job):
    info, log = run_job("python jobs/train.py jobs/digits/train.yaml --set epochs=1")

    assert info.status == "SUCCEEDED", log
    [version] = open_store().list("digits")
    assert f"registered {version.reference} (candidate)" in log


def test_a_wrong_spec_fails_the_job_in_three_lines(run_job):
    info, log = run_job("python jobs/train.py jobs/digits/train.yaml --set epoch=1")

    assert (info.status, info.driver_exit_code) == ("FAILED", 2)
    assert [line.split(":")[0] for line in log.splitlines()[-3:]] == ["error", "  why", "  try"]
    assert "--set epoch=1" in log
