"""Settings that compute the same gradient share a name; what changes learning changes it."""

import pytest

from raymi.specs.loading import parse_spec
from raymi.specs.sweep import SweepSpec
from raymi.sweep.setting import learn_alike_but_for_batch, list_settings, run_of

RUN = """
kind: sweep
train:
  name: digits
  problem: jobs.digits.problem
  data: digits
  batch: {global_batch_size: 64, micro_batch_size: 32}
"""


def sweep(space: str, extra: str = "") -> SweepSpec:
    spec = parse_spec(f"{RUN}space: {space}\n{extra}", where="sweep.yaml")
    assert isinstance(spec, SweepSpec)
    return spec


@pytest.mark.parametrize(
    ("space", "num_groups"),
    [
        ("{batch.micro_batch_size: [8, 16, 32]}", 1),
        ("{resources.num_workers: [1, 2]}", 1),
        ("{parallelism.compile: [true, false]}", 1),
        ("{parallelism.strategy: [ddp, fsdp]}", 1),
        ("{precision: [fp32, bf16]}", 2),
        ("{parallelism.gradient_compression: [none, bf16]}", 2),
        ("{optimizer.learning_rate: [1e-3, 1e-2]}", 2),
        ("{model.hidden: [[8], [16]]}", 3),  # and the reference's own
        ("{precision: [fp32, bf16], batch.micro_batch_size: [8, 32]}", 2),
    ],
)
def test_only_what_changes_the_gradient_makes_another_group(space, num_groups):
    settings, _ = list_settings(sweep(space))

    assert len({setting.numerics for setting in settings}) == num_groups


def test_two_ways_to_ask_for_the_same_numbers_are_one_group():
    settings, _ = list_settings(sweep("{precision: [fp32], optimizer.learning_rate: [1e-3]}"))

    # 1e-3 is the default: the point is the reference.
    assert len(settings) == 1


def test_the_reference_is_the_point_that_equals_the_run():
    settings, reference = list_settings(sweep("{batch.micro_batch_size: [8, 16, 32]}"))

    assert settings[reference].micro_batch_size == 32
    assert len(settings) == 3


def test_a_reference_outside_the_space_is_added_and_can_win():
    settings, reference = list_settings(sweep("{batch.micro_batch_size: [8, 16]}"))

    assert (reference, settings[reference].label) == (2, "reference")


def test_a_setting_is_a_complete_run_with_another_seed_if_asked():
    spec = sweep("{precision: [bf16], batch.micro_batch_size: [16]}")
    settings, _ = list_settings(spec)

    run = run_of(spec, settings[0], seed=7)

    assert (run.precision.value, run.batch.micro_batch_size, run.seed) == ("bf16", 16, 7)


def test_accumulation_fills_the_global_batch():
    settings, _ = list_settings(
        sweep("{resources.num_workers: [1, 2], batch.micro_batch_size: [8, 32]}")
    )

    assert all(
        s.accumulation_steps * s.micro_batch_size * s.num_workers == s.global_batch_size
        for s in settings
    )


def test_ties_prefer_safe_arithmetic_then_fewer_workers_then_less_memory():
    settings, _ = list_settings(
        sweep(
            "{precision: [bf16, fp32], resources.num_workers: [2, 1], "
            "batch.micro_batch_size: [32, 8]}"
        )
    )

    ordered = sorted(settings, key=lambda setting: setting.safety)
    shapes = [(s.precision.value, s.num_workers, s.micro_batch_size) for s in ordered]
    assert shapes[:5] == [
        ("fp32", 1, 8), ("fp32", 1, 32), ("fp32", 2, 8), ("fp32", 2, 32), ("bf16", 1, 8),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "space", "are_alike"),
    [
        ("scaled", "{batch.global_batch_size: [64, 128]}", True),
        ("scaled", "{batch.global_batch_size: [128], precision: [fp32, bf16]}", False),
        ("retuned", "{batch.global_batch_size: [128], optimizer.learning_rate: [1e-3]}", True),
        (
            "retuned",
            "{batch.global_batch_size: [64], optimizer.learning_rate: [1e-3, 2e-3]}",
            False,
        ),
    ],
)
def test_settings_learn_alike_if_only_the_batch_and_its_rule_differ(mode, space, are_alike):
    spec = sweep(space, f"batch_mode: {mode}")
    settings, _ = list_settings(spec)

    assert learn_alike_but_for_batch(spec, settings[0], settings[1]) is are_alike
