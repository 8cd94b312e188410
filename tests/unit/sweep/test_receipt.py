"""A receipt can be read by strangers, and one changed number is told."""

import json
import time
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raymi.errors import IntegrityError
from raymi.store.plain_json import canonical
from raymi.sweep.decision.decide import decide
from raymi.sweep.evidence import Evidence
from raymi.sweep.receipt import Receipt

NOW = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def receipt(make_evidence):
    evidence = make_evidence(
        qualities={"fp32": 0.95, "bf16": 0.95},
        confirmations={"fp32": 0.94, "bf16": 0.96},
        watts={"fp32": 300.0, "bf16": 250.0},
        critical_batch_size=100.0,
        num_rows=2500,
        num_test_rows=50,
        refused={0: "too old"},
    )
    return Receipt.seal(evidence, created_at=NOW)


@pytest.fixture
def path(receipt, tmp_path):
    path = tmp_path / "receipt.json"
    receipt.save(path)
    return path


def numbers_in(document, where=()):
    """Every number, and where it is."""
    if isinstance(document, dict | list):
        parts = document.items() if isinstance(document, dict) else enumerate(document)
        for key, part in parts:
            yield from numbers_in(part, (*where, key))
    elif isinstance(document, int | float) and not isinstance(document, bool):
        yield where, document


def changed(document, where, value):
    """A copy with one value replaced."""
    copy = json.loads(json.dumps(document))
    part = copy
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    return copy


def complaints(document, path):
    path.write_text(json.dumps(document))
    try:
        return Receipt.verify(path)
    except IntegrityError as error:
        return (error.why,)


def signed_again(document):
    """As somebody would who knows how the checksum is made."""
    from hashlib import sha256

    rest = {name: part for name, part in document.items() if name != "sha256"}
    return rest | {"sha256": sha256(canonical(rest).encode()).hexdigest()}


def test_what_was_saved_is_what_is_loaded(receipt, path):
    assert Receipt.load(path) == receipt
    assert Receipt.verify(path) == ()


def test_the_decision_follows_from_the_json_alone(receipt, path):
    evidence = Evidence.model_validate(json.loads(path.read_text())["evidence"])

    assert decide(evidence) == receipt.decision


def test_a_receipt_has_its_version_and_its_moment(receipt):
    assert (receipt.format, receipt.raymi, receipt.created_at) == (1, "0.1.0", NOW)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_number_is_told(path, data):
    document = json.loads(path.read_text())
    found = list(numbers_in(document))
    where, value = data.draw(st.sampled_from(found))
    other = data.draw(st.sampled_from([value + 1, -value - 1, value * 1.0000001 + 1e-9]))

    target = path.with_suffix(".changed")

    assert complaints(changed(document, where, other), target)


def test_every_number_of_the_decision_is_recomputed(receipt, path):
    """Even if the checksum is made again, so that only the rules can tell."""
    document = json.loads(path.read_text())
    target = path.with_suffix(".changed")
    found = [where for where, _ in numbers_in(document["decision"], ("decision",))]

    untold = [
        where
        for where in found[:: max(1, len(found) // 40)]
        if not complaints(signed_again(changed(document, where, 12345.678)), target)
    ]

    assert len(found) > 100
    assert untold == []


def test_a_window_made_faster_afterwards_is_told(path):
    document = json.loads(path.read_text())
    for window in document["evidence"]["probe"]["windows"]:
        if window["setting"] == 1:
            window["duration_s"] /= 10

    target = path.with_suffix(".changed")
    found = complaints(signed_again(document), target)

    assert any(line.startswith("decision.winner: the receipt says 3, its") for line in found)
    assert any("decision.timings[1].samples_per_s" in line for line in found)


def test_a_row_that_was_wrong_and_is_right_now_is_told(path):
    document = json.loads(path.read_text())
    scores = document["evidence"]["runs"][3]["validation"]["score"]
    scores[scores.index(0)] = 1

    assert complaints(document, path)[0].startswith("sha256: the receipt says")
    assert any("difference" in line for line in complaints(signed_again(document), path))


def test_another_layout_of_the_same_document_holds(path):
    """As JavaScript would write it: whole numbers without a fraction."""

    def respelled(value):
        if isinstance(value, dict):
            return {key: respelled(part) for key, part in value.items()}
        if isinstance(value, list):
            return [respelled(part) for part in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    path.write_text(json.dumps(respelled(json.loads(path.read_text())), indent=7))

    assert Receipt.verify(path) == ()


def test_another_version_that_decides_otherwise_is_named(receipt, path):
    document = json.loads(path.read_text()) | {"raymi": "0.0.1"}
    document["decision"]["winner"] = 1

    first, *_ = complaints(signed_again(document), path)

    assert first.startswith("raymi: decided by 0.0.1, recomputed by 0.1.0")


def test_the_same_decision_by_another_version_holds(path):
    document = json.loads(path.read_text()) | {"raymi": "0.0.1"}

    assert complaints(signed_again(document), path) == ()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: '{"kind": "sweep"}',
        lambda text: text.replace('"num_steps"', '"number_of_steps"'),
        lambda text: text.replace('"created_at": "2026', '"created_at": "2027'),
    ],
)
def test_a_damaged_file_is_not_loaded(path, damage):
    path.write_text(damage(path.read_text()))

    with pytest.raises(IntegrityError) as caught:
        Receipt.load(path)

    assert str(path) in caught.value.what
    assert caught.value.why
    assert caught.value.fix


def test_bytes_that_are_no_text_are_damage(path):
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(IntegrityError):
        Receipt.verify(path)


def test_a_receipt_of_another_format_says_which(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))

    with pytest.raises(IntegrityError, match="a receipt of format 2"):
        Receipt.verify(path)


def test_evidence_that_contradicts_itself_is_told_and_not_raised(path):
    document = json.loads(path.read_text())
    document["evidence"]["runs"][0]["validation"]["score"].pop()

    found = complaints(signed_again(document), path)

    assert found[-1].startswith("decision: cannot follow from this evidence")


def test_numbers_that_are_none_survive(make_evidence, tmp_path):
    """A run that flew apart leaves infinities, which JSON does not have."""
    evidence = make_evidence(metric="rmse", qualities={"fp32": 0.9, "bf16": 0.9})
    worst = evidence.runs[0].model_copy(update={"metric": float("inf")})
    evidence = evidence.model_copy(update={"runs": (worst, *evidence.runs[1:])})
    path = tmp_path / "receipt.json"

    Receipt.seal(evidence, created_at=NOW).save(path)

    json.loads(path.read_text(), parse_constant=pytest.fail)
    assert Receipt.load(path).evidence.runs[0].metric == float("inf")
    assert Receipt.verify(path) == ()


def test_rights_and_wrongs_are_ones_and_zeros_on_one_line(path):
    lines = [line.strip() for line in path.read_text().splitlines()]

    rows = [line for line in lines if line.startswith('"score": ')]

    assert rows
    assert all(set(line.removeprefix('"score": ').rstrip(",")) <= set("[01,]") for line in rows)
    assert max(len(line) for line in lines if not line.startswith('"')) <= 200


def test_ten_thousand_rows_stay_small_and_load_quickly(make_evidence, tmp_path):
    evidence = make_evidence(qualities={"fp32": 0.95, "bf16": 0.95}, num_rows=10_000)
    path = tmp_path / "receipt.json"
    Receipt.seal(evidence, created_at=NOW).save(path)

    started_s = time.process_time()
    Receipt.load(path)
    taken_s = time.process_time() - started_s

    assert path.stat().st_size < MEGABYTE * len(evidence.runs) / 3
    assert taken_s < 1.0
