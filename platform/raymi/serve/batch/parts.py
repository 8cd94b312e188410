"""Which rows belong to which part, which parts are missing, and where reading them may begin.

Rows are numbered through the whole input. Pure functions: the same input is always cut the same
way, so a job that was killed finds its parts again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from raymi.store.record import Record


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive rows that become one file."""

    index: int
    """Its place among the parts."""

    first: int
    """Its first row."""

    end: int
    """The row after its last."""

    @property
    def num_rows(self) -> int:
        """How many."""
        return self.end - self.first

    @property
    def name(self) -> str:
        """Of its files, without what comes after the dot."""
        return f"part-{self.index:05d}"


class PartReceipt(Record):
    """What was published for one part."""

    index: int
    """The part."""

    first_row: int
    """Its first row."""

    num_rows: int
    """Rows in the file."""

    num_failed: int
    """Those of them that have an error in place of a prediction."""

    sha256: str
    """Of the file."""

    num_bytes: int
    """Its size."""

    finished_at: datetime
    """UTC."""


@dataclass(frozen=True, slots=True)
class Published:
    """A part's file as it is on disk."""

    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Resumption:
    """What an earlier attempt has left to do."""

    done: tuple[PartReceipt, ...]
    """Parts whose files are those that were published."""

    missing: tuple[Part, ...]
    """Parts to predict, in order."""

    damaged: Mapping[int, str]
    """Of the missing ones, those that were published once -> what is wrong with them now."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of the input that one opening reaches: a file, or a row group of one."""

    first: int
    """Its first row, through the whole input."""

    num_rows: int
    """How many."""

    starts_anywhere: bool
    """Whether reading can begin at any row, without reading those before it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one task reads: it begins at a row and gives those of its parts."""

    start: int
    parts: tuple[Part, ...]


def cut(num_rows: int, rows_per_part: int) -> tuple[Part, ...]:
    """Cut rows into parts of equal size, the last one smaller; no rows are one empty part.

    >>> [(part.first, part.end) for part in cut(7, 3)]
    [(0, 3), (3, 6), (6, 7)]
    """
    firsts = range(0, max(num_rows, 1), rows_per_part)
    return tuple(
        Part(index, first, min(first + rows_per_part, num_rows))
        for index, first in enumerate(firsts)
    )


def resume(
    parts: Sequence[Part],
    receipts: Mapping[int, PartReceipt],
    published: Mapping[int, Published],
) -> Resumption:
    """Tell the parts that are done from those to do, or to do again.

    Args:
        parts: All of them.
        receipts: What an earlier attempt wrote down, by part.
        published: What is on disk, by part.
    """
    damaged: dict[int, str] = {}
    done: list[PartReceipt] = []
    missing: list[Part] = []
    for part in parts:
        receipt = receipts.get(part.index)
        fault = "" if receipt is None else _fault(part, receipt, published.get(part.index))
        if receipt is not None and not fault:
            done.append(receipt)
            continue
        missing.append(part)
        if fault:
            damaged[part.index] = fault
    return Resumption(tuple(done), tuple(missing), damaged)


def _fault(part: Part, receipt: PartReceipt, published: Published | None) -> str:
    if (receipt.first_row, receipt.num_rows) != (part.first, part.num_rows):
        return "its receipt is about other rows"
    if published is None:
        return "its file is gone"
    if published.num_bytes != receipt.num_bytes:
        return f"its file has {published.num_bytes} bytes instead of {receipt.num_bytes}"
    if published.sha256 != receipt.sha256:
        return "its sha256 is not the published one"
    return ""


def readings(missing: Sequence[Part], pieces: Sequence[Piece]) -> tuple[Reading, ...]:
    """Share the missing parts among tasks, in order.

    Parts that begin in the same piece are read together if its rows can only be reached one
    after another; so no row is read more than twice, and all else in parallel.

    Args:
        missing: Parts with rows, in order.
        pieces: The whole input, in order, none without rows.
    """
    firsts = [piece.first for piece in pieces]
    found: list[Reading] = []
    for part in missing:
        piece = pieces[bisect_right(firsts, part.first) - 1]
        start = part.first if piece.starts_anywhere else piece.first
        if found and found[-1].start == start:
            found[-1] = Reading(start, (*found[-1].parts, part))
        else:
            found.append(Reading(start, (part,)))
    return tuple(found)
