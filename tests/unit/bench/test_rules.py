"""Everybody does the same work on the same rows, and a turn fits into an epoch."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.bench import rules
from raymi.data.loading import load_split
from raymi.data.version import Split
from raymi.errors import SpecError
from raymi.specs.train import TrainSpec
from raymi.train.plan import TrainPlan


def spec_of(**changes: object) -> TrainSpec:
    document: dict[str, object] = {
        "name": "things",
        "problem": "unused",
        "data": "things",
        "precision": "bf16",
        "batch": {"global_batch_size": 64, "micro_batch_size": 8},
        "resources": {"num_workers": 4},
        "optimizer": {"learning_rate": 0.01, "max_gradient_norm": 0.5},
        "epochs": 3,
        "seed": 5,
    }
    return TrainSpec.from_document(document | changes)


def test_a_run_under_the_bench_neither_ends_nor_saves_nor_changes_its_rate():
    level = rules.level(spec_of(max_steps=10, checkpoint={"every_steps": 2}))

    assert level.epochs == level.checkpoint.every_steps == rules.NEVER
    assert level.max_steps is None
    assert (level.schedule.shape.value, level.schedule.warmup_fraction) == ("constant", 0.0)


def test_everything_else_is_as_the_spec_says():
    spec, level = spec_of(), rules.level(spec_of())

    for name in ("data", "precision", "batch", "optimizer", "seed", "model"):
        assert getattr(level, name) == getattr(spec, name)


def test_an_elastic_run_is_measured_with_all_its_workers():
    level = rules.level(spec_of(resources={"num_workers": {"min": 1, "max": 4}}))

    assert level.resources.num_workers == 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("parallelism", {"strategy": "fsdp"}),
        ("parallelism", {"compile": True}),
        ("optimizer", {"ema_decay": 0.9}),
        ("rows", {"source": "stream"}),
    ],
)
def test_what_the_others_have_no_counterpart_of_is_refused(field, value):
    with pytest.raises(SpecError, match=field):
        rules.level(spec_of(**{field: value}))


def test_one_process_alone_does_exactly_the_work_of_one_worker():
    spec = rules.level(spec_of())
    alone = rules.alone(spec)

    assert alone.resources.num_workers == 1
    assert alone.batch.micro_batch_size == spec.batch.micro_batch_size
    assert alone.batch.accumulation_steps(1) == spec.batch.accumulation_steps(4)


@given(st.integers(1, 10**7), st.integers(1, 4096), st.integers(1, 10**6))
def test_rows_are_repeated_as_often_as_a_turn_needs_and_memory_allows(num_rows, batch, row_bytes):
    times = rules.num_repeats(num_rows, global_batch_size=batch, row_bytes=row_bytes)

    assert times * num_rows >= rules.FEWEST_STEPS * batch
    if times > 1:
        fewer = (times - 1) * num_rows
        assert fewer < rules.ENOUGH_STEPS * batch
        assert fewer * row_bytes < max(
            rules.MAX_REPEATED_BYTES, rules.FEWEST_STEPS * batch * row_bytes
        )


@pytest.fixture
def plan(plan_of, classifier_run) -> TrainPlan:
    return plan_of(classifier_run, batch={"global_batch_size": 4, "micro_batch_size": 1})


def table_of(plan: TrainPlan, split: Split) -> pa.Table:
    return load_split(Path(plan.dataset_dir), plan.dataset, split)


def test_repeated_rows_are_the_rows_again_and_again_in_one_piece(plan, tmp_path):
    repeated = rules.repeat_rows(plan, tmp_path / "rows")

    before, after = table_of(plan, Split.TRAIN), table_of(repeated, Split.TRAIN)
    times = after.num_rows // before.num_rows
    assert after.num_rows >= rules.ENOUGH_STEPS * 4
    assert after == pa.concat_tables([before] * times)
    assert sum(shard.split is Split.TRAIN for shard in repeated.dataset.shards) == 1


def test_held_out_rows_are_not_repeated(plan, tmp_path):
    repeated = rules.repeat_rows(plan, tmp_path / "rows")

    assert table_of(repeated, Split.VALIDATION) == table_of(plan, Split.VALIDATION)


def test_a_dataset_with_steps_enough_is_left_where_it_is(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(rules, "ENOUGH_STEPS", 1)
    monkeypatch.setattr(rules, "FEWEST_STEPS", 1)

    assert rules.repeat_rows(plan, tmp_path / "rows") == plan
