"""What happened in a run and what it means, as sentences and a table."""

from __future__ import annotations

from raymi.charts.page import Details, Prose, Table
from raymi.charts.quantities import percent
from raymi.train.events import Event
from raymi.train.failure import CONSEQUENCES, Policy, Reason
from raymi.train.follow import format_seconds
from raymi.train.run_files import RunFiles, number

_KNOWN = frozenset({"progress", "epoch", "checkpoint"})
"""Kinds that charts show."""
_EXPLANATIONS = ("reason", "cause", "why", "message", "verdict")
_NOTHING_YET = "nothing has happened yet"


def outcome_sentence(run: RunFiles) -> str:
    """How the run ended, or that it has not."""
    decisive = run.of_kind("attempt", "failure", "finished", "left")
    if not decisive:
        return _NOTHING_YET
    last = decisive[-1]
    match last["event"]:
        case "finished":
            return "finished"
        case "failure" if last.get("policy") == Policy.STOP:
            if last.get("reason") == Reason.STOPPED_EARLY:
                return "stopped early"
            return f"failed: {_sentence(last)}"
        case "left":
            return f"left early ({last.get('cause', 'asked to')}); it can be resumed"
    heard_s = run.events[-1]["time"] - run.events[0]["time"]
    return f"not finished; last heard of {format_seconds(heard_s)} after it began"


def has_failed(run: RunFiles) -> bool:
    """Whether anything failed, even if the run recovered."""
    return any(event.get("reason") != Reason.STOPPED_EARLY for event in run.of_kind("failure"))


def history(run: RunFiles) -> list[Table | Prose]:
    """Attempts, failures, warnings and whatever else came with a reason, in order."""
    rows: list[tuple[str, str, str]] = []
    num_attempts = 0
    for event in run.events:
        num_attempts += event["event"] == "attempt"
        told = _told(event, num_attempts)
        if told is not None:
            since_s = event["time"] - run.events[0]["time"]
            rows.append((f"+{format_seconds(since_s)}", *told))
    if not rows:
        return [Prose(f"{_NOTHING_YET.capitalize()}.")]
    num_checkpoints = len(run.of_kind("checkpoint"))
    caption = f"Since the first event. Checkpoints, not listed: {num_checkpoints}."
    return [Table(columns=("time", "what", "details"), rows=rows, caption=caption)]


def tracebacks(run: RunFiles) -> list[Details]:
    """Where each failure came from."""
    failures = [event for event in run.of_kind("failure") if event.get("traceback")]
    return [
        Details(f"Traceback {index}: {event.get('reason', 'failure')}", str(event["traceback"]))
        for index, event in enumerate(failures, start=1)
    ]


def _told(event: Event, num_attempts: int) -> tuple[str, str] | None:
    match event["event"]:
        case "attempt":
            return f"attempt {num_attempts}", _attempt(event)
        case "failure":
            return "failure", f"{event.get('reason', 'no reason given')}: {_consequence(event)}"
        case "finished":
            return "finished", f"{number(event, 'num_steps') or 0:,.0f} steps"
        case "parity":
            return "parity with fp32", _parity(event)
        case kind if kind not in _KNOWN:
            said = [str(event[name]) for name in _EXPLANATIONS if event.get(name)]
            return (kind.replace("_", " "), "; ".join(said)) if said else None
    return None


def _attempt(event: Event) -> str:
    step, total = number(event, "step") or 0, number(event, "total_steps") or 0
    parts = [count_workers(event), f"step {step:,.0f} of {total:,.0f}"]
    if (size := number(event, "micro_batch_size")) is not None:
        parts.append(f"micro-batch {size:.0f}")
    return ", ".join(parts)


def count_workers(attempt: Event) -> str:
    """`1 worker`, `8 workers`."""
    workers = number(attempt, "num_workers") or 0
    return f"{workers:.0f} worker{'s' * (workers != 1)}"


def _consequence(event: Event) -> str:
    if event.get("reason") == Reason.STOPPED_EARLY:
        return f"{_sentence(event)}."
    if event.get("policy") == "shrink":
        done = "went on from the newest checkpoint with half the micro-batch"
    elif event.get("policy") != Policy.STOP:
        done = "went on from the newest checkpoint"
    else:
        return f"{_sentence(event)}; gave up. Try: {_fix(event)}."
    return f"{_sentence(event)}; {done}."


def _sentence(event: Event) -> str:
    reason = _reason(event)
    return "for a reason not known here" if reason is None else CONSEQUENCES[reason].sentence


def _fix(event: Event) -> str:
    return CONSEQUENCES[_reason(event) or Reason.ERROR].fix


def _reason(event: Event) -> Reason | None:
    text = event.get("reason")
    return next((reason for reason in Reason if reason.value == text), None)


def _parity(event: Event) -> str:
    difference, allowed = number(event, "max_loss_difference"), number(event, "loss_tolerance")
    measured = ""
    if difference is not None and allowed is not None:
        measured = f" (losses within {percent(difference)}, {percent(allowed)} allowed)"
    return f"{event.get('verdict', '')}{measured}".strip()
