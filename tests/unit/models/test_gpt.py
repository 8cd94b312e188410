"""The language model looks only backwards, and has the shape that was asked for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from raymi.data.preprocessing import BytesFeature, NextByteTarget, NumberTarget, Preprocessing
from raymi.errors import SpecError
from raymi.models.architecture import Architecture
from raymi.models.catalog import build_model
from raymi.models.transformer import Block

LENGTH = 16
PREPROCESSING = Preprocessing(
    features=(BytesFeature(column="line", max_bytes=LENGTH),), target=NextByteTarget(column="line")
)


def gpt(**arguments):
    torch.manual_seed(0)
    arguments = {"width": 32, "num_layers": 2, "num_heads": 4, **arguments}
    return build_model(Architecture(name="gpt", arguments=arguments), PREPROCESSING)


def answers(model, octets):
    with torch.no_grad():
        return model({"bytes:line": octets})


@pytest.fixture(scope="module")
def model():
    return gpt().eval()


@settings(max_examples=20)
@given(
    st.lists(st.integers(0, 255), min_size=LENGTH, max_size=LENGTH),
    st.integers(0, LENGTH - 1),
    st.integers(1, 255),
)
def test_a_later_byte_never_changes_an_earlier_answer(model, row, place, step):
    octets = torch.tensor([row])
    changed = octets.clone()
    changed[0, place] = (changed[0, place] + step) % 256

    before, after = answers(model, octets), answers(model, changed)

    assert torch.equal(before[:, :place], after[:, :place])
    assert not torch.equal(before[:, place:], after[:, place:])


def test_a_shorter_text_is_answered_like_the_beginning_of_a_longer_one(model):
    octets = torch.randint(1, 256, (3, LENGTH))

    short = answers(model, octets[:, :9])

    assert short.shape == (3, 9, 256)
    assert torch.allclose(answers(model, octets)[:, :9], short, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_the_number_of_parameters_is_that_of_its_formula(tied):
    width, num_layers = 32, 2
    block = 12 * width**2 + 13 * width  # 4 + 8 matrices of width^2, their biases, two norms.
    embeddings = (256 + LENGTH) * width + (0 if tied else 256 * width)
    expected = num_layers * block + embeddings + 2 * width

    found = sum(p.numel() for p in gpt(tied=tied).parameters())

    assert found == expected


def test_tied_weights_are_stored_once():
    tied, untied = gpt(tied=True).state_dict(), gpt(tied=False).state_dict()

    assert set(untied) - set(tied) == {"head.weight"}
    storages = [tensor.data_ptr() for tensor in tied.values()]
    assert len(set(storages)) == len(storages)


def test_an_untrained_model_finds_every_byte_about_equally_likely():
    octets = torch.randint(1, 256, (4, LENGTH))

    log_probabilities = torch.log_softmax(answers(gpt().eval(), octets), dim=-1)

    uniform = -torch.log(torch.tensor(256.0))
    assert (log_probabilities - uniform).abs().max() < 1.0


def test_what_blocks_add_starts_smaller_the_more_there_are():
    deep = gpt(num_layers=8)

    spread = deep.blocks[0].attention_out.weight.std().item()

    assert spread == pytest.approx(0.02 / 4.0, rel=0.1)
    assert deep.blocks[0].perceptron_in.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("is_causal", [True, False])
def test_a_block_is_pytorchs_own_encoder_layer(is_causal):
    torch.manual_seed(0)
    ours = Block(32, num_heads=4, dropout=0.0, is_causal=is_causal).eval()
    theirs = nn.TransformerEncoderLayer(
        32, 4, 128, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    theirs.load_state_dict(
        {
            "self_attn.in_proj_weight": ours.queries_keys_values.weight,
            "self_attn.in_proj_bias": ours.queries_keys_values.bias,
            **{f"self_attn.out_proj.{k}": v for k, v in ours.attention_out.state_dict().items()},
            **{f"linear1.{k}": v for k, v in ours.perceptron_in.state_dict().items()},
            **{f"linear2.{k}": v for k, v in ours.perceptron_out.state_dict().items()},
            **{f"norm1.{k}": v for k, v in ours.attention_norm.state_dict().items()},
            **{f"norm2.{k}": v for k, v in ours.perceptron_norm.state_dict().items()},
        }
    )
    states = torch.randn(2, 9, 32)
    mask = nn.Transformer.generate_square_subsequent_mask(9) if is_causal else None

    with torch.no_grad():
        expected = theirs(states, src_mask=mask, is_causal=is_causal)
        found = ours(states)

    assert torch.allclose(found, expected, atol=1e-5)


def test_bf16_arithmetic_changes_digits_only(model):
    octets = torch.randint(1, 256, (2, LENGTH))
    exact = answers(model, octets)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = answers(model, octets)

    assert (exact - narrow.float()).abs().max() < 0.05


def test_only_a_next_byte_problem_has_such_a_model():
    features = (BytesFeature(column="line", max_bytes=LENGTH),)
    price = Preprocessing(features=features, target=NumberTarget(column="y", mean=0.0, std=1.0))

    with pytest.raises(SpecError, match="task='next_byte'"):
        build_model(Architecture(name="gpt"), price)
    with pytest.raises(SpecError, match="use gpt"):
        build_model(Architecture(name="encoder"), PREPROCESSING)
