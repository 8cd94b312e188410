"""A spec is one strict document: what is wrong with it is said in three lines, once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.errors import SpecError
from raymi.specs.loading import load_spec, parse_spec, resolved_yaml
from raymi.specs.train import TrainSpec

MINIMAL = """
kind: train
name: digits
problem: jobs.digits.problem
data: digits
batch: {global_batch_size: 64, micro_batch_size: 16}
resources: {num_workers: 2}
"""


def parse(text: str = MINIMAL, *overrides: str) -> TrainSpec:
    spec = parse_spec(text, where="train.yaml", overrides=overrides)
    assert isinstance(spec, TrainSpec)
    return spec


def refusal(text: str, *overrides: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, where="train.yaml", overrides=overrides)
    return caught.value


def test_a_bare_dataset_name_is_a_whole_data_spec():
    assert parse().data.name == "digits"


def test_the_resolved_text_parses_to_an_equal_spec():
    spec = parse()

    again = parse(resolved_yaml(spec))

    assert again == spec
    assert again.fingerprint() == spec.fingerprint()


def test_the_fingerprint_ignores_how_the_file_is_written():
    reordered = "\n".join(reversed(MINIMAL.strip().splitlines()))

    assert parse(reordered).fingerprint() == parse().fingerprint()


@given(st.integers(min_value=1, max_value=10**6))
def test_any_other_value_gives_another_fingerprint(epochs):
    changed = parse(MINIMAL, f"epochs={epochs}")

    assert (changed.fingerprint() == parse().fingerprint()) == (epochs == parse().epochs)


def test_an_override_beats_the_file_and_the_file_beats_the_default():
    spec = parse(MINIMAL + "epochs: 7\n", "optimizer.learning_rate=1e-3")

    assert (spec.epochs, spec.optimizer.learning_rate, spec.seed) == (7, 0.001, 0)


def test_an_override_may_spell_out_the_kind():
    assert parse(MINIMAL, "train.epochs=3").epochs == 3


def test_an_override_can_pin_the_version_of_a_bare_dataset():
    data = parse(MINIMAL, "data.version=abcdef123456").data

    assert (data.name, data.version) == ("digits", "abcdef123456")


def test_an_override_reaches_into_free_form_model_arguments():
    assert parse(MINIMAL, "model.hidden=[64, 32]").model == {"hidden": [64, 32]}


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        (MINIMAL + "epoch: 3\n", "epoch: unknown field", "did you mean 'epochs'?"),
        (MINIMAL + "epochs: three\n", "epochs: wrong type", "explain train.epochs"),
        (MINIMAL + "epochs: '3'\n", "epochs: wrong type", "explain train.epochs"),
        (MINIMAL + "precision: fp12\n", "precision: wrong value", "explain train.precision"),
        (MINIMAL + "seed: -1\n", "seed: wrong value", "explain train.seed"),
        (MINIMAL.replace("name: digits\n", ""), "name: required field is missing", "train.name"),
        (MINIMAL.replace("kind: train", "kind: trian"), "unknown kind 'trian'", "'train'"),
        (MINIMAL.replace("kind: train\n", ""), "kind is missing", "add `kind:`"),
        ("- a\n- b\n", "not a spec", "raymi init"),
        ("", "not a spec", "raymi init"),
        ("kind: [train\n", "not YAML", "indentation"),
        (MINIMAL + "name: twice\n", "not YAML", "indentation"),
    ],
)  # fmt: skip
def test_wrong_input_says_what_and_what_to_try(text, what, fix):
    error = refusal(text)

    assert what in error.what
    assert fix in error.fix


def test_a_misspelt_nested_field_is_looked_up_in_its_own_spec():
    error = refusal(MINIMAL + "optimizer: {learning_rte: 0.1}\n")

    assert "OptimizerSpec" in error.why
    assert "learning_rate" in error.fix


def test_a_batch_that_does_not_divide_shows_the_arithmetic():
    error = refusal(MINIMAL, "batch.micro_batch_size=48")

    assert "48 x 2 = 96" in error.why


def test_an_override_without_a_value_is_refused():
    assert "no '='" in refusal(MINIMAL, "epochs").why


@pytest.mark.parametrize("override", ["epohs=3", "batch.micro=3", "epochs.x=1"])
def test_an_override_of_no_field_is_refused(override):
    assert "not a field" in refusal(MINIMAL, override).what


def test_exponents_without_a_dot_are_numbers():
    assert parse(MINIMAL, "optimizer.learning_rate=3e-4").optimizer.learning_rate == 3e-4


def test_words_that_yaml_1_1_takes_for_booleans_stay_text():
    spec = parse(MINIMAL, "model.answer=no")

    assert spec.model == {"answer": "no"}


def test_infinity_is_not_a_learning_rate():
    assert "learning_rate" in refusal(MINIMAL, "optimizer.learning_rate=.inf").what


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(SpecError, match="nowhere"):
        load_spec(tmp_path / "nowhere.yaml")


def test_a_binary_file_is_refused(tmp_path: Path):
    (tmp_path / "spec.yaml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path / "spec.yaml")
