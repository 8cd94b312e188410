"""A short way in: requests that reach a replica's own port go to its model at once.

Serve lets a middleware be put in front of every HTTP server it starts
(`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`). With HAProxy as ingress those servers are the
replicas themselves, and what Serve does for each request there (two tasks, a context, five metrics)
costs more than a small model. In any other process, such as Serve's own proxy, nothing is taken
over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from raymi.serve.one_write import use_for_answers

CALLBACK = "raymi.serve.ingress:middlewares"
"""Import path for `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`."""

_SERVES_OWN = "/-/"
_HEALTH = "/-/healthz"


OnceReached = Callable[[str, int], Awaitable[None]]
"""Told the address and port at which HAProxy has reached this process's HTTP server."""


class _Replica:
    """What the replica of this process answers with; a process holds one replica at most."""

    application: ASGIApp | None = None
    route_prefix: str = ""
    once_reached: OnceReached | None = None


def answer_directly(
    application: ASGIApp, *, route_prefix: str, once_reached: OnceReached | None = None
) -> None:
    """Let this process's HTTP server hand requests below a prefix to an application.

    Args:
        application: Answers them.
        route_prefix: Where it is.
        once_reached: Awaited in the first health check, before it is answered.
    """
    _Replica.application = application
    _Replica.route_prefix = route_prefix.rstrip("/")
    _Replica.once_reached = once_reached


def middlewares() -> list[Middleware]:
    """What Serve asks for when it starts an HTTP server."""
    use_for_answers()
    return [Middleware(DirectIngress)]


class DirectIngress:
    """Serve's application, and the replica's own in front of it."""

    def __init__(self, app: ASGIApp) -> None:
        """Remember what is behind."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        application, prefix = _Replica.application, _Replica.route_prefix
        if application is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path == _HEALTH and (once_reached := _Replica.once_reached) is not None:
            _Replica.once_reached = None
            host, port = scope["server"]
            await once_reached(host, port)
        if path.startswith(_SERVES_OWN) or not path.startswith(prefix):
            await self._app(scope, receive, send)
            return
        if prefix:
            scope["root_path"] = scope.get("root_path", "") + prefix
        await application(scope, receive, send)
