"""When requests arrive: at random or as they once did, whether or not earlier ones are answered."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from raymi.errors import DataError


def poisson(rate_per_s: float, duration_s: float, *, seed: int) -> np.ndarray:
    """Arrival times of a Poisson process, in seconds from its start, sorted."""
    draw = np.random.default_rng(seed)
    count = draw.poisson(rate_per_s * duration_s)
    return np.sort(draw.uniform(0.0, duration_s, count))


def replay(
    times_s: Sequence[float] | np.ndarray, *, rate_per_s: float, duration_s: float
) -> np.ndarray:
    """Arrival times of a trace, stretched to a mean rate, from its start.

    Bursts and lulls keep their shape. A trace that is too short is played again.

    Raises:
        DataError: It has fewer than two arrivals, or all at once.
    """
    times = np.sort(np.asarray(times_s, dtype=np.float64))
    if len(times) < 2 or times[-1] <= times[0]:
        raise DataError(
            "the trace cannot be replayed",
            why="it needs two arrivals at different times",
            fix="give a file with one arrival a row",
        )
    times -= times[0]
    # One gap more, of mean length, before it begins again.
    period = times[-1] * len(times) / (len(times) - 1)
    scale = len(times) / (rate_per_s * period)
    num_rounds = int(np.ceil(duration_s / (period * scale)))
    rounds = [(times + period * k) * scale for k in range(num_rounds)]
    arrivals = np.concatenate(rounds)
    return arrivals[arrivals < duration_s]


def read_trace(path: Path) -> np.ndarray:
    """Arrival times of a CSV file, in seconds; its first column is a time stamp or a number.

    Raises:
        DataError: A row has neither.
    """
    times: list[float] = []
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows, None)
        for number, row in enumerate(rows, start=2):
            try:
                times.append(_seconds(row[0]))
            except (ValueError, IndexError) as error:
                raise DataError(
                    f"{path}:{number}: no arrival time",
                    why=f"its first column is neither a number nor a time stamp ({header})",
                    fix="put the arrival times into the first column",
                ) from error
    return np.array(times)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        # Some traces have seven digits of a second; Python reads six.
        whole, point, fraction = text.strip().partition(".")
        return datetime.fromisoformat(whole).timestamp() + float(f"0{point}{fraction or 0}")
