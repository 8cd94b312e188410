"""Who may ask, and how often: bearer tokens and a rate limit, before anything is read."""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from raymi.errors import LimitedError, RequestError
from raymi.serve.body import Headers

_SCHEME = b"bearer "
_LONGEST_TOKEN = 512


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use an endpoint."""

    token_sha256: tuple[str, ...] = ()
    """Of the tokens that are accepted, in hex; none: everybody may."""

    requests_per_s: float | None = None
    """Long-run rate of one replica; None: not limited."""

    burst: int = 1
    """Requests that may come at once when none came before."""


def fingerprint(token: str) -> str:
    """What is kept of a token: enough to recognise it, not to use it."""
    return hashlib.sha256(token.encode()).hexdigest()


class Guard:
    """Lets a request in, or says why not."""

    def __init__(self, access: Access, *, now_s: Callable[[], float] = time.monotonic) -> None:
        """Start with a full burst."""
        self._digests = tuple(bytes.fromhex(text) for text in access.token_sha256)
        self._rate = access.requests_per_s
        self._burst = access.burst
        self._now_s = now_s
        self._tokens = float(access.burst)
        self._filled_s = now_s()

    def admit(self, headers: Headers) -> None:
        """Let a request in.

        Raises:
            RequestError: 401: no token, or one that is not accepted.
            LimitedError: Too many requests came lately.
        """
        if self._digests and not self._is_known(headers.get(b"authorization", b"")):
            raise RequestError(
                "a token is needed",
                why="the request has none, or one that this endpoint does not accept",
                fix="send the header `authorization: Bearer TOKEN`",
                field="authorization",
                status=401,
            )
        if self._rate is not None:
            self._take(self._rate)

    def _is_known(self, header: bytes) -> bool:
        if header[: len(_SCHEME)].lower() != _SCHEME or len(header) > _LONGEST_TOKEN:
            return False
        digest = hashlib.sha256(header[len(_SCHEME) :].strip()).digest()
        is_known = False
        for known in self._digests:
            # Every one is compared: how long it takes tells nothing about which was near.
            is_known |= hmac.compare_digest(digest, known)
        return is_known

    def _take(self, rate: float) -> None:
        """Token bucket: it fills at `rate`, and holds a burst."""
        now_s = self._now_s()
        self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * rate)
        self._filled_s = now_s
        if self._tokens < 1.0:
            wait_s = math.ceil((1.0 - self._tokens) / rate)
            raise LimitedError(
                "too many requests",
                why=f"this endpoint takes {rate:g} a second, and {self._burst} at once",
                fix=f"repeat the request in {wait_s} s, or deploy with a larger rate limit",
                retry_after_s=wait_s,
            )
        self._tokens -= 1.0
