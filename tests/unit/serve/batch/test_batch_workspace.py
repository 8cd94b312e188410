"""An output directory belongs to one model, input and set of settings, and to one driver."""

import hashlib
import json
from datetime import UTC, datetime
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymi.errors import ConflictError, IntegrityError, RaymiError
from raymi.serve.batch.lineage import check_parts
from raymi.serve.batch.part_writer import PartWriter
from raymi.serve.batch.parts import cut
from raymi.serve.batch.workspace import Identity, differences, open_workspace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        ("prediction", pa.string()),
        ("error", pa.string()),
    ]
)
PARTS = cut(25, 10)
IDENTITY = Identity(
    model="m@1",
    model_fingerprint="a" * 64,
    input_fingerprint="b" * 64,
    num_rows=25,
    settings={"rows_per_part": 10, "keep": []},
)


def changed(**changes) -> Identity:
    return IDENTITY.model_copy(update=changes)


def predicted(first, end) -> pa.Table:
    """Every seventh row has an error."""
    numbers = list(range(first, end))
    return pa.table(
        {
            "row": numbers,
            "prediction": [None if n % 7 == 0 else f"p{n}" for n in numbers],
            "error": ["x: null" if n % 7 == 0 else None for n in numbers],
        },
        schema=SCHEMA,
    )


def write(workspace, parts, tables, *, finish=True):
    receipts = {}
    writer = PartWriter(
        workspace,
        parts,
        schema=SCHEMA,
        metadata={"raymi.model": "m@1"},
        publish=lambda part, receipt: receipts.update({part.index: receipt}),
    )
    try:
        for table in tables:
            writer.add(table)
        if finish:
            writer.finish()
    finally:
        writer.abandon()
    return receipts


def filled(directory):
    with open_workspace(directory, IDENTITY) as workspace:
        write(workspace, PARTS, [predicted(0, 25)])


@pytest.mark.parametrize("cuts", [(0, 25), (0, 3, 25), (0, 10, 20, 25), (0, 9, 11, 21, 25)])
def test_rows_become_the_same_parts_however_they_arrive(tmp_path, cuts):
    tables = [predicted(a, b) for a, b in pairwise(cuts)]

    with open_workspace(tmp_path / "o", IDENTITY) as workspace:
        receipts = write(workspace, PARTS, tables)

    for part in PARTS:
        table = pq.read_table(tmp_path / "o" / "predictions" / f"{part.name}.parquet")
        assert table.equals(predicted(part.first, part.end))
        assert table.schema.metadata[b"raymi.model"] == b"m@1"
    assert [receipts[i].num_failed for i in range(3)] == [2, 1, 1]


def test_a_row_out_of_its_turn_is_refused_and_nothing_half_written_stays(tmp_path):
    with open_workspace(tmp_path / "o", IDENTITY) as workspace:
        with pytest.raises(IntegrityError, match="whose turn"):
            write(workspace, PARTS, [predicted(0, 4), predicted(5, 25)])

        assert list((tmp_path / "o" / "predictions").iterdir()) == []


def test_rows_that_end_too_early_are_not_a_part(tmp_path):
    with open_workspace(tmp_path / "o", IDENTITY) as workspace:
        with pytest.raises(IntegrityError):
            write(workspace, PARTS, [predicted(0, 14)])

        assert [r.index for r in workspace.look(PARTS).done] == [0]


def test_more_rows_than_are_missing_are_refused(tmp_path):
    with (
        open_workspace(tmp_path / "o", IDENTITY) as workspace,
        pytest.raises(IntegrityError),
    ):
        write(workspace, PARTS[:1], [predicted(0, 11)])


def test_no_rows_are_one_part_that_has_the_columns(tmp_path):
    with open_workspace(tmp_path / "o", IDENTITY) as workspace:
        write(workspace, cut(0, 10), [])

    assert pq.read_table(tmp_path / "o" / "predictions").schema.names == SCHEMA.names


def test_the_next_driver_finds_what_is_done(tmp_path):
    with open_workspace(tmp_path / "o", IDENTITY) as workspace:
        write(workspace, PARTS, [predicted(0, 14)], finish=False)

    with open_workspace(tmp_path / "o", IDENTITY) as workspace:
        left = workspace.look(PARTS)

    assert workspace.is_continued
    assert ([r.index for r in left.done], left.missing) == ([0], PARTS[1:])


def test_a_changed_byte_is_found(tmp_path):
    filled(tmp_path / "o")
    path = tmp_path / "o" / "predictions" / "part-00001.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])

    with open_workspace(tmp_path / "o", IDENTITY) as workspace:
        left = workspace.look(PARTS)

    assert left.missing == (PARTS[1],)
    assert "sha256" in left.damaged[1]


def test_a_receipt_that_cannot_be_read_is_none(tmp_path):
    filled(tmp_path / "o")
    (tmp_path / "o" / "receipts" / "part-00000.json").write_text("{")

    with open_workspace(tmp_path / "o", IDENTITY) as workspace:
        assert workspace.look(PARTS).missing == (PARTS[0],)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"model": "m@2", "model_fingerprint": "c" * 64}, "the model was m@1, it is m@2"),
        ({"model_fingerprint": "c" * 64}, "the model was m@1 (aaaaaaaaaaaa)"),
        ({"input_fingerprint": "c" * 64, "num_rows": 26}, "with 25 rows, it is cccccccccccc"),
        ({"settings": {"rows_per_part": 5, "keep": []}}, "rows_per_part was 10, it is 5"),
        ({"settings": {"rows_per_part": 10, "keep": ["id"]}}, "keep was [], it is ['id']"),
    ],
)
def test_what_was_begun_for_something_else_is_never_mixed_in(tmp_path, change, why):
    filled(tmp_path / "o")

    with (
        pytest.raises(ConflictError) as caught,
        open_workspace(tmp_path / "o", changed(**change)),
    ):
        pass

    assert why in caught.value.why
    assert "--new" in caught.value.fix
    assert differences(IDENTITY, IDENTITY) == []


def test_beginning_anew_moves_what_is_there_aside(tmp_path):
    filled(tmp_path / "o")

    with open_workspace(tmp_path / "o", changed(model="m@2"), starts_anew=True) as workspace:
        assert not workspace.is_continued
        assert workspace.look(PARTS).missing == PARTS

    [aside] = tmp_path.glob("o.before-*")
    assert len(list(aside.glob("predictions/*.parquet"))) == len(PARTS)


def test_two_drivers_do_not_write_the_same_output(tmp_path):
    with (
        open_workspace(tmp_path / "o", IDENTITY),
        pytest.raises(ConflictError, match="another driver"),
        open_workspace(tmp_path / "o", IDENTITY),
    ):
        pass


@pytest.mark.parametrize("stranger", ["notes.txt", "job.json"])
def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path, stranger):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / stranger).write_text("mine")

    with (
        pytest.raises(ConflictError, match="cannot become the output"),
        open_workspace(tmp_path / "o", IDENTITY),
    ):
        pass

    assert (tmp_path / "o" / stranger).read_text() == "mine"


def test_a_driver_that_died_at_its_very_start_is_no_hindrance(tmp_path):
    (tmp_path / "o" / "predictions").mkdir(parents=True)
    (tmp_path / "o" / ".job.json.abc").write_text("{")

    with open_workspace(tmp_path / "o", IDENTITY) as workspace:
        assert not workspace.is_continued


def checked(directory):
    with open_workspace(directory, IDENTITY) as workspace:
        receipts = {r.index: r for r in workspace.look(PARTS).done}
        return check_parts(workspace, PARTS, receipts, num_rows=25, now=NOW)


def test_the_last_check_counts_every_row(tmp_path):
    filled(tmp_path / "o")

    check = checked(tmp_path / "o")

    assert (check.num_rows_in, check.num_rows_out, check.num_distinct_rows) == (25, 25, 25)
    assert (check.first_row, check.last_row, check.num_failed) == (0, 24, 4)


def test_the_last_check_finds_rows_that_are_not_those_of_the_part(tmp_path):
    """A file whose receipt is right about its bytes, and whose rows are others."""
    filled(tmp_path / "o")
    directory = tmp_path / "o"
    pq.write_table(predicted(9, 19), directory / "predictions" / "part-00001.parquet")
    with open_workspace(directory, IDENTITY) as workspace:
        receipt = json.loads((directory / "receipts" / "part-00001.json").read_text())
        path = workspace.part_path(PARTS[1])
        receipt["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        receipt["num_bytes"] = path.stat().st_size
    (directory / "receipts" / "part-00001.json").write_text(json.dumps(receipt))

    with pytest.raises(IntegrityError, match="last check failed") as caught:
        checked(directory)

    assert "rows are not 10 to 19" in caught.value.why


def test_the_last_check_finds_a_file_that_is_none_of_the_parts(tmp_path):
    filled(tmp_path / "o")
    pq.write_table(predicted(0, 3), tmp_path / "o" / "predictions" / "extra.parquet")

    with pytest.raises(IntegrityError, match=r"extra\.parquet"):
        checked(tmp_path / "o")


def test_a_disk_that_cannot_be_written_is_told_with_what_to_do(tmp_path):
    with open_workspace(tmp_path / "o", IDENTITY) as workspace:
        (tmp_path / "o" / "predictions").rmdir()

        with pytest.raises(RaymiError, match="cannot be written") as caught:
            write(workspace, PARTS, [predicted(0, 25)])

    assert "same command" in caught.value.fix
