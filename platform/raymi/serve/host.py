"""One loaded model that answers many requests: validated rows in, predictions out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from raymi.errors import RequestError
from raymi.evaluate.predictor import Predictions, Predictor
from raymi.registry.bundle import Bundle
from raymi.registry.golden import GoldenExamples
from raymi.serve.answers import first_non_finite, join, split
from raymi.serve.batching import BatchLimits, BatchQueue, sizes_up_to
from raymi.serve.identity import ServedModel
from raymi.serve.rows import example_row, parse_rows
from raymi.specs.backend import ServingPrecision

_STUCK_AFTER_S = 60.0


class NoFiniteAnswerError(RequestError):
    """The network's answer is NaN or infinite: of this version, for this row."""


_NUM_WARM_PASSES = 5

_INLINE_BELOW_S = {"cpu": 0.020, "cuda": 0.001}
"""A full batch that takes less is computed in the event loop: to hand it to a thread and back costs
two switches between threads that want the same interpreter, and under load far more than that. On a
CPU the batch needs the core that the loop would have gone on with; an accelerator does not need it.
"""


class ModelHost:
    """A model, its identity and its batch queue."""

    def __init__(
        self,
        bundle: Bundle,
        served: ServedModel,
        limits: BatchLimits,
        *,
        predictor: Predictor | None = None,
    ) -> None:
        """Build the network of a verified bundle; it answers once `warm_up` has returned.

        Args:
            bundle: The model.
            served: What it is called.
            limits: When a batch leaves.
            predictor: What computes; unset: the network as it was evaluated.
        """
        self.served = served
        self.signature = bundle.signature
        self.is_ready = False
        self.batch_sizes: Counter[int] = Counter()
        """How many forward passes had so many rows."""
        self._leases = 0
        self._is_retired = False
        self._preprocessing = bundle.preprocessing
        self._predictor = predictor or bundle.predictor()
        self._max_batch_size = limits.max_batch_size
        self._queue: BatchQueue[pa.RecordBatch, Predictions] = BatchQueue(self._compute, limits)

    def require_room(self) -> None:
        """Refuse a request before its body is read.

        Raises:
            OverloadedError: Too much is waiting already.
        """
        self._queue.require_room()

    async def predict(self, rows: pa.RecordBatch) -> Predictions:
        """Predict rows together with whatever else is waiting.

        Raises:
            OverloadedError: Too much is waiting already.
            NoFiniteAnswerError: The network's answer for a row is not a finite number.
        """
        size = self._max_batch_size
        if rows.num_rows <= size:
            pieces = [rows]
        else:
            pieces = [rows.slice(start, size) for start in range(0, rows.num_rows, size)]
        parts = await self._queue.submit([(piece, piece.num_rows) for piece in pieces])
        predictions = join(parts)
        if (row := first_non_finite(predictions)) is not None:
            raise NoFiniteAnswerError(
                f"rows[{row}]: the model has no finite answer",
                why="its values are too far from anything the model was trained on",
                fix="check the units of the row's numbers",
                field=f"rows[{row}]",
            )
        return predictions

    def warm_up(self) -> None:
        """Predict the example row, alone and in batches up to a full one, before anybody is served.

        Blocks; the first passes of a network may take a hundred times as long as later ones, and
        libraries choose another way from some size on. How long a full batch takes then decides
        whether batches get a thread of their own.
        """
        row = example_row(self.signature)
        for num_rows in sizes_up_to(self._max_batch_size):
            rows = parse_rows([row] * num_rows, self.signature, max_rows=num_rows)
            num_passes = _NUM_WARM_PASSES if num_rows in (1, self._max_batch_size) else 1
            took_s = min(self._timed(rows) for _ in range(num_passes))
        self._queue.computes_inline = took_s < _INLINE_BELOW_S.get(self._predictor.device.type, 0.0)
        self.is_ready = True

    def check_golden(
        self, golden: GoldenExamples, precision: ServingPrecision | None = None
    ) -> None:
        """Predict the examples that were registered with the model, and compare.

        Args:
            golden: What was registered.
            precision: The arithmetic in use, if it is not the registered one.

        Raises:
            IntegrityError: An answer differs by more than this arithmetic explains.
        """
        parts: list[Predictions] = []
        for batch in golden.rows.to_batches(max_chunksize=self._max_batch_size):
            parts += self._queue.compute_now([batch])
        golden.require_same(
            join(parts).outputs,
            name=self.served.name,
            version=self.served.version,
            precision=precision,
        )

    def _timed(self, rows: pa.RecordBatch) -> float:
        began_s = time.perf_counter()
        self._queue.compute_now([rows])
        return time.perf_counter() - began_s

    def check(self) -> None:
        """Raise if this replica should be replaced.

        Raises:
            RuntimeError: A forward pass does not come back.
        """
        if self._queue.busy_s > _STUCK_AFTER_S:
            raise RuntimeError(f"a forward pass has been running for {self._queue.busy_s:.0f} s")

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for a forward pass."""
        return self._queue.waiting_rows

    def lease(self) -> None:
        """Somebody has picked this version for a request."""
        self._leases += 1

    def release(self) -> None:
        """That request is over."""
        self._leases -= 1
        if self._is_retired and self._leases == 0:
            self.close()

    def retire(self) -> None:
        """Close as soon as no request needs it any more."""
        self._is_retired = True
        if self._leases == 0:
            self.close()

    def close(self) -> None:
        """Stop taking requests."""
        self.is_ready = False
        self._queue.close()

    def _compute(self, batches: Sequence[pa.RecordBatch]) -> Sequence[Predictions]:
        table = pa.Table.from_batches(batches)
        self.batch_sizes[table.num_rows] += 1
        if len(batches) > 1:
            table = table.combine_chunks()
        # Rows far outside of the training range may overflow; `predict` refuses their answers.
        with np.errstate(all="ignore"):
            predictions = self._predictor.predict(self._preprocessing.encode(table))
        return split(predictions, [batch.num_rows for batch in batches])
