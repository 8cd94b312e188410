"""What a sweep stands on: its settings, the cluster, the data, and what cannot run here at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymi.accelerators.catalog import Accelerator
from raymi.accelerators.prices import Price, price_of
from raymi.accelerators.rates import board
from raymi.data import stage as data_stage
from raymi.data.version import Split
from raymi.errors import CapabilityError, DataError, RaymiError, SpecError
from raymi.specs.data import DataSpec
from raymi.specs.sweep import Objective, SweepSpec
from raymi.sweep.allowance import Limits, limits_of
from raymi.sweep.concurrency import max_concurrent_trials
from raymi.sweep.evidence import Evidence
from raymi.sweep.runs import RunPlanner
from raymi.sweep.setting import Setting, list_settings, run_of
from raymi.sweep.workspace import Workspace
from raymi.train import cluster
from raymi.train.admission import Resources, admit, num_workers_that_fit, resolve_accelerator
from raymi.train.objective import HIGHER_IS_BETTER, primary_metric
from raymi.train.plan import TrainPlan
from raymi.train.provenance import collect_provenance
from raymi.train.result import Provenance

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Ground:
    """Everything that is known before anything starts."""

    spec: SweepSpec
    settings: tuple[Setting, ...]
    reference: int
    refused: dict[int, str]
    """Setting -> why it cannot run here."""

    plans: dict[int, TrainPlan]
    """Setting -> its run with the reference's seed; only those that can run."""

    planner: RunPlanner
    accelerator: Accelerator
    nodes: Sequence[Resources]
    price: Price | None
    limits: Limits
    provenance: Provenance

    @property
    def usable(self) -> list[Setting]:
        """Settings that can run here."""
        return [setting for setting in self.settings if setting.index in self.plans]

    @property
    def plan(self) -> TrainPlan:
        """The reference's."""
        return self.plans[self.reference]

    @property
    def metric(self) -> str:
        """Name of the quality."""
        return primary_metric(self.plan.preprocessing.target)

    @property
    def higher_is_better(self) -> bool:
        """Its direction."""
        return HIGHER_IS_BETTER[self.metric]

    @property
    def memory_limit_gib(self) -> float | None:
        """What one worker may use, headroom taken off; None: nobody knows."""
        headroom = self.spec.probe.memory_headroom
        if self.accelerator.is_gpu:
            known = board(self.accelerator)
            return None if known is None else known.memory_gib * (1.0 - headroom)
        resources = run_of(self.spec, self.settings[self.reference]).resources
        shares = [
            node["memory"] / fit / _GIB
            for node in self.nodes
            if node.get("memory", 0.0) > 0
            and (fit := num_workers_that_fit(resources, self.accelerator, [node]))
        ]
        return min(shares, default=0.0) * (1.0 - headroom) or None

    def num_concurrent(self, settings: Sequence[Setting]) -> int:
        """Runs of these settings that may be under way at once."""
        return max_concurrent_trials(
            [self.plans[setting.index].spec for setting in settings],
            self.accelerator,
            self.nodes,
            limit=self.spec.max_concurrent_trials,
        )

    def evidence(self, workspace: Workspace) -> Evidence:
        """What is known so far, without any measurement."""
        return Evidence(
            sweep_id=workspace.sweep_id,
            spec=self.spec.to_document(),
            spec_fingerprint=self.spec.fingerprint(),
            settings=self.settings,
            reference=self.reference,
            accelerator=self.accelerator.name,
            price_per_hour=self.price.per_hour if self.price else None,
            price_source=self.price.origin if self.price else None,
            dataset=self.plan.dataset.summary(),
            num_train_rows=self.plan.dataset.num_rows(Split.TRAIN),
            metric=self.metric,
            higher_is_better=self.higher_is_better,
            refused=self.refused,
            environment=self.provenance.environment,
            hardware=self.provenance.hardware,
            git_commit=self.provenance.git_commit,
            started_at=workspace.started.started_at,
        )


def pin_data(spec: SweepSpec, store_dir: Path) -> SweepSpec:
    """Import the data once and have every run name that very version."""
    if any(path.startswith("data") for path in spec.space):
        raise SpecError(
            "space: the data of a sweep cannot vary",
            why="settings are compared row by row, which takes the same rows",
            fix="sweep each dataset on its own",
        )
    version = data_stage.run(spec.train.data, store_dir=store_dir)
    pinned = DataSpec(name=version.name, version=version.fingerprint)
    return spec.model_copy(update={"train": spec.train.model_copy(update={"data": pinned})})


def survey(spec: SweepSpec, workspace_id: str, *, store_dir: Path) -> Ground:
    """Look at everything before anything starts.

    Args:
        spec: What is asked, its data pinned.
        workspace_id: Of the sweep; runs are named after it.
        store_dir: Where datasets and runs are.

    Raises:
        SpecError: No setting can run here, or the objective cannot be measured.
        DataError: There are no rows to compare settings on.
    """
    nodes = cluster.nodes()
    accelerator = resolve_accelerator(spec.train.resources.accelerator, nodes)
    price = price_of(accelerator.name, spec.prices)
    _require_price(spec, price, accelerator)
    settings, reference = list_settings(spec)
    planner = RunPlanner(
        spec, sweep_id=workspace_id, accelerator=accelerator.name, store_dir=store_dir
    )
    plans: dict[int, TrainPlan] = {}
    refused: dict[int, str] = {}
    first: RaymiError | None = None
    for setting in settings:
        try:
            admit(run_of(spec, setting), nodes)
            plans[setting.index] = planner.plan(setting)
        except (CapabilityError, SpecError) as error:
            refused[setting.index] = f"{error.what}: {error.why}"
            first = first or error
    if not plans and first is not None:
        raise first
    if reference not in plans:
        reference = min((settings[index] for index in plans), key=lambda s: s.safety).index
    _require_rows(plans[reference])
    return Ground(
        spec=spec,
        settings=settings,
        reference=reference,
        refused=refused,
        plans=plans,
        planner=planner,
        accelerator=accelerator,
        nodes=nodes,
        price=price,
        limits=limits_of(spec.budget, price_per_hour=price.per_hour if price else None),
        provenance=collect_provenance(accelerator, code_package=cluster.code_package()),
    )


def _require_price(spec: SweepSpec, price: Price | None, accelerator: Accelerator) -> None:
    wants: list[Any] = [spec.budget.money, spec.objective is Objective.MONEY]
    if price is None and any(wants):
        raise SpecError(
            f"prices: nobody says what {accelerator.name} costs",
            why="the sweep has a budget or an objective in money",
            fix=f"add the price of one worker for an hour: prices: {{{accelerator.name}: 0.05}}",
        )


def _require_rows(plan: TrainPlan) -> None:
    if plan.dataset.num_rows(Split.VALIDATION) == 0:
        raise DataError(
            f"dataset {plan.dataset.name}: no validation rows",
            why="settings are compared on rows that training does not see, and there are none",
            fix="import it again with `split.validation` above 0",
        )
