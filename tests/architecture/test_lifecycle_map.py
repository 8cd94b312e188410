"""The stages form a chain: nothing is used before an earlier stage made it."""

import importlib
import inspect

import pytest

from raymi.lifecycle import STAGES


@pytest.mark.parametrize("position", range(len(STAGES)), ids=lambda i: STAGES[i].name)
def test_a_stage_only_uses_specs_and_what_earlier_stages_made(position):
    made = {stage.gives for stage in STAGES[:position]}

    used = {name for name in STAGES[position].takes if not name.endswith("Spec")}

    assert used <= made


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_each_stage_package_has_one_run_that_gives_what_the_map_says(stage):
    run = importlib.import_module(f"raymi.{stage.name}.stage").run

    assert inspect.signature(run).return_annotation == stage.gives
