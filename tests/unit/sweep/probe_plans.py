"""Plans of probes of the digits, for tests of the probe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raymi.specs.loading import load_spec
from raymi.specs.sweep import SweepSpec
from raymi.sweep.probe.plan import PLAN_FILE, ProbePlan
from raymi.sweep.runs import RunPlanner
from raymi.sweep.setting import list_settings

ROOT = Path(__file__).parents[3]

MakePlan = Callable[..., ProbePlan]


def plan_maker(store_dir: Path, *changes: str) -> MakePlan:
    """What makes plans of one sweep.

    Args:
        store_dir: Where the data is put.
        changes: Of the sweep of the digits, `path=value`.

    Returns:
        From a directory, and fields of the ProbePlan or its spec, to a plan that is saved there.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        spec = load_spec(
            ROOT / "jobs/digits/sweep.yaml",
            ["train.resources.num_workers=1", "probe.rounds=6", "probe.window_s=0.01", *changes],
        )
        assert isinstance(spec, SweepSpec)
        settings, reference = list_settings(spec)
        planner = RunPlanner(spec, sweep_id="s", accelerator="cpu", store_dir=store_dir)
        plans = tuple(planner.plan(setting) for setting in settings)

    def make(probe_dir: Path, **fields: Any) -> ProbePlan:
        own = {name: fields.pop(name) for name in [*fields] if name in ProbePlan.model_fields}
        document: dict[str, Any] = {
            "sweep_id": "s",
            "probe_dir": str(probe_dir),
            "settings": settings,
            "plans": plans,
            "reference": reference,
            "spec": spec.probe.model_copy(update={"memory": False, **fields}),
            "num_workers": max(setting.num_workers for setting in settings),
            "cpus_per_worker": 1,
            "accelerator": "cpu",
            "memory_limit_gib": None,
            "limit_s": None,
            "keeps_slow": True,
            "seed": 0,
        }
        plan = ProbePlan(**(document | own))
        plan.save(probe_dir / PLAN_FILE)
        return plan

    return make
