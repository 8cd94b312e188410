"""What each device can do on paper and in practice; every number has a source and a date."""

from datetime import date

import pytest

from raymi.accelerators.catalog import CATALOG, CPU, find
from raymi.accelerators.rates import board, rate
from raymi.specs.precision import Precision

KNOWN = [(a, p) for a in CATALOG.values() for p in Precision if rate(a, p) is not None]
MI300X, H100 = find("AMD-Instinct-MI300X-OAM"), find("H100")


def ids(value):
    return getattr(value, "name", None)


@pytest.mark.parametrize(("accelerator", "precision"), KNOWN, ids=ids)
def test_nothing_achieves_more_than_its_peak(accelerator, precision):
    found = rate(accelerator, precision)

    assert 0 < (found.achieved_tflops or found.peak_tflops) <= found.peak_tflops


@pytest.mark.parametrize(("accelerator", "precision"), KNOWN, ids=ids)
def test_a_rate_is_of_something_the_device_can_do_and_has_a_source_and_a_date(
    accelerator, precision
):
    found = rate(accelerator, precision)

    assert precision in accelerator.precisions
    assert found.source
    assert date(2023, 1, 1) < found.as_of < date(2027, 1, 1)


@pytest.mark.parametrize("precision", Precision)
def test_mi300x_and_h100_are_known_in_every_precision(precision):
    assert rate(MI300X, precision) and rate(H100, precision)


def test_an_mi300x_reaches_half_of_its_peak_where_an_h100_reaches_four_fifths():
    shares = [
        found.achieved_tflops / found.peak_tflops
        for found in (rate(MI300X, Precision.BF16), rate(H100, Precision.BF16))
    ]

    assert shares == pytest.approx([0.54, 0.80], abs=0.01)


def test_fp16_has_no_advantage_over_bf16_on_an_mi300x():
    bf16, fp16 = rate(MI300X, Precision.BF16), rate(MI300X, Precision.FP16)

    assert fp16.achieved_tflops < bf16.achieved_tflops


def test_pure_bf16_has_the_rate_of_bf16():
    assert rate(MI300X, Precision.BF16_PURE) == rate(MI300X, Precision.BF16)


def test_nothing_is_said_about_what_nobody_measured():
    assert rate(CPU, Precision.FP32) is None
    assert board(CPU) is None
    assert rate(find("AMD-Instinct-MI308X-OAM"), Precision.BF16) is None
    assert rate(MI300X, Precision.TF32).achieved_tflops is None


@pytest.mark.parametrize("accelerator", {a.name: a for a, _ in KNOWN}.values(), ids=ids)
def test_every_device_with_a_rate_has_a_board_with_plausible_limits(accelerator):
    found = board(accelerator)

    assert 64 < found.memory_gib < 512
    assert (found.achieved_bandwidth_gb_per_s or 0) < found.bandwidth_gb_per_s
    assert 300 < found.power_w < 2000
