"""`ray-cluster.yaml` and its environment agree with the rest of the repository."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from raymi.accelerators.amd_variables import AMD

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / "cluster" / "mi300x.env"

VALIDATE = """
import json, sys, yaml
from ray.autoscaler._private.util import prepare_config, validate_config
config = prepare_config(yaml.safe_load(open(sys.argv[1])))
validate_config(config)
print(json.dumps({"node_types": list(config["available_node_types"]),
                  "max_workers": config["max_workers"]}))
"""


@pytest.fixture(scope="module")
def config() -> dict:
    return yaml.safe_load((ROOT / "ray-cluster.yaml").read_text())


@pytest.fixture(scope="module")
def variables(tmp_path_factory) -> dict[str, str]:
    """What the environment file leaves in a shell that read it as the start commands do."""
    script = f'set -a; . "{ENVIRONMENT}"; set +a; env'
    images = {"ROCR_VISIBLE_DEVICES": "0", "RAY_EXPERIMENTAL_NOSET_HIP_VISIBLE_DEVICES": "1"}
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        env={"PATH": os.defpath, **images},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def start_commands(config) -> list[str]:
    return [config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]]


def test_rays_own_validation_accepts_it(config):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", VALIDATE, ROOT / "ray-cluster.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["node_types"] == ["local.cluster.node"]
    assert found["max_workers"] == len(config["provider"]["worker_ips"])


def test_its_addresses_are_only_examples(config):
    addresses = [config["provider"]["head_ip"], *config["provider"]["worker_ips"]]

    assert all(address.startswith("192.0.2.") for address in addresses)


def test_the_package_is_installed_from_the_checkout_with_the_tested_versions(config):
    [install] = [command for command in config["setup_commands"] if "--editable" in command]

    assert config["file_mounts"]["~/raymi"] == "."
    assert "--constraint ~/raymi/constraints.txt --editable ~/raymi" in install


def test_the_tested_ray_is_one_that_the_package_accepts():
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    accepted = re.search(r'"ray\[[^]]*\]>=(\S+),<([^"]+)"', (ROOT / "pyproject.toml").read_text())

    low, version, high = (
        tuple(map(int, text.split("."))) for text in (accepted[1], pinned[1], accepted[2])
    )

    assert low <= version < high


def test_every_ray_is_started_with_the_environment_file(config):
    assert all(". ~/raymi/cluster/mi300x.env" in command for command in start_commands(config))


def test_authentication_is_on_and_the_token_reaches_every_host(config, variables):
    assert variables["RAY_AUTH_MODE"] == "token"
    assert "~/.ray/auth_token" in config["file_mounts"]


def test_the_dashboard_listens_on_loopback(config):
    assert "--dashboard-host=127.0.0.1" in start_commands(config)[0]


def test_the_autoscaler_is_the_one_that_starts_workers_of_this_provider(config):
    assert "RAY_enable_autoscaler_v2=0" in start_commands(config)[0]


def test_workers_join_at_the_port_the_head_opens(config):
    head, worker = start_commands(config)

    assert "--port=6379" in head
    assert "--address=$RAY_HEAD_IP:6379" in worker


def test_no_variable_hides_devices_from_ray(variables):
    hiding = {
        "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "CUDA_VISIBLE_DEVICES",
        "RAY_EXPERIMENTAL_NOSET_HIP_VISIBLE_DEVICES",
    }

    assert not hiding & set(variables)


def test_hosts_and_runs_agree_about_the_values_that_both_set(variables):
    both = {variable.name: variable.value for variable in AMD if variable.name in variables}

    assert len(both) >= 3
    assert {name: variables[name] for name in both} == both


def test_every_variable_is_preceded_by_its_reason():
    lines = ENVIRONMENT.read_text().splitlines()
    starts = [i for i, line in enumerate(lines) if line and not line.startswith("#")]
    blocks = [i for i in starts if i - 1 not in starts]

    assert all(lines[i - 1].startswith("# ") for i in blocks)


def test_there_is_no_secret_in_either_file():
    text = (ROOT / "ray-cluster.yaml").read_text() + ENVIRONMENT.read_text()

    assert not re.search(r"[0-9a-f]{32}|BEGIN [A-Z ]*PRIVATE KEY|AUTH_TOKEN=", text)
