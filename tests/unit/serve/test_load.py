"""A load arrives when it should, and what came back is counted as it was."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.errors import DataError
from raymi.serve.load.arrivals import poisson, read_trace, replay
from raymi.serve.load.generator import closed_loop, open_loop
from raymi.serve.load.message import parse_answer, request_bytes

REQUEST = request_bytes("/predict", b'{"rows": []}', content_type="application/json")


class Handler(BaseHTTPRequestHandler):
    """Answers what the server is told to."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        status = self.server.next_status()
        if status == 0:  # hang up without a word
            self.close_connection = True
            return
        body = b"x" * 10
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if self.server.closes:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, statuses, *, closes=False):
        super().__init__(("127.0.0.1", 0), Handler)
        self._statuses, self._lock, self.count = list(statuses), threading.Lock(), 0
        self.closes = closes

    def next_status(self):
        with self._lock:
            self.count += 1
            return self._statuses[(self.count - 1) % len(self._statuses)]


@pytest.fixture
def serve():
    servers = []

    def start(*statuses, closes=False):
        server = Server(statuses, closes=closes)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def port_of(server):
    return server.server_address[1]


def test_a_closed_loop_counts_every_answer(serve):
    server = serve(200)

    outcome = closed_loop(port_of(server), [REQUEST], num_connections=4, duration_s=0.3)

    assert 0 < len(outcome.latencies_s) <= server.count <= len(outcome.latencies_s) + 4
    assert outcome.good_per_s == pytest.approx(len(outcome.latencies_s) / outcome.duration_s)
    assert (outcome.failed, outcome.lost) == (0, 0)


def test_an_open_loop_sends_each_request_once(serve):
    server = serve(200)

    outcome = open_loop(port_of(server), [REQUEST], np.linspace(0.0, 0.3, 50), timeout_s=5.0)

    assert (server.count, outcome.statuses) == (50, {200: 50})


def test_answers_are_told_apart_by_their_status(serve):
    server = serve(200, 503, 429, 500)

    outcome = open_loop(port_of(server), [REQUEST], np.linspace(0.0, 0.2, 40), timeout_s=5.0)

    assert outcome.statuses == {200: 10, 503: 10, 429: 10, 500: 10}
    assert (outcome.failed, len(outcome.rejected_latencies_s)) == (10, 20)
    assert outcome.first_fault.startswith(b"HTTP/1.1 500")


def test_a_connection_that_the_server_closes_after_an_answer_costs_nothing(serve):
    server = serve(200, closes=True)

    outcome = open_loop(port_of(server), [REQUEST], np.linspace(0.0, 0.2, 20), timeout_s=5.0)

    assert (outcome.statuses, outcome.failed) == ({200: 20}, 0)


def test_a_server_that_hangs_up_on_a_new_connection_has_lost_a_request(serve):
    server = serve(0)

    outcome = open_loop(port_of(server), [REQUEST], np.linspace(0.0, 0.1, 5), timeout_s=2.0)

    assert (outcome.lost, outcome.failed) == (5, 5)


def test_without_a_server_there_is_no_load():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(OSError):
            closed_loop(unused.getsockname()[1], [REQUEST], num_connections=1, duration_s=0.1)


@given(cut=st.integers(0, 60))
def test_an_answer_is_complete_when_its_last_byte_is_there(cut):
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nserver: x\r\n\r\nhello"

    answer = parse_answer(whole[:cut])

    assert (answer is None) == (cut < len(whole))


def test_a_poisson_load_has_its_rate_and_no_memory():
    arrivals = poisson(200.0, 50.0, seed=3)
    gaps = np.diff(arrivals)

    # Four standard deviations of a Poisson count of 10,000.
    assert len(arrivals) == pytest.approx(10_000, abs=400)
    # Exponential gaps: as wide as they are long.
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)


@given(
    gaps=st.lists(st.floats(0.001, 10.0), min_size=2, max_size=50),
    rate=st.floats(0.5, 50.0),
)
def test_a_replayed_trace_has_the_rate_that_was_asked_for(gaps, rate):
    times = np.cumsum(gaps)

    arrivals = replay(times, rate_per_s=rate, duration_s=1000.0 / rate)

    # A whole number of rounds and a part of one more.
    assert len(arrivals) == pytest.approx(1000, abs=len(gaps) + 1)
    assert (np.diff(arrivals) >= 0).all()


def test_bursts_of_a_trace_keep_their_shape():
    times = np.array([0.0, 0.1, 0.2, 10.0, 10.1])

    arrivals = replay(times, rate_per_s=len(times) / 25.0, duration_s=20.0)

    gaps = np.diff(arrivals)
    np.testing.assert_allclose(gaps / gaps[0], np.diff(times) / 0.1, rtol=1e-6)


def test_a_trace_file_may_hold_time_stamps_or_numbers(tmp_path):
    stamps, numbers = tmp_path / "stamps.csv", tmp_path / "numbers.csv"
    stamps.write_text("T,N\n2023-11-16 18:17:03.9799600,1\n2023-11-16 18:17:05.0000000,2\n")
    numbers.write_text("t\n0.5\n2\n")

    assert np.diff(read_trace(stamps))[0] == pytest.approx(1.02004, abs=1e-4)
    assert read_trace(numbers).tolist() == [0.5, 2.0]


def test_a_trace_without_times_is_refused_with_its_line(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("t\n1\nsoon\n")

    with pytest.raises(DataError, match=r"trace\.csv:3"):
        read_trace(path)
    with pytest.raises(DataError, match="cannot be replayed"):
        replay([1.0], rate_per_s=1.0, duration_s=1.0)
