"""Everybody starts in the same environment, and one that ends says why."""

import pytest

from raymi.bench.contestants import Kind, command, contestants, environment, why_it_ended


def test_there_is_a_control_and_one_single_process_per_worker():
    everybody = {one.name: one for one in contestants(3)}

    assert everybody["torchrun"].kind is everybody["torchrun-b"].kind is Kind.TORCHRUN
    assert {one.num_ranks for one in everybody.values() if one.kind is not Kind.SINGLE} == {3}
    assert [name for name in everybody if name.startswith("single-")] == [
        "single-0", "single-1", "single-2",
    ]  # fmt: skip


def test_one_worker_has_nothing_to_scale_to():
    assert not [one for one in contestants(1) if one.kind is Kind.SINGLE]


def test_everybody_but_ray_and_the_single_processes_is_started_by_torchrun(tmp_path):
    by_torchrun = {
        one.name
        for one in contestants(2)
        if "torch.distributed.run"
        in command(one, socket_path=tmp_path / "turns", plan_path=tmp_path / "plan.json")
    }

    assert by_torchrun == {"torchrun", "torchrun-b", "fabric", "accelerate"}


def test_everybody_has_the_same_threads_and_priority_and_nobody_an_outside_cluster(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")

    variables = environment(3)

    assert variables["OMP_NUM_THREADS"] == variables["MKL_NUM_THREADS"] == "3"
    assert variables["RAY_worker_niceness"] == "0"
    assert "RAY_ADDRESS" not in variables


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("Traceback:\nKeyError: 'x'\nbye\n", "KeyError: 'x'"),
        ("first\nlast\n\n", "last"),
        ("", "it said nothing"),
    ],
)
def test_the_reason_is_the_last_line_that_names_an_error(output, why):
    assert why_it_ended(output) == why
