"""Every exception Raymi raises on purpose, with its exit code and HTTP status.

    RaymiError               1  500  something went wrong that has a name
    |-- SpecError            2  422  the request cannot be understood
    |   |-- CapabilityError  2  422  understood, but this accelerator cannot do it
    |   `-- InfeasibleError  2  422  understood, but it can never fit this cluster
    |-- DataError            2  422  the rows offered are not usable
    |-- NotFoundError        2  404  no such dataset, model, alias, file
    |-- ConflictError        2  409  something is already there or already running
    |-- IntegrityError       1  500  bytes on disk are not the bytes that were published
    |-- TrainingError        1  500  a run started and failed; carries a machine-readable reason
    |-- DeploymentError      1  500  an application did not become healthy
    |-- ExportError          1  500  an exported model does not answer as the registered one does
    |-- RequestError         2  4xx  a prediction request is wrong; carries the field
    |-- OverloadedError      3  503  a server has more to do than it can; carries when to retry
    |-- LimitedError         3  429  a caller has asked for more than its share; when to retry
    `-- UnreachableError     3  503  a cluster or server did not answer

Each message is three lines: what happened, why, what to try. The command line, HTTP
problem documents and job logs all show the same three.
"""

from __future__ import annotations


class RaymiError(Exception):
    """The root of every error with a sentence for humans."""

    exit_code = 1
    http_status = 500

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        super().__init__(what, why, fix)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.why}\n  try: {self.fix}"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process boundaries in Ray; keyword-only arguments need help.
        return (_rebuild, (type(self), self.what, self.why, self.fix, self.__dict__))


def _rebuild(
    cls: type[RaymiError], what: str, why: str, fix: str, state: dict[str, object]
) -> RaymiError:
    error = cls.__new__(cls)
    RaymiError.__init__(error, what, why=why, fix=fix)
    error.__dict__.update(state)
    return error


class SpecError(RaymiError):
    """A spec, a path into a spec, or a command-line value is wrong."""

    exit_code = 2
    http_status = 422


class CapabilityError(SpecError):
    """The accelerator cannot do what the spec asks."""


class InfeasibleError(SpecError):
    """No node or cluster here can ever hold what the spec asks for."""


class DataError(RaymiError):
    """A source file or a row is unusable; nothing was imported."""

    exit_code = 2
    http_status = 422


class NotFoundError(RaymiError):
    """A named thing does not exist."""

    exit_code = 2
    http_status = 404


class ConflictError(RaymiError):
    """The request contradicts the current state."""

    exit_code = 2
    http_status = 409


class IntegrityError(RaymiError):
    """Stored bytes differ from their manifest."""


class TrainingError(RaymiError):
    """A run started and failed.

    `reason` is machine-readable: `out_of_memory`, `diverged`, `worker_died`, `failed`.
    """

    def __init__(self, what: str, *, reason: str, why: str, fix: str) -> None:
        super().__init__(what, why=why, fix=fix)
        self.reason = reason


class DeploymentError(RaymiError):
    """An application was accepted but did not become healthy."""


class ExportError(RaymiError):
    """An exported model was made, asked, and answered unlike the model it was made from."""


class RequestError(RaymiError):
    """A request to a served model cannot be answered, and it is the request's doing.

    `status` is the HTTP status (400, 404, 413, 415, 422, ...); `field` is where in the request
    the fault lies, such as `rows[3].pixels`, or None when it is the request as a whole.
    """

    exit_code = 2
    http_status = 422

    def __init__(
        self, what: str, *, why: str, fix: str, field: str | None = None, status: int = 422
    ) -> None:
        super().__init__(what, why=why, fix=fix)
        self.field = field
        self.http_status = status


class OverloadedError(RaymiError):
    """A server holds as many requests as it may; the same request is fine a little later."""

    exit_code = 3
    http_status = 503

    def __init__(self, what: str, *, why: str, fix: str, retry_after_s: int) -> None:
        super().__init__(what, why=why, fix=fix)
        self.retry_after_s = retry_after_s


class LimitedError(RaymiError):
    """A caller has used up its share of requests for now."""

    exit_code = 3
    http_status = 429

    def __init__(self, what: str, *, why: str, fix: str, retry_after_s: int) -> None:
        super().__init__(what, why=why, fix=fix)
        self.retry_after_s = retry_after_s


class UnreachableError(RaymiError):
    """A cluster or server did not answer."""

    exit_code = 3
    http_status = 503
