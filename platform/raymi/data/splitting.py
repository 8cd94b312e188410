"""Which rows are held out: a pure function of the salt and each row's own content.

Each row has a position in [0, 1), from its hash. Positions below `test` are test rows, the
next `validation` positions are validation rows, the others train. So equal rows share a
split, and adding rows never moves another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from raymi.data.hashing import mix, row_hashes, text_hash
from raymi.errors import DataError
from raymi.specs.data import Split, SplitSpec

SPLITS = tuple(Split)
"""The order of shards, and of the indices `assign_splits` gives."""

_TRAIN, _VALIDATION, _TEST = range(3)


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
    assigned = []
    for table, split in zip(tables, declared, strict=True):
        if split in (Split.VALIDATION, Split.TEST):
            assigned.append(np.full(table.num_rows, SPLITS.index(split), dtype=np.int8))
            continue
        places = positions(table, spec.salt)
        chosen = np.full(table.num_rows, _TRAIN, dtype=np.int8)
        # The validation interval starts at spec.test even if no test rows are taken, so that
        # adding a test file later does not reshuffle the validation rows.
        chosen[(places >= spec.test) & (places < spec.test + validation)] = _VALIDATION
        chosen[places < test] = _TEST
        assigned.append(chosen)
    _require_rows(assigned, spec, wanted=(True, validation > 0.0, test > 0.0))
    return assigned


def _require_rows(
    assigned: Sequence[np.ndarray], spec: SplitSpec, *, wanted: tuple[bool, bool, bool]
) -> None:
    counts = np.bincount(np.concatenate(assigned), minlength=len(SPLITS))
    for split, count, is_wanted in zip(SPLITS, counts, wanted, strict=True):
        if is_wanted and count == 0:
            raise DataError(
                f"no rows for the {split.value} split",
                why=f"{sum(map(len, assigned))} rows (equal rows stay together) are too few for "
                f"validation={spec.validation:g} and test={spec.test:g}",
                fix="add rows, change the fractions or the salt, "
                "or name the split of each source (`split: train`)",
            )
