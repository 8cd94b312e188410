"""What `raymi deploy` offers to try can be read, and pasted into a shell."""

import json
import shlex

import pytest

from raymi.cli.serving import _print_deployment
from raymi.serve.stage import Deployment


def deployment(num_pixels):
    return Deployment(
        application="animals",
        endpoint="http://127.0.0.1:8000",
        model="animals",
        version=1,
        fingerprint="0" * 64,
        max_batch_size=16,
        token_path=None,
        rollout="first deployment",
        example={"rows": [{"pixels": [0.5] * num_pixels, "name": "o'brien"}]},
    )


@pytest.mark.parametrize("num_pixels", [3, 784])
def test_the_command_sends_the_example_however_long_it_is(
    num_pixels, capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("RAYMI_HOME", str(tmp_path / "a home"))
    made = deployment(num_pixels)

    _print_deployment(made)

    (command,) = [line for line in capsys.readouterr().out.splitlines() if "curl" in line]
    assert len(command) < 600
    body = shlex.split(command)[-1]
    text = (
        body if not body.startswith("@") else (tmp_path / "a home").joinpath(body[1:]).read_text()
    )
    assert json.loads(text) == made.example
