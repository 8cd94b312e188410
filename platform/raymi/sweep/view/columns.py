"""Tables as plain text: columns that line up, with a last one that is wrapped to fit."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 150
"""Characters that a table may take."""

ABSENT = "-"
"""Stands for what is not known."""

_GAP = "  "
_NARROWEST_TEXT = 34


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    header: str
    cells: Sequence[str]

    is_extra: bool = False
    """Whether it is left out where the table would become too wide."""

    is_optional: bool = False
    """Whether it is left out where it has nothing to say."""

    @property
    def width(self) -> int:
        """Characters of the widest cell."""
        return max(map(len, [self.header, *self.cells]))

    @property
    def is_empty(self) -> bool:
        """Whether no cell says anything."""
        return all(cell in ("", ABSENT) for cell in self.cells)


def text_table(columns: Sequence[Column], *, width: int = WIDTH) -> str:
    """Lines of a table; numbers to the right, the last column wrapped if need be.

    Args:
        columns: All of one length. The last one is text.
        width: Characters that a line may take. More swept values than fit make it wider.
    """
    *kept, last = [c for c in columns if not (c.is_optional and c.is_empty)]
    if _taken(kept) + min(last.width, _NARROWEST_TEXT) > width:
        kept = [column for column in kept if not column.is_extra]
    room = max(_NARROWEST_TEXT, width - _taken(kept))
    wrapped = [textwrap.wrap(cell, room) or [""] for cell in last.cells]
    lines = [_line(kept, [column.header for column in kept], last.header)]
    for index, texts in enumerate(wrapped):
        lines.append(_line(kept, [column.cells[index] for column in kept], texts[0]))
        lines += [_line(kept, [""] * len(kept), text) for text in texts[1:]]
    return "\n".join(lines)


def _taken(columns: Sequence[Column]) -> int:
    return sum(column.width + len(_GAP) for column in columns)


def _line(columns: Sequence[Column], cells: Sequence[str], text: str) -> str:
    padded = [
        cell.rjust(column.width) if _is_numeric(column) else cell.ljust(column.width)
        for column, cell in zip(columns, cells, strict=True)
    ]
    return _GAP.join([*padded, text]).rstrip()


def _is_numeric(column: Column) -> bool:
    return all(
        cell in ("", ABSENT) or cell.translate(str.maketrans("", "", ",.+-e%~")).isdigit()
        for cell in column.cells
    )
