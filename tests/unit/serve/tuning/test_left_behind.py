"""What a killed tuning left on the cluster is known by its owner, who is gone, and taken away."""

import os

import pytest
from typer.testing import CliRunner

from raymi.cli import serving
from raymi.cli.main import app
from raymi.serve.rollout.files import RolloutFiles
from raymi.serve.tokens import ensure_token, token_path
from raymi.serve.tuning.endpoint import Place
from raymi.serve.tuning.left_behind import TUNINGS, Owner, claim, find_left_behind, left_behind
from raymi.serve.tuning.stage import clear_left_behind
from raymi.settings import settings
from tests.unit.serve.rollouts import serving as first_rollout
from tests.unit.serve.test_serve_applications import Dashboard, client_of


def owner(application, *, host="here", pid=1, create_time=1.0):
    return Owner(application=application, host=host, pid=pid, create_time=create_time)


@pytest.mark.parametrize(
    ("deployed", "host", "alive", "expected"),
    [
        (["digits", "tuning-a"], "here", False, ("tuning-a",)),
        (["digits", "tuning-a"], "here", True, ()),
        (["digits", "tuning-a"], "elsewhere", False, ()),
        (["digits"], "here", False, ()),
        (["digits", "tuning-b"], "here", False, ()),
    ],
)
def test_only_what_is_deployed_and_whose_process_here_is_gone_is_left(
    deployed, host, alive, expected
):
    owners = [owner("tuning-a", host=host)]

    assert left_behind(owners, deployed, host="here", is_alive=lambda _: alive) == expected


@pytest.fixture
def tunings(tmp_path, monkeypatch):
    """A tuning of this process, one whose process is gone, and a note that was cut short."""
    monkeypatch.setenv("RAYMI_HOME", str(tmp_path))
    monkeypatch.delenv("RAYMI_STORE", raising=False)
    directory = settings().store_dir / TUNINGS
    for name in ("ours", "theirs", "broken"):
        (directory / name).mkdir(parents=True)
    claim(directory / "ours", "tuning-ours")
    live = Owner.load(directory / "ours" / "owner.json")
    gone = live.model_copy(update={"application": "tuning-theirs", "create_time": 1.0})
    gone.save(directory / "theirs" / "owner.json")
    (directory / "broken" / "owner.json").write_text("{")
    return directory


@pytest.fixture
def dashboard():
    made = Dashboard()
    made.states = ["RUNNING"]
    names = ("digits", "tuning-ours", "tuning-theirs")
    made.applications = {name: {"name": name, "route_prefix": f"/{name}"} for name in names}
    return made


def test_a_pid_that_another_process_has_by_now_is_not_its_owner(tunings):
    assert find_left_behind(tunings, ["tuning-ours", "tuning-theirs"]) == ("tuning-theirs",)
    assert Owner.load(tunings / "theirs" / "owner.json").pid == os.getpid()


def test_the_next_tuning_takes_it_away_with_its_files_and_leaves_the_others(tunings, dashboard):
    here = settings()
    files = RolloutFiles(here.store_dir, "tuning-theirs")
    files.write(first_rollout(1))
    ensure_token(here.home_dir, "tuning-theirs")
    said = []

    place = Place(client_of(dashboard, "s3cret"), None, {}, "tuning-new")
    clear_left_behind(place, tunings, said.append)

    assert list(dashboard.applications) == ["digits", "tuning-ours"]
    assert files.read() is None
    assert not token_path(here.home_dir, "tuning-theirs").exists()
    assert said == ["took away tuning-theirs, which a tuning that was killed had left"]


def test_the_list_of_deployments_mentions_it(tunings, dashboard, monkeypatch):
    cluster = serving.Cluster(client_of(dashboard, "s3cret"), 8000, None)
    monkeypatch.setattr(serving, "find_cluster", lambda: cluster)

    output = CliRunner().invoke(app, ["deployments"], catch_exceptions=False).output

    assert "raymi undeploy tuning-theirs" in " ".join(output.split())
    assert "undeploy tuning-ours" not in output
