"""A model of which one version is loaded, as an endpoint sees it."""

from __future__ import annotations

from typing import Any


class OneVersion:
    """Says which host answers, and listens to nothing."""

    def __init__(self, host: Any) -> None:
        self.name = host.served.name
        self._host = host

    def active(self) -> Any:
        return self._host

    def pick(self) -> Any:
        return self._host

    def version(self, number: str) -> Any | None:
        return self._host if number == str(self._host.served.version) else None

    def instead_of(self, host: Any) -> None:
        """There is no other."""

    def answered(self, *_: object) -> None:
        """Nothing is compared."""

    def failed(self, host: Any) -> None:
        """Nothing is watched."""
