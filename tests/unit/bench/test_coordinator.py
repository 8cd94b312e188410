"""Exactly one contestant moves at a time, and one that dies is named and left behind."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raymi.bench.coordinator import Coordinator, LostContestantError
from raymi.bench.turnstile import Hello, Run, SocketTurnstile

PATIENCE_S = 10.0
TURN = Run(num_warmup_steps=1, num_steps=4)


@contextmanager
def coordinator_of(directory: Path) -> Iterator[Coordinator]:
    coordinator = Coordinator(directory / "turns")
    try:
        yield coordinator
    finally:
        coordinator.close()


class Rank(threading.Thread):
    """Follows orders at once; answers that its steps took `elapsed_s`."""

    def __init__(
        self,
        path: Path,
        name: str,
        number: int = 0,
        *,
        elapsed_s: float = 1.0,
        dies: bool = False,
        is_mute: bool = False,
    ) -> None:
        super().__init__(daemon=True)
        self._turnstile = SocketTurnstile(path, Hello(name, number, 100))
        self._elapsed_s = elapsed_s
        self._dies = dies
        self._is_mute = is_mute
        self.orders: list[object] = []
        self.start()

    def run(self) -> None:
        while order := self._turnstile.next_order():
            self.orders.append(order)
            if self._dies:
                self._turnstile.close()
                return
            if not self._is_mute:
                self._turnstile.answer(self._elapsed_s)


def nothing(name: str) -> None:
    pass


def gather(coordinator: Coordinator, expected: dict[str, int], watch=nothing, patience_s=5.0):
    return coordinator.wait_for(expected, patience_s=patience_s, watch=watch, ready=nothing)


def test_a_turn_lasts_as_long_as_rank_0_says(tmp_path):
    with coordinator_of(tmp_path) as coordinator:
        path = coordinator.socket_path
        ranks = [Rank(path, "us", 1, elapsed_s=9.0), Rank(path, "us", 0, elapsed_s=2.0)]
        gather(coordinator, {"us": 2})

        elapsed_s = coordinator.turn(["us"], TURN, patience_s=PATIENCE_S)

        assert elapsed_s == {"us": 2.0}
        assert [rank.orders[-1] for rank in ranks] == [TURN, TURN]
        assert coordinator.steps_per_epoch == {"us": 100}


def test_nobody_else_moves_meanwhile(tmp_path):
    with coordinator_of(tmp_path) as coordinator:
        us, them = (Rank(coordinator.socket_path, name) for name in ("us", "them"))
        gather(coordinator, {"us": 1, "them": 1})

        coordinator.turn(["us"], TURN, patience_s=PATIENCE_S)

        assert len(us.orders) == 2
        assert them.orders == []


def test_several_may_run_at_the_same_time(tmp_path):
    with coordinator_of(tmp_path) as coordinator:
        for name, elapsed_s in (("a", 1.0), ("b", 3.0)):
            Rank(coordinator.socket_path, name, elapsed_s=elapsed_s)
        gather(coordinator, {"a": 1, "b": 1})

        assert coordinator.turn(["a", "b"], TURN, patience_s=PATIENCE_S) == {"a": 1.0, "b": 3.0}


def test_one_that_dies_in_its_turn_is_named_and_the_rest_goes_on(tmp_path):
    with coordinator_of(tmp_path) as coordinator:
        Rank(coordinator.socket_path, "dead", dies=True)
        Rank(coordinator.socket_path, "alive")
        gather(coordinator, {"dead": 1, "alive": 1})

        with pytest.raises(LostContestantError, match="rank 0 has left") as caught:
            coordinator.turn(["dead"], TURN, patience_s=PATIENCE_S)
        coordinator.dismiss(caught.value.name)

        assert caught.value.name == "dead"
        assert coordinator.turn(["alive"], TURN, patience_s=PATIENCE_S) == {"alive": 1.0}


def test_one_that_does_not_answer_is_not_waited_for_for_ever(tmp_path):
    with coordinator_of(tmp_path) as coordinator:
        Rank(coordinator.socket_path, "mute", is_mute=True)
        gather(coordinator, {"mute": 1})

        with pytest.raises(LostContestantError, match="did not answer"):
            coordinator.turn(["mute"], TURN, patience_s=0.01)


def test_one_that_ends_before_it_is_ready_costs_nobody_else_their_place(tmp_path):
    def watch(name: str) -> None:
        if name == "dead":
            raise LostContestantError(name, "ended with exit code 1")

    with coordinator_of(tmp_path) as coordinator:
        Rank(coordinator.socket_path, "alive")

        assert gather(coordinator, {"alive": 1, "dead": 2}, watch) == {
            "dead": "ended with exit code 1"
        }
        assert coordinator.turn(["alive"], TURN, patience_s=PATIENCE_S) == {"alive": 1.0}


def test_one_that_never_comes_is_lost(tmp_path):
    with coordinator_of(tmp_path) as coordinator:
        assert "not ready" in gather(coordinator, {"late": 1}, patience_s=0.0)["late"]


def test_a_stranger_is_sent_away(tmp_path):
    with coordinator_of(tmp_path) as coordinator, socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(coordinator.socket_path))
        stranger.sendall(b"hello?\n")
        Rank(coordinator.socket_path, "us")
        assert gather(coordinator, {"us": 1}) == {}


def test_everybody_leaves_when_the_coordinator_does(tmp_path):
    with coordinator_of(tmp_path) as coordinator:
        rank = Rank(coordinator.socket_path, "us")
        gather(coordinator, {"us": 1})

    rank.join(timeout=PATIENCE_S)

    assert not rank.is_alive()
