"""A rate is operations over seconds."""

import itertools

import pytest
import torch

from raymi.specs.precision import Precision
from raymi.train.matmul_rate import measured_tflops


def test_a_product_of_known_size_in_known_time_has_a_known_rate():
    # Every look at the clock is 10 ms later: each product takes 10 ms.
    ticks = itertools.count(step=0.01)

    rate = measured_tflops(Precision.FP32, torch.device("cpu"), clock=lambda: next(ticks))

    assert rate == pytest.approx(2 * 1024**3 / 0.01 / 1e12)


def test_a_real_rate_is_within_what_processors_do():
    rate = measured_tflops(Precision.FP32, torch.device("cpu"))

    assert 1e-4 < rate < 100.0
