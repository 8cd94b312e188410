"""Groups of evaluation rows, read once: the same for every run of a sweep."""

from __future__ import annotations

from raymi.data.version import Split
from raymi.sweep.evidence import Slices
from raymi.train.plan import TrainPlan
from raymi.train.row_scores import row_slices


class RowGroups:
    """Reads the groups of a split when they are first asked for."""

    def __init__(self, plan: TrainPlan) -> None:
        self._plan = plan
        self._known: dict[Split, tuple[tuple[str, ...], tuple[int, ...]]] = {}

    def slices(self, *, with_test: bool) -> Slices:
        """Those of the validation rows, and of the test rows if somebody has looked at them."""
        names, validation = self._read(Split.VALIDATION)
        test = self._read(Split.TEST)[1] if with_test else ()
        return Slices(names=names, validation=validation, test=test)

    def _read(self, split: Split) -> tuple[tuple[str, ...], tuple[int, ...]]:
        if split not in self._known:
            names, groups = row_slices(self._plan, split)
            self._known[split] = names, tuple(groups.tolist())
        return self._known[split]
