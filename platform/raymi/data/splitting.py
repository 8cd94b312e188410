"""Which rows are held out: by each row's own content, or by where it stands.

By content: each row has a place in [0, 1), from its hash and the salt. Places below `test` are
test rows, the next `validation` places are validation rows, the others train. So equal rows
share a split, and adding rows never moves another.

By position: the sources, one after the other, are cut into training, validation and test rows,
in this order. For rows that follow from each other (a text, a time series), where held-out
rows between training rows would say too much.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from raymi.data.hashing import mix, row_hashes, text_hash
from raymi.errors import DataError
from raymi.specs.data import Split, SplitBy, SplitSpec

SPLITS = tuple(Split)
"""The order of shards, and of the indices `assign_splits` gives."""

_TRAIN, _VALIDATION, _TEST = range(3)
_TOGETHER = {SplitBy.CONTENT: " (equal rows stay together)", SplitBy.POSITION: ""}


def positions(table: pa.Table, salt: str) -> np.ndarray:
    """Place each row in [0, 1); (N,) float64."""
    hashes = mix(row_hashes(table) ^ text_hash(f"split:{salt}"))
    return (hashes >> np.uint64(11)) * 2.0**-53


def assign_splits(
    tables: Sequence[pa.Table], declared: Sequence[Split | None], spec: SplitSpec
) -> list[np.ndarray]:
    """Return the split of every row of every source, as indices into `SPLITS`.

    Rows of a source that names a split stay there, except that validation and test rows are
    taken from training rows when no source declares any (set the fraction to 0 to have none).

    Raises:
        DataError: A split that should have rows has none.
    """
    validation = 0.0 if Split.VALIDATION in declared else spec.validation
    test = 0.0 if Split.TEST in declared else spec.test
    open_tables = [
        table
        for table, split in zip(tables, declared, strict=True)
        if split not in (Split.VALIDATION, Split.TEST)
    ]
    if spec.by is SplitBy.POSITION:
        chosen = _by_position([t.num_rows for t in open_tables], validation=validation, test=test)
    else:
        chosen = [
            _by_content(positions(table, spec.salt), spec, validation=validation, test=test)
            for table in open_tables
        ]
    remaining = iter(chosen)
    assigned = [
        np.full(table.num_rows, SPLITS.index(split), dtype=np.int8)
        if split in (Split.VALIDATION, Split.TEST)
        else next(remaining)
        for table, split in zip(tables, declared, strict=True)
    ]
    _require_rows(assigned, spec, wanted=(True, validation > 0.0, test > 0.0))
    return assigned


def _by_content(
    places: np.ndarray, spec: SplitSpec, *, validation: float, test: float
) -> np.ndarray:
    chosen = np.full(len(places), _TRAIN, dtype=np.int8)
    # The validation interval starts at spec.test even if no test rows are taken, so that
    # adding a test file later does not reshuffle the validation rows.
    chosen[(places >= spec.test) & (places < spec.test + validation)] = _VALIDATION
    chosen[places < test] = _TEST
    return chosen


def _by_position(num_rows: Sequence[int], *, validation: float, test: float) -> list[np.ndarray]:
    """One cut through all sources, in their order; the fractions are met to the nearest row."""
    total = sum(num_rows)
    num_test = round(test * total)
    first_held_out = total - num_test - round(validation * total)
    chosen = np.full(total, _TRAIN, dtype=np.int8)
    chosen[first_held_out:] = _VALIDATION
    chosen[total - num_test :] = _TEST
    return np.split(chosen, np.cumsum(num_rows)[:-1])


def _require_rows(
    assigned: Sequence[np.ndarray], spec: SplitSpec, *, wanted: tuple[bool, bool, bool]
) -> None:
    counts = np.bincount(np.concatenate(assigned), minlength=len(SPLITS))
    for split, count, is_wanted in zip(SPLITS, counts, wanted, strict=True):
        if is_wanted and count == 0:
            raise DataError(
                f"no rows for the {split.value} split",
                why=f"{sum(map(len, assigned))} rows{_TOGETHER[spec.by]} are too few for "
                f"validation={spec.validation:g} and test={spec.test:g}",
                fix="add rows, change the fractions or the salt, "
                "or name the split of each source (`split: train`)",
            )
