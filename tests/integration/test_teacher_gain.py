"""A student of the digits with and without a registered teacher, in pairs, from end to end."""

import pytest

from raymi.bench.teacher_gain import measure
from raymi.evaluate import stage as evaluate_stage
from raymi.registry import stage as registry_stage
from raymi.registry.bundle import load_bundle
from raymi.registry.store import InMemoryModelStore
from raymi.registry.teacher import teach
from raymi.specs.loading import load_spec
from raymi.train import in_process

SHORT = ["max_steps=8", "epochs=1", "resources.accelerator=cpu"]


@pytest.fixture
def enrol(repository, tmp_path, monkeypatch):
    """Train a spec of the digits for a few steps and register what came out."""
    monkeypatch.chdir(repository)
    store = InMemoryModelStore(tmp_path / "models")

    def enrol(file, *overrides, teach=None):
        spec = load_spec(repository / "jobs/digits" / file, [*SHORT, *overrides])
        result = in_process.run(spec, store_dir=tmp_path, teach=teach)
        evaluation = evaluate_stage.run(result, store_dir=tmp_path)
        return store, registry_stage.run(result, evaluation, store=store, store_dir=tmp_path)

    return enrol


def test_pairs_differ_by_the_teacher_alone(enrol, repository, tmp_path):
    store, teacher = enrol("train.yaml")
    _, alone = enrol("train.student.yaml", "distillation=null", "seed=1")
    store.promote("digits", teacher.version, by="ada", reason="")
    calls = []

    gain = measure(
        load_spec(repository / "jobs/digits/train.student.yaml", SHORT),
        num_seeds=3,
        store_dir=tmp_path,
        teach=lambda plans: calls.append(len(plans)) or teach(plans, store),
        say=lambda line: None,
    )

    assert calls == [6]
    assert (gain.teacher, gain.metric) == ("digits@1", "accuracy")
    assert [pair.seed for pair in gain.pairs] == [0, 1, 2]
    assert gain.pairs[1].alone == alone.metrics["accuracy"]
    assert any(pair.alone != pair.taught for pair in gain.pairs)


def test_a_registered_student_names_its_teacher(enrol, tmp_path):
    store, teacher = enrol("train.yaml")
    store.promote("digits", teacher.version, by="ada", reason="")

    _, student = enrol("train.student.yaml", teach=lambda plans: teach(plans, store))

    lineage = load_bundle(tmp_path / "models" / "digits_student" / "1").lineage
    assert lineage.teacher.name == "digits"
    assert lineage.teacher.fingerprint == teacher.fingerprint
    assert student.reference == "digits_student@1"
