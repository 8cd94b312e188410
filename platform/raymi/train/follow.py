"""Print what happens in running runs, one line at a time, while their driver waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from raymi.train.events import Event, EventReader
from raymi.train.failure import Policy, Reason

_POLL_INTERVAL_S = 0.3
_PROGRESS_INTERVAL_S = 2.0


@contextmanager
def follow(
    logs: Mapping[str, Path],
    say: Callable[[str], None],
    *,
    overall: Callable[[Event], str | None] = lambda _: None,
) -> Iterator[None]:
    """Follow event logs in the background until the block ends.

    Args:
        logs: Prefix of each printed line -> the log it comes from.
        say: Receives the lines.
        overall: Gives a line about all logs together after an event, or None.
    """
    readers = {prefix: EventReader(path) for prefix, path in logs.items()}
    for reader in readers.values():
        list(reader.new_events())  # What a resumed run wrote before was printed then.
    throttles = {prefix: Throttle() for prefix in logs}
    stopped = threading.Event()

    def drain() -> None:
        for prefix, reader in readers.items():
            for event in reader.new_events():
                line = format_event(event)
                if line and throttles[prefix].lets_through(event):
                    say(f"{prefix}{line}")
                if line := overall(event):
                    say(line)

    def poll() -> None:
        while not stopped.wait(_POLL_INTERVAL_S):
            drain()

    thread = threading.Thread(target=poll, name="follow-events", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        drain()


class Throttle:
    """Lets one progress line through every few seconds: short epochs would flood a log."""

    def __init__(self) -> None:
        self._shown_at = float("-inf")

    def lets_through(self, event: Event) -> bool:
        """Whether to print this event; whatever is not mere progress always is."""
        if event["event"] not in ("progress", "epoch") or event["step"] == event["total_steps"]:
            return True
        if event["time"] - self._shown_at < _PROGRESS_INTERVAL_S:
            return False
        self._shown_at = event["time"]
        return True


def format_event(event: Event) -> str | None:
    """One line for people; None for events that are only for the record."""
    match event["event"]:
        case "attempt":
            resumed = f", resumed at step {event['step']}" if event["step"] else ""
            return f"{event['num_workers']} workers ready, {event['total_steps']} steps{resumed}"
        case "progress":
            return (
                f"epoch {event['epoch']}/{event['num_epochs']}  "
                f"step {event['step']}/{event['total_steps']}  loss {event['loss']:.4f}  "
                f"{_pace(event)}"
            )
        case "epoch":
            metric = next(name for name in _SHOWN if name in event)
            return (
                f"epoch {event['epoch']}/{event['num_epochs']}  loss {event['train_loss']:.4f}  "
                f"validation loss {event['loss']:.4f}, {metric} {event[metric]:{_SHOWN[metric]}}  "
                f"{_pace(event)}"
            )
        case "failure" if event["reason"] == Reason.STOPPED_EARLY:
            return "stopped early"
        case "failure":
            return f"failed ({event['reason']}): {_AFTERWARDS[event['policy']]}"
        case "parity":
            return str(event["verdict"])
        case "checkpoint_skipped":
            return f"damaged checkpoint passed over: {event['path']} ({event['why']})"
        case "storage_trouble":
            return f"cannot write ({event['reason']}), trying again: {event['why']}"
        case "stopping":
            return "told to end: the workers will save and leave; tell again to end at once"
        case "left":
            return f"saved at step {event['step']} and left: {event['cause']}"
        case "finished":
            return (
                f"finished {event['num_steps']} steps in {format_seconds(event['duration_s'])}: "
                f"{event['samples_per_s']:,.0f} samples/s, "
                f"peak {event['peak_memory_gib']:.2f} GiB"
            )
    return None


_SHOWN = {"bits_per_byte": ".4f", "accuracy": ".4f", "rmse": ".5g"}
"""The metric of an epoch's line, first found first, and its digits."""

_AFTERWARDS = {
    Policy.RETRY: "going back to the newest checkpoint",
    Policy.SHRINK: "going back to the newest checkpoint with half the micro-batch",
    Policy.STOP: "giving up",
}


def _pace(event: Event) -> str:
    """Rates, and of the live numbers those that the event has."""
    parts = [f"{event['samples_per_s']:,.0f} samples/s"]
    if "tokens_per_s" in event:
        parts.append(f"{event['tokens_per_s']:,.0f} tokens/s")
    if "data_wait_share" in event:
        parts.append(f"wait {event['data_wait_share']:.0%}")
    if "mfu" in event:
        parts.append(f"mfu {event['mfu']:.0%}")
    if "power_w" in event:
        parts.append(f"{event['power_w']:,.0f} W")
    return "  ".join([*parts, f"eta {format_seconds(event['eta_s'])}"])


def format_seconds(seconds: float) -> str:
    """`42s`, `3m05s`, `2h07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
