"""An answer leaves in one write, and nothing that somebody waits for is held back."""

import asyncio

import uvicorn
from uvicorn.protocols.http import auto
from uvicorn.server import ServerState

from raymi.serve.one_write import OneWriteProtocol, use_for_answers

REQUEST = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"


class RecordingTransport(asyncio.Transport):
    """Remembers what it was told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def write(self, data):
        self.told.append(data)

    def close(self):
        self.told.append("close")

    def is_closing(self):
        return "close" in self.told

    def pause_reading(self):
        self.told.append("pause")

    def resume_reading(self):
        self.told.append("resume")


def answer_with(*pieces, until=None):
    """An application that answers with these pieces; it waits before the last one."""

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in pieces[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if until is not None:
            await until.wait()
        await send({"type": "http.response.body", "body": pieces[-1]})

    return application


async def connect(application):
    """A connection to a server with one application."""
    config = uvicorn.Config(application, http=OneWriteProtocol, lifespan="off", log_config=None)
    config.load()
    transport = RecordingTransport()
    protocol = OneWriteProtocol(config=config, server_state=ServerState(), app_state={})
    protocol.connection_made(transport)
    return protocol, transport


async def settle():
    """Let everything happen that does not wait for something else."""
    for _ in range(20):
        await asyncio.sleep(0)


def told_after(packets, application):
    async def converse():
        protocol, transport = await connect(application)
        for packet in packets:
            protocol.data_received(packet)
            await settle()
        return transport.told

    return asyncio.run(converse())


def test_headers_and_body_are_one_write():
    [written] = told_after([REQUEST], answer_with(b"hello"))

    assert written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"hello" in written


def test_every_request_of_a_connection_has_a_write_of_its_own():
    assert len(told_after([REQUEST, REQUEST, REQUEST], answer_with(b"hello"))) == 3


def test_answers_to_requests_that_came_in_one_packet_stay_in_order():
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    together = REQUEST.replace(b"/ ", b"/first ") + REQUEST.replace(b"/ ", b"/second ")
    told = told_after([together], application)
    written = b"".join(each for each in told if isinstance(each, bytes))

    assert written.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert 0 < written.index(b"/first") < written.index(b"/second")


def test_the_beginning_of_a_long_answer_does_not_wait_for_its_end():
    async def converse():
        done = asyncio.Event()
        protocol, transport = await connect(answer_with(b"first", b"last", until=done))
        protocol.data_received(REQUEST)
        await settle()
        before = list(transport.told)
        done.set()
        await settle()
        return before, transport.told[len(before) :]

    before, after = asyncio.run(converse())

    assert b"first" in b"".join(before)
    assert b"last" in b"".join(after)


def test_a_large_body_is_not_copied():
    # Chunks have their length around them, so this one says how long it is.
    body = bytes(1 << 20)

    async def application(scope, receive, send):
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})

    headers, sent = told_after([REQUEST], application)

    assert headers.startswith(b"HTTP/1.1 200 OK\r\n")
    assert sent is body


def test_a_refusal_is_written_before_the_connection_closes():
    [written, closed] = told_after([b"no http at all\r\n\r\n"], answer_with(b"hello"))

    assert written.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert closed == "close"


def test_servers_that_let_uvicorn_choose_answer_like_this(monkeypatch):
    monkeypatch.setattr(auto, "AutoHTTPProtocol", auto.AutoHTTPProtocol)
    use_for_answers()
    config = uvicorn.Config(answer_with(b"hello"), lifespan="off", log_config=None)

    config.load()

    assert config.http_protocol_class is OneWriteProtocol


def test_a_choice_that_is_not_known_here_is_left_as_it_is(monkeypatch):
    class Other(asyncio.Protocol):
        pass

    monkeypatch.setattr(auto, "AutoHTTPProtocol", Other)
    use_for_answers()

    assert auto.AutoHTTPProtocol is Other
