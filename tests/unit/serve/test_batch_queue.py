"""Requests share batches, keep their order, and never pay for each other's faults."""

import asyncio
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

from raymi.errors import OverloadedError
from raymi.serve.batching import BatchLimits, BatchQueue

LIMITS = BatchLimits(max_batch_size=4, max_wait_s=0.5, max_waiting_rows=8)


class Clock:
    """Time that passes when the test says so."""

    def __init__(self):
        self.time_s = 0.0
        self.alarms = []

    def now_s(self):
        return self.time_s

    def call_later(self, delay_s, wake):
        alarm = Alarm(self.time_s + delay_s, wake)
        self.alarms.append(alarm)
        return alarm

    def advance(self, seconds):
        self.time_s += seconds
        due = [a for a in self.alarms if a.due_s <= self.time_s]
        self.alarms = [a for a in self.alarms if a.due_s > self.time_s]
        for alarm in due:
            alarm.ring()


class Alarm:
    def __init__(self, due_s, wake):
        self.due_s, self.wake = due_s, wake

    def cancel(self):
        self.wake = None

    def ring(self):
        if self.wake is not None:
            self.wake()


class Worker(Executor):
    """A thread that computes when the test says so."""

    def __init__(self):
        self.tasks = []

    def submit(self, fn, /, *args):
        self.tasks.append((Future(), fn, args))
        return self.tasks[-1][0]

    async def finish(self):
        future, fn, args = self.tasks.pop(0)
        future.set_result(fn(*args))
        await settle()


async def settle():
    """Let everything that can happen now happen."""
    for _ in range(10):
        await asyncio.sleep(0)


class Desk:
    """A queue that doubles numbers, and what it computed."""

    def __init__(self, limits=LIMITS):
        self.clock, self.worker, self.batches = Clock(), Worker(), []
        self.queue = BatchQueue(self.double, limits, timer=self.clock, executor=self.worker)

    def double(self, items):
        self.batches.append(list(items))
        if "bad" in items:
            raise ValueError("bad")
        return [item * 2 for item in items]

    async def ask(self, *items, rows=1):
        task = asyncio.ensure_future(self.queue.submit([(item, rows) for item in items]))
        await settle()
        return task


def test_the_first_of_a_batch_leaves_when_its_wait_is_over():
    async def scenario():
        desk = Desk()
        answer = await desk.ask(1)

        desk.clock.advance(0.4)
        too_early = len(desk.worker.tasks)
        desk.clock.advance(0.2)
        await desk.worker.finish()

        return too_early, await answer

    assert asyncio.run(scenario()) == (0, [2])


def test_a_client_that_is_alone_never_waits():
    async def scenario():
        desk = Desk()
        await desk.ask(1)
        desk.clock.advance(1.0)
        await desk.worker.finish()

        answer = await desk.ask(2)
        await desk.worker.finish()

        return await answer

    assert asyncio.run(scenario()) == [4]


def test_after_a_shared_batch_the_next_one_waits_for_company_again():
    async def scenario():
        desk = Desk()
        for number in range(4):
            await desk.ask(number)
        await desk.worker.finish()

        await desk.ask(10)
        too_early = len(desk.worker.tasks)
        await desk.ask(11)
        desk.clock.advance(0.6)
        await desk.worker.finish()

        return too_early, desk.batches[1]

    assert asyncio.run(scenario()) == (0, [10, 11])


def test_a_full_batch_leaves_at_once_and_each_gets_its_own_answer():
    async def scenario():
        desk = Desk()
        answers = [await desk.ask(number) for number in range(4)]
        await desk.worker.finish()

        return desk.batches, await asyncio.gather(*answers)

    assert asyncio.run(scenario()) == ([[0, 1, 2, 3]], [[0], [2], [4], [6]])


def test_who_arrives_during_a_pass_leaves_together_after_it():
    async def scenario():
        desk = Desk()
        for number in range(4):
            await desk.ask(number)
        late = [await desk.ask(number) for number in (10, 11)]
        desk.clock.advance(1.0)

        await desk.worker.finish()
        await desk.worker.finish()

        return desk.batches[1], await asyncio.gather(*late)

    assert asyncio.run(scenario()) == ([10, 11], [[20], [22]])


def test_rows_are_what_fills_a_batch():
    async def scenario():
        desk = Desk()
        await desk.ask(1, rows=3)
        await desk.ask(2, rows=3)
        await desk.worker.finish()
        desk.clock.advance(1.0)
        await desk.worker.finish()

        return desk.batches

    assert asyncio.run(scenario()) == [[1], [2]]


def test_a_request_in_pieces_gets_them_back_in_order():
    async def scenario():
        desk = Desk()
        answer = await desk.ask(1, 2, 3, rows=4)
        for _ in range(3):
            await desk.worker.finish()

        return desk.batches, await answer

    assert asyncio.run(scenario()) == ([[1], [2], [3]], [2, 4, 6])


def test_one_failing_request_does_not_fail_its_batch_mates():
    async def scenario():
        desk = Desk()
        answers = [await desk.ask(item) for item in (1, "bad", 3, 4)]
        await desk.worker.finish()

        return await asyncio.gather(*answers, return_exceptions=True)

    good, bad, *others = asyncio.run(scenario())

    assert (good, others) == ([2], [[6], [8]])
    assert isinstance(bad, ValueError)


def test_a_request_whose_client_left_is_not_computed():
    async def scenario():
        desk = Desk()
        leaving, staying = await desk.ask(1), await desk.ask(2)
        leaving.cancel()
        await settle()
        desk.clock.advance(1.0)
        await desk.worker.finish()

        return desk.batches, await staying, desk.queue.waiting_rows

    assert asyncio.run(scenario()) == ([[2]], [4], 0)


def test_a_client_that_leaves_during_the_pass_disturbs_nobody():
    async def scenario():
        desk = Desk()
        leaving, staying = await desk.ask(1, rows=2), await desk.ask(2, rows=2)
        leaving.cancel()
        await desk.worker.finish()

        return await staying

    assert asyncio.run(scenario()) == [4]


def test_a_full_queue_refuses_and_says_when_to_come_back():
    async def scenario():
        desk = Desk()
        for number in range(3):
            await desk.ask(number, rows=4)
        await (await desk.ask(9))

    with pytest.raises(OverloadedError) as refusal:
        asyncio.run(scenario())

    assert refusal.value.http_status == 503
    assert refusal.value.retry_after_s >= 1


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits():
    async def scenario():
        desk = Desk()
        answer = await desk.ask(7, rows=1000)
        await desk.worker.finish()

        return await answer

    assert asyncio.run(scenario()) == [14]


def test_how_long_a_pass_has_been_running_is_known():
    async def scenario():
        desk = Desk()
        await desk.ask(1, rows=4)
        desk.clock.advance(70.0)
        during = desk.queue.busy_s
        await desk.worker.finish()

        return during, desk.queue.busy_s

    assert asyncio.run(scenario()) == (70.0, 0.0)


def test_the_event_loop_goes_on_while_a_batch_is_computed():
    async def scenario():
        release = threading.Event()

        def wait_for_release(items):
            release.wait(10)
            return items

        with ThreadPoolExecutor(1) as thread:
            queue = BatchQueue(wait_for_release, BatchLimits(1, 0.0, 8), executor=thread)
            answer = asyncio.ensure_future(queue.submit([("x", 1)]))
            await settle()
            release.set()
            return await answer

    assert asyncio.run(scenario()) == ["x"]
