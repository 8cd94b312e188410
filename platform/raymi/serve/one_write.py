"""HTTP answers that leave in one packet, headers and body together.

uvicorn writes an answer's headers, then its body. The event loop passes each on at once, so that
whoever stands before the replica (HAProxy, then its client) is woken twice for an answer. What is
written within one turn of the loop is held back until the answer is complete, or the turn is over.

Serve offers no way to choose uvicorn's protocol; this one takes the place of the one that uvicorn
chooses itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_HELD_BYTES = 1 << 16
"""Copying more than this costs more than another packet."""


def use_for_answers() -> None:
    """Let every uvicorn server that starts in this process answer like this.

    Where uvicorn has chosen another protocol than the one that is extended here, nothing changes.
    """
    if auto.AutoHTTPProtocol is HttpToolsProtocol:
        auto.AutoHTTPProtocol = OneWriteProtocol


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's protocol, whose transport holds back what is not a whole answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        super().connection_made(HoldingTransport(transport, self.loop))  # type: ignore[arg-type]

    def on_response_complete(self) -> None:
        """Called by uvicorn once it has written the last of an answer."""
        self.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()


class HoldingTransport:
    """A transport that passes on what was written once it is told to, or this turn is over."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Hold nothing yet."""
        self._transport = transport
        self._loop = loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's own."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write soon."""
        if len(data) > _MOST_HELD_BYTES:
            self.flush()
            self._transport.write(data)
        elif self._held:
            self._held += data
        else:
            self._held = data
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Pass on what is held."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def close(self) -> None:
        """Close once everything is written."""
        self.flush()
        self._transport.close()
