"""A replica's versions: who gets the next request, while one loads and after one has failed."""

import asyncio
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from raymi.data.preprocessing import ClassTarget
from raymi.errors import IntegrityError, OverloadedError
from raymi.evaluate.predictor import Predictions
from raymi.registry.signature import Signature
from raymi.serve.identity import ServedModel
from raymi.serve.metrics import RequestMetrics
from raymi.serve.rollout.state import completed, in_force, prepared, rolled_back, tried
from raymi.serve.versions import ModelVersions
from tests.unit.serve.rollouts import RULES, serving, version

ROWS = pa.record_batch({"x": [1, 2, 3]})
TARGET = ClassTarget(column="y", classes=("a", "b"))


class Host:
    """A version that says class 0 or 1 for every row."""

    def __init__(self, ref, says=0):
        self.served = ServedModel(ref.name, ref.version, ref.fingerprint, ref.precision, 8)
        self.signature = Signature(inputs=(), outputs=())
        self.is_ready = True
        self.is_retired = False
        self.num_leases = 0
        self.says = says
        self.batch_sizes, self.waiting_rows = Counter(), 0
        self.breaks = False

    async def predict(self, rows):
        if self.breaks:
            raise RuntimeError("broken")
        outputs = np.eye(2, dtype=np.float32)[[self.says] * rows.num_rows]
        return Predictions(TARGET, outputs)

    def lease(self):
        self.num_leases += 1

    def release(self):
        self.num_leases -= 1

    def retire(self):
        self.is_retired = True

    def check(self):
        """Well."""


class Rack:
    """Versions of one model, with loading that a test can look into."""

    def __init__(self, *, refuses=(), says=()):
        self.hosts = {}
        self._refuses, self._says = set(refuses), dict(says)
        self.versions = ModelVersions("digits", self.load, replica="r")

    def load(self, ref):
        if ref.version in self._refuses:
            raise IntegrityError("damaged", why="another sha256", fix="none")
        self.hosts[ref.version] = Host(ref, self._says.get(ref.version, 0))
        return self.hosts[ref.version]

    async def follow(self, rollout):
        self.versions.follow(rollout)
        await self.settle()

    async def settle(self):
        # Loading has a thread of its own; what it leaves is picked up by the loop.
        while any(v.condition == "loading" for v in self.report().versions):
            await asyncio.sleep(0.001)

    def report(self):
        return self.versions.report(RequestMetrics())

    def answering(self):
        return self.versions.active().served.version

    async def request(self, times=1):
        """Ask as an endpoint does."""
        for _ in range(times):
            host = self.versions.pick()
            try:
                predictions = await host.predict(ROWS)
            except RuntimeError:
                self.versions.failed(host)
            else:
                self.versions.answered(host, ROWS, predictions, 0.001)
        for _ in range(5):
            await asyncio.sleep(0)


def run(scenario):
    return asyncio.run(scenario())


def test_a_replica_starts_with_the_version_that_answers():
    async def scenario():
        rack = Rack()
        with pytest.raises(OverloadedError):
            rack.versions.pick()
        rack.versions.start(serving(1))
        return rack.answering()

    assert run(scenario) == 1


def test_a_replica_that_can_load_none_does_not_start():
    async def scenario():
        Rack(refuses={1}).versions.start(serving(1))

    with pytest.raises(IntegrityError):
        run(scenario)


def test_a_replica_starts_with_the_previous_version_if_the_other_is_damaged():
    async def scenario():
        rack = Rack(refuses={2})
        rack.versions.start(completed(prepared(serving(1), version(2), RULES)))
        return rack.answering(), rack.report().of(version(2)).condition

    assert run(scenario) == (1, "failed")


def test_a_prepared_version_is_loaded_and_gets_nothing():
    async def scenario():
        rack = Rack()
        rack.versions.start(serving(1))
        await rack.follow(prepared(serving(1), version(2), RULES))
        report = rack.report().of(version(2))
        return report.condition, {rack.versions.pick().served.version for _ in range(200)}

    assert run(scenario) == ("ready", {1})


def test_a_damaged_version_is_told_and_the_old_one_goes_on():
    async def scenario():
        rack = Rack(refuses={2})
        rack.versions.start(serving(1))
        await rack.follow(completed(prepared(serving(1), version(2), RULES)))
        return rack.answering(), rack.report().of(version(2)).reason

    assert run(scenario) == (1, "damaged: another sha256")


def test_going_back_needs_no_loading():
    async def scenario():
        rack = Rack()
        rack.versions.start(serving(1))
        deployed = completed(prepared(serving(1), version(2), RULES))
        await rack.follow(deployed)
        before, loads = rack.answering(), len(rack.hosts)
        rack.versions.follow(rolled_back(deployed, "why"))
        return before, rack.answering(), len(rack.hosts) - loads

    assert run(scenario) == (2, 1, 0)


def test_what_nobody_can_go_back_to_is_retired():
    async def scenario():
        rack = Rack()
        rack.versions.start(serving(1))
        second = completed(prepared(serving(1), version(2), RULES))
        await rack.follow(second)
        await rack.follow(completed(prepared(second, version(3), RULES)))
        return {number: host.is_retired for number, host in rack.hosts.items()}

    assert run(scenario) == {1: True, 2: False, 3: False}


def test_a_canary_gets_its_share():
    async def scenario():
        rack = Rack()
        rack.versions.start(serving(1))
        now = prepared(serving(1), version(2), RULES)
        await rack.follow(tried(now, canary_percent=25.0, shadow_percent=0.0))
        picked = [rack.versions.pick().served.version for _ in range(4000)]
        return picked.count(2) / len(picked)

    # Four standard deviations of a share of 4000.
    assert run(scenario) == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 4000) ** 0.5)


def test_a_shadow_computes_and_is_compared_but_never_answers():
    async def scenario():
        rack = Rack(says={2: 1})
        rack.versions.start(serving(1))
        now = prepared(serving(1), version(2), RULES)
        await rack.follow(tried(now, canary_percent=0.0, shadow_percent=100.0))
        picked = {rack.versions.pick().served.version for _ in range(100)}
        await rack.request(20)
        comparison = rack.report().comparison
        return picked, comparison.compared_rows, comparison.agreeing_rows

    assert run(scenario) == ({1}, 60, 0)


def test_a_version_that_fails_is_taken_back_with_the_reason():
    async def scenario():
        rack = Rack()
        rack.versions.start(serving(1))
        deployed = completed(prepared(serving(1), version(2), RULES))
        await rack.follow(deployed)
        rack.hosts[2].breaks = True
        await rack.request(5)
        breach = rack.versions.judge()
        rack.versions.follow(in_force(deployed, breach))
        return rack.answering(), breach.version.version, breach.reason

    assert run(scenario)[:2] == (1, 2)
    assert "5 of 5 requests failed" in run(scenario)[2]


def test_a_version_that_was_gone_back_to_is_not_taken_back():
    async def scenario():
        rack = Rack()
        rack.versions.start(serving(1))
        deployed = completed(prepared(serving(1), version(2), RULES))
        await rack.follow(deployed)
        rack.versions.follow(rolled_back(deployed, "why"))
        rack.hosts[1].breaks = True
        await rack.request(50)
        return rack.versions.judge()

    assert run(scenario) is None


def test_a_version_that_was_taken_back_stands_in_for_nobody():
    async def scenario():
        rack = Rack()
        rack.versions.start(serving(1))
        deployed = completed(prepared(serving(1), version(2), RULES))
        await rack.follow(deployed)
        rack.versions.follow(rolled_back(deployed, "wrong answers"))
        return [rack.versions.instead_of(host) for host in rack.hosts.values()]

    assert run(scenario) == [None, None]


def test_another_version_stands_in_for_the_one_on_trial_only():
    async def scenario():
        rack = Rack()
        rack.versions.start(serving(1))
        await rack.follow(completed(prepared(serving(1), version(2), RULES)))
        old, new = rack.hosts[1], rack.hosts[2]
        return rack.versions.instead_of(new) is old, rack.versions.instead_of(old)

    assert run(scenario) == (True, None)


def test_a_version_that_predicts_in_the_shadow_is_not_closed_before_it_has():
    async def scenario():
        rack = Rack()
        rack.versions.start(serving(1))
        now = prepared(serving(1), version(2), RULES)
        await rack.follow(now)
        await rack.follow(tried(now, canary_percent=0.0, shadow_percent=100.0))
        may_answer = asyncio.Event()
        shadow, predict = rack.hosts[2], rack.hosts[2].predict

        async def later(rows):
            await may_answer.wait()
            return await predict(rows)

        shadow.predict = later
        await rack.request()
        during = shadow.num_leases
        may_answer.set()
        await asyncio.sleep(0.01)
        return during, shadow.num_leases

    assert run(scenario) == (1, 0)
