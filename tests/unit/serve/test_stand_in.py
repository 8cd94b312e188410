"""Where the version on trial fails, the one before it answers, and nobody notices."""

import pytest
from starlette.testclient import TestClient

from raymi.serve.api import build_api
from raymi.serve.guard import Access, Guard
from raymi.serve.host import NoFiniteAnswerError
from raymi.serve.identity import RequestLimits, ServedModel
from tests.unit.serve.conftest import CountingHost
from tests.unit.serve.one_version import OneVersion

LIMITS = RequestLimits(max_request_bytes=10_000, max_rows=20)


class OnTrial(OneVersion):
    """The new version answers; the old one can."""

    def __init__(self, new, old):
        super().__init__(new)
        self._old, self.faults = old, []

    def instead_of(self, host):
        return self._old if host is self._host else None

    def failed(self, host):
        self.faults.append(host.served.version)


class Faulty(CountingHost):
    """Raises what it is told to."""

    def __init__(self, signature, error):
        super().__init__(signature)
        self.served = ServedModel("shapes", 5, "cd" * 32, "fp32", 8)
        self._error = error

    async def predict(self, rows):
        raise self._error


def ask(models, good_row, path="/predict"):
    client = TestClient(build_api(models, LIMITS, Guard(Access())), raise_server_exceptions=False)
    return client.post(path, json={"rows": [good_row]})


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("of the network"),
        MemoryError(),
        NoFiniteAnswerError("no finite answer", why="NaN", fix="none"),
    ],
)
def test_a_fault_of_the_new_version_is_answered_by_the_old_one(signature, good_row, error):
    models = OnTrial(Faulty(signature, error), CountingHost(signature))

    answer = ask(models, good_row)

    assert (answer.status_code, answer.json()["version"]) == (200, 4)
    assert models.faults == [5]


def test_a_fault_of_both_is_a_fault(signature, good_row):
    error = RuntimeError("of the network")
    models = OnTrial(Faulty(signature, error), Faulty(signature, error))

    assert ask(models, good_row).status_code == 500


def test_a_fault_of_the_request_is_nobodys_else(signature, good_row):
    models = OnTrial(CountingHost(signature), CountingHost(signature))

    answer = ask(models, {**good_row, "weight": "heavy"})

    assert answer.status_code == 422
    assert models.faults == []


def test_predictions_are_never_taken_from_a_version_that_was_not_asked(signature, good_row):
    """The other version is there only for those that fail."""
    new, old = CountingHost(signature), CountingHost(signature)
    new.served = ServedModel("shapes", 5, "cd" * 32, "fp32", 8)

    async def never(_rows):
        raise AssertionError("nobody should ask the old version")

    old.predict = never

    assert ask(OnTrial(new, old), good_row).json()["version"] == 5
