"""The signature says in the protocol's words what the dataset's columns are."""

import pytest

from raymi.data.version import Column
from raymi.registry.signature import DATATYPES, derive_signature


@pytest.fixture
def signature(classifier_run):
    return derive_signature(classifier_run.result.preprocessing, classifier_run.dataset)


def test_inputs_are_the_features_in_the_order_of_the_columns(signature):
    told = [(f.name, f.kind, f.datatype, f.shape, f.nullable) for f in signature.inputs]

    assert told == [
        ("size", "number", "FP64", (), False),
        ("colour", "category", "BYTES", (), True),
        ("pixels", "tensor", "UINT8", (2, 2), False),
        ("note", "text", "BYTES", (), False),
    ]


def test_neither_the_target_nor_an_ignored_column_is_asked_for(signature):
    assert not {"shape", "price"} & {field.name for field in signature.inputs}


def test_examples_are_values_that_could_be_sent(signature):
    size, colour, pixels, note = (field.example for field in signature.inputs)

    assert 8 < size < 12
    assert colour in ("red", "green", "blue")
    assert [len(row) for row in pixels] == [2, 2]
    assert all(isinstance(value, int) and 0 <= value <= 255 for row in pixels for value in row)
    assert "this is row" not in note


def test_a_classifier_answers_with_a_label_and_probabilities(signature):
    label, probabilities = signature.outputs

    assert (label.name, label.datatype, label.shape) == ("label", "BYTES", ())
    assert (probabilities.name, probabilities.datatype) == ("probabilities", "FP32")
    assert probabilities.shape == (2,)
    assert label.classes == probabilities.classes == ("round", "square")


def test_a_regression_answers_with_a_number(regression_run):
    run = regression_run

    (output,) = derive_signature(run.result.preprocessing, run.dataset).outputs

    assert (output.name, output.datatype, output.shape) == ("prediction", "FP64", ())


def test_an_example_of_a_time_is_exact_to_the_second(classifier_run):
    preprocessing, dataset = classifier_run.result.preprocessing, classifier_run.dataset
    size = preprocessing.features[0].model_copy(update={"quantiles": (1325376000.4,)})
    timed = preprocessing.model_copy(update={"features": (size, *preprocessing.features[1:])})

    assert derive_signature(timed, dataset).inputs[0].example == 1325376000.0


@pytest.mark.parametrize(
    ("classes", "datatype"), [((0, 1, 2), "INT64"), ((False, True), "BOOL"), (("a", "b"), "BYTES")]
)
def test_labels_have_the_type_of_the_classes(classifier_run, classes, datatype):
    run = classifier_run
    preprocessing = run.result.preprocessing
    target = preprocessing.target.model_copy(update={"classes": classes})

    signature = derive_signature(preprocessing.model_copy(update={"target": target}), run.dataset)

    assert signature.outputs[0].datatype == datatype


@pytest.mark.parametrize(
    ("arrow_type", "datatype"),
    [*DATATYPES.items(), ("timestamp[us]", "FP64"), ("date32[day]", "FP64")],
)
def test_every_type_a_column_may_have_has_a_datatype(classifier_run, arrow_type, datatype):
    run = classifier_run
    column = Column(name="size", type=arrow_type, statistics={})
    dataset = run.dataset.model_copy(update={"columns": (column,)})

    (field,) = derive_signature(run.result.preprocessing, dataset).inputs

    assert field.datatype == datatype
    assert field.name == "size"


def test_a_text_model_takes_text_up_to_its_context_and_answers_with_a_character(text_run):
    run = text_run

    signature = derive_signature(run.result.preprocessing, run.dataset)

    (text,) = signature.inputs
    assert (text.name, text.kind, text.datatype, text.nullable) == ("note", "bytes", "BYTES", False)
    assert text.max_bytes == 24
    assert 1 <= len(text.example.encode()) <= 24
    label, probabilities = signature.outputs
    assert (label.name, label.datatype) == ("label", "BYTES")
    assert probabilities.shape == (256,)
    assert probabilities.classes[ord("x")] == "x"
