"""Sweeps are listed and followed from their events; programs get the events themselves."""

import io
import itertools
import json
import threading
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from raymi.cli import sweeps
from raymi.cli.main import app
from raymi.cli.sweep_screen import SweepScreen, sweep_panel
from raymi.errors import ConflictError, NotFoundError
from raymi.sweep.view.progress import SweepState, advance

FRONT = [{"setting": 1, "label": "precision=[bf16]", "samples_per_s": 1900.0, "quality": 0.97,
          "peak_memory_gib": 0.4}]  # fmt: skip
BEGINNING = [
    {"event": "sweep_started", "num_settings": 4, "num_numerics": 2, "budget": {}},
    {"event": "front", "rows": FRONT},
    {"event": "planned", "phase": "quality", "runs": 2, "expected_s": 60.0},
    {"event": "run_started", "run_id": "r0", "label": "precision=[bf16]", "numerics": "bf16",
     "seed": 3, "purpose": "quality"},
    {"event": "budget", "spent_s": 150.0, "limit_s": 600.0, "phase": "quality"},
]  # fmt: skip
DECIDED = {"event": "decided", "winner": 1, "sentence": "bf16 wins because it is fast."}


@pytest.fixture
def store(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RAYMI_STORE", str(tmp_path))
    return tmp_path


def write_sweep(store: Path, name: str, *events: dict, began: float = 1000.0) -> Path:
    directory = store / "sweeps" / name
    directory.mkdir(parents=True)
    timed = [{**event, "time": began + index} for index, event in enumerate(events)]
    (directory / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in timed))
    return directory


def raymi(*arguments: str) -> str:
    return CliRunner().invoke(app, arguments, catch_exceptions=False).output


def test_a_listing_shows_how_far_each_sweep_is_and_what_it_decided(store):
    write_sweep(store, "b-first", *BEGINNING, DECIDED, began=1000.0)
    write_sweep(store, "a-second", *BEGINNING, began=2000.0)

    first, second = json.loads(raymi("sweep", "list", "--json"))

    assert (first["sweep_id"], first["state"], first["winner"]) == ("b-first", "decided", 1)
    assert first["sentence"] == DECIDED["sentence"]
    assert (second["state"], second["num_runs_planned"], second["spent_s"]) == ("quality", 2, 150)
    assert "precision=[bf16]" in raymi("sweep", "list")


def test_without_sweeps_the_listing_says_how_to_start_one(store):
    assert "jobs/sweep.py" in raymi("sweep", "list")
    assert json.loads(raymi("sweep", "list", "--json")) == []


def test_the_newest_sweep_is_watched_to_its_decision(store):
    write_sweep(store, "b-old", *BEGINNING, {**DECIDED, "sentence": "old"}, began=1000.0)
    write_sweep(store, "a-new", *BEGINNING, DECIDED, began=2000.0)

    lines = raymi("sweep", "watch").splitlines()

    assert lines[0] == "4 settings, 2 ways to compute, no budget"
    assert lines[-1] == "bf16 wins because it is fast."


def test_programs_get_the_events_as_they_were_written(store):
    directory = write_sweep(store, "one", *BEGINNING, DECIDED)

    lines = raymi("sweep", "watch", str(directory), "--json").splitlines()

    written = (directory / "events.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [json.loads(line) for line in written]


def test_an_unfinished_sweep_can_be_looked_at_without_waiting(store):
    write_sweep(store, "one", *BEGINNING)

    assert "1900" in raymi("sweep", "watch", "one", "--once").replace(",", "")


def test_what_happens_while_one_watches_is_told(store, monkeypatch):
    directory = write_sweep(store, "one", *BEGINNING)
    waited = threading.Event()

    def go_on(_seconds: float) -> None:
        with (directory / "events.jsonl").open("a") as file:
            file.write(json.dumps({**DECIDED, "time": 1100.0}) + "\n")
        waited.set()

    monkeypatch.setattr(sweeps.time, "sleep", go_on)

    assert raymi("sweep", "watch", "one").splitlines()[-1] == DECIDED["sentence"]
    assert waited.is_set()


def test_nobody_waits_for_a_sweep_that_nobody_is_at_work_on(store, monkeypatch):
    write_sweep(store, "one", *BEGINNING)
    times = itertools.count(step=5.0)
    monkeypatch.setattr(sweeps.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(sweeps.time, "sleep", lambda _: None)

    with pytest.raises(ConflictError, match="one was interrupted"):
        raymi("sweep", "watch", "one")


def test_an_unknown_sweep_is_not_found(store):
    write_sweep(store, "one", *BEGINNING)

    with pytest.raises(NotFoundError, match="no sweep two"):
        raymi("sweep", "watch", "two")


def on_screen(state: SweepState) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(sweep_panel("one", state, now=1000.0))
    return console.file.getvalue()


def test_the_screen_shows_progress_budget_runs_and_the_front():
    state = SweepState()
    for event in BEGINNING:
        state = advance(state, {**event, "time": 1000.0})

    shown = on_screen(state)

    assert "0 of 2 runs, about 1m00s left" in shown
    assert "150 of 600 accelerator-s" in shown
    assert "running: precision=[bf16], seed 3" in shown
    assert "1,900" in shown


def test_the_screen_marks_the_winner_and_is_then_over():
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with SweepScreen("one", console) as screen:
        for event in [*BEGINNING, DECIDED]:
            screen.take({**event, "time": 1000.0})

    assert screen.is_over
    assert "* precision=[bf16]" in console.file.getvalue()
    assert DECIDED["sentence"] in console.file.getvalue()
