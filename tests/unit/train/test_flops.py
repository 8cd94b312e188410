"""Operations of a pass are those that paper and pencil give."""

import pytest
import torch
from torch import nn

from raymi.train.flops import flops_per_sample


def test_a_layer_multiplies_twice_backward_what_it_multiplied_forward():
    rows, fan_in, fan_out = 8, 32, 16
    layer = nn.Linear(fan_in, fan_out)
    inputs = torch.randn(rows, fan_in, requires_grad=True)

    counted = flops_per_sample(lambda: layer(inputs).sum().backward(), rows)

    forward = 2 * fan_in * fan_out
    assert counted == 3 * forward


def test_the_first_layer_needs_no_gradient_of_its_inputs():
    layer = nn.Linear(32, 16)
    inputs = torch.randn(8, 32)

    counted = flops_per_sample(lambda: layer(inputs).sum().backward(), 8)

    assert counted == 2 * (2 * 32 * 16)


def test_a_convolution_costs_its_kernel_at_every_place_and_channel():
    rows, channels_in, channels_out, size, kernel = 2, 3, 5, 8, 3
    layer = nn.Conv2d(channels_in, channels_out, kernel, padding=1)
    images = torch.randn(rows, channels_in, size, size, requires_grad=True)

    counted = flops_per_sample(lambda: layer(images).sum().backward(), rows)

    forward = 2 * channels_out * channels_in * kernel**2 * size**2
    assert counted == 3 * forward


@pytest.mark.parametrize("num_rows", [1, 4, 64])
def test_a_row_costs_the_same_in_every_micro_batch(num_rows):
    network = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 2))
    inputs = torch.randn(num_rows, 10)

    counted = flops_per_sample(lambda: network(inputs).sum().backward(), num_rows)

    assert counted == 2 * (2 * 10 * 20) + 3 * (2 * 20 * 2)


def test_a_pass_without_anything_to_count_is_not_known():
    inputs = torch.randn(4, requires_grad=True)

    assert flops_per_sample(lambda: (inputs * 2).sum().backward(), 4) is None
