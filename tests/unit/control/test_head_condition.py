"""From what can be seen of a head follow one condition, a reason and something to do."""

from dataclasses import replace

import pytest

from raymi.control.head_state import Condition, HeadFacts, assess

WELL = HeadFacts(
    recorded=True,
    ready_once=True,
    head_alive=True,
    num_processes=20,
    api_answers=True,
    agent_answers=True,
    node_alive=True,
)


def test_a_head_where_everything_answers_is_up():
    assert assess(WELL).condition is Condition.UP


def test_nothing_written_down_is_down():
    assert assess(HeadFacts(recorded=False)).condition is Condition.DOWN


def test_while_another_command_changes_it_no_judgement_is_passed():
    assert assess(replace(WELL, being_changed=True)).condition is Condition.STARTING


@pytest.mark.parametrize(
    ("silent", "reason"),
    [
        ("api_answers", "the dashboard does not answer"),
        ("agent_answers", "the agent that starts jobs does not answer"),
        ("node_alive", "Ray does not call its node alive"),
    ],
)
def test_a_living_head_with_a_silent_part_is_degraded_and_the_part_is_named(silent, reason):
    diagnosis = assess(replace(WELL, **{silent: False}))

    assert diagnosis.condition is Condition.DEGRADED
    assert reason in diagnosis.why


def test_a_head_whose_process_ended_is_dead_and_its_leftovers_are_counted():
    diagnosis = assess(replace(WELL, head_alive=False, num_processes=3))

    assert diagnosis.condition is Condition.DEAD
    assert diagnosis.why == "the head process ended, with 3 of its processes left"


@pytest.mark.parametrize("alive", [True, False])
def test_a_start_that_was_interrupted_is_called_that_whatever_is_left_of_it(alive):
    diagnosis = assess(replace(WELL, head_alive=alive, ready_once=False, num_processes=0))

    assert diagnosis.condition is Condition.CUT_OFF
    assert diagnosis.why == "its start was interrupted, with none of its processes left"
