"""A checkpoint brings back exactly what was saved, or refuses; it never holds a pickle."""

import pytest
import torch
from torch import nn

from raymi.errors import IntegrityError
from raymi.store.artifacts import seal
from raymi.train.checkpoint import load_state, write_state


def save_state(directory, state):
    write_state(directory, state)
    seal(directory)


def test_nested_state_comes_back_as_it_was(tmp_path):
    state = {"step": 3, "pair": (1, "a"), "list": [None, True, {"x": 0.5}], 7: "number key"}

    save_state(tmp_path, state)

    assert load_state(tmp_path) == state


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_keep_bits_and_type(tmp_path, dtype):
    tensor = (torch.arange(6).reshape(2, 3) % 2).to(dtype)

    save_state(tmp_path, {"a": tensor, "b": {"c": [tensor.t()]}})

    loaded = load_state(tmp_path)
    assert torch.equal(loaded["a"], tensor)
    assert torch.equal(loaded["b"]["c"][0], tensor.t())
    assert loaded["a"].dtype is dtype


@pytest.mark.parametrize("build", [torch.optim.AdamW, torch.optim.SGD])
def test_an_optimizer_goes_on_as_if_it_had_never_stopped(tmp_path, build):
    torch.manual_seed(0)
    undisturbed, resumed = nn.Linear(3, 1), nn.Linear(3, 1)
    resumed.load_state_dict(undisturbed.state_dict())
    extra = {"momentum": 0.9} if build is torch.optim.SGD else {}
    first = build(undisturbed.parameters(), lr=0.1, **extra)
    second = build(resumed.parameters(), lr=0.1, **extra)
    _train(undisturbed, first)
    _train(resumed, second)

    save_state(tmp_path, second.state_dict())
    third = build(resumed.parameters(), lr=0.1, **extra)
    third.load_state_dict(load_state(tmp_path))
    _train(undisturbed, first)
    _train(resumed, third)

    assert torch.equal(undisturbed.weight, resumed.weight)


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
def test_a_changed_byte_is_refused(tmp_path, name):
    save_state(tmp_path, {"weights": torch.ones(4), "step": 1})
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)

    with pytest.raises(IntegrityError, match=name):
        load_state(tmp_path)


def _train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for step in range(3):
        optimizer.zero_grad()
        model(torch.full((2, 3), step + 1.0)).square().sum().backward()
        optimizer.step()
