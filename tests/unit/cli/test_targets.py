"""A command takes a model's reference or a spec file, and both with --set."""

import pytest

from raymi.cli.targets import read_target
from raymi.errors import SpecError
from raymi.specs.deploy import DeploySpec
from raymi.specs.tune_serving import TuneServingSpec

KINDS = {"deploy": DeploySpec, "tune_serving": TuneServingSpec}


def read(target, kind, *overrides):
    return read_target(
        str(target), overrides, KINDS[kind], command="serve-it", otherwise="do something else"
    )


@pytest.fixture
def file(tmp_path):
    def write(text, suffix=".yaml"):
        path = tmp_path / f"spec{suffix}"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("kind", KINDS)
def test_a_models_reference_is_a_spec_with_every_default(kind):
    assert read("digits@champion", kind) == KINDS[kind](model="digits@champion")


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_read_and_set_replaces_its_fields(file, kind, suffix):
    path = file(f'{{"kind": "{kind}", "model": "digits@1"}}', suffix)

    assert read(path, kind).model == "digits@1"
    assert read(path, kind, "model=digits@2").model == "digits@2"


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_refused_with_what_to_do(file, kind):
    (other,) = set(KINDS) - {kind}
    path = file(f"kind: {other}\nmodel: digits@1\n")

    with pytest.raises(SpecError) as refused:
        read(path, kind)

    assert refused.value.what == f"{path}: not a {kind} spec"
    assert refused.value.why == f"it says `kind: {other}`"
    assert refused.value.fix == "do something else"


@pytest.mark.parametrize("kind", KINDS)
def test_errors_about_a_reference_name_the_command(kind):
    with pytest.raises(SpecError, match="raymi serve-it digits@1: model"):
        read("digits@1", kind, "model=[1]")


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_there_is_not_is_refused(kind):
    with pytest.raises(SpecError, match=f"--set colour=red: not a field of a {kind} spec"):
        read("digits@1", kind, "colour=red")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_there_is_named(tmp_path, kind):
    with pytest.raises(SpecError, match=r"absent\.yaml: cannot be read"):
        read(tmp_path / "absent.yaml", kind)
