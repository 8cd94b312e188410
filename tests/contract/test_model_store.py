"""Whatever a registry is kept in: versions are immutable, aliases move whole, history tells all."""

from pathlib import Path

import pytest

from raymi.errors import ConflictError, IntegrityError, NotFoundError, SpecError
from raymi.store.artifacts import verify


def change_a_byte(version):
    (Path(version.path) / "weights").write_text("weights of nobody")


def test_versions_of_a_name_count_from_one(add):
    versions = [add(1), add(2), add(3), add(1, name="adult")]

    assert [v.reference for v in versions] == ["digits@1", "digits@2", "digits@3", "adult@1"]


def test_a_registered_version_can_be_looked_up(store, add):
    added = add(1)

    assert store.get("digits", 1) == added
    assert store.resolve("digits@1") == added
    assert store.list() == store.list("digits") == (added,)
    assert added.created_at.utcoffset().total_seconds() == 0


def test_a_bundle_is_published_with_the_fingerprint_of_its_manifest(add):
    version = add(1)

    assert verify(Path(version.path)) == version.fingerprint
    assert (Path(version.path) / "weights").read_text() == "weights of run 1"


def test_a_run_is_registered_once(store, add):
    assert add(1) == add(1)
    assert len(store.list("digits")) == 1
    assert len(store.history("digits")) == 1


def test_the_newest_version_is_the_candidate(store, add):
    add(1)
    newest = add(2)

    assert store.resolve("digits@candidate") == newest
    assert store.aliases("digits") == {"candidate": 2}


def test_a_bundle_that_cannot_be_written_is_not_registered(store, add, tmp_path):
    def fail(directory):
        (directory / "half").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.register("digits", add(1).model_copy(update={"run_id": "run-2"}), fail, by="ada")

    assert len(store.list()) == 1
    assert [p.name for p in (tmp_path / "models" / "digits").iterdir()] == ["1"]


def test_a_number_whose_directory_nobody_vouches_for_is_skipped(add, tmp_path):
    add(1)
    orphan = tmp_path / "models" / "digits" / "2"
    orphan.mkdir()
    (orphan / "weights").write_text("left by a crash")

    version = add(2)

    assert version.version == 3
    assert (orphan / "weights").read_text() == "left by a crash"


@pytest.mark.parametrize("name", ["", "../up", "Digits", "a/b", ".hidden", "a" * 64])
def test_a_name_that_is_no_directory_is_refused(add, name):
    with pytest.raises(SpecError, match="not a model name"):
        add(1, name=name)


def test_promotion_keeps_the_champion_before_it_as_previous(store, add):
    add(1), add(2)

    store.promote("digits", 1, by="ada", reason="")
    store.promote("digits", 2, by="ada", reason="better")

    assert store.aliases("digits") == {"candidate": 2, "champion": 2, "previous": 1}


def test_promoting_the_champion_again_keeps_the_way_back(store, add):
    add(1), add(2)
    for version in (1, 2, 2):
        store.promote("digits", version, by="ada", reason="")

    assert store.aliases("digits")["previous"] == 1
    assert len(store.history("digits")) == 4


def test_rollback_swaps_champion_and_previous_and_a_second_one_undoes_it(store, add):
    add(1), add(2)
    store.promote("digits", 1, by="ada", reason="")
    store.promote("digits", 2, by="ada", reason="")

    assert store.rollback("digits", by="ada", reason="worse").version == 1
    assert store.aliases("digits") == {"candidate": 2, "champion": 1, "previous": 2}
    assert store.rollback("digits", by="ada", reason="").version == 2


@pytest.mark.parametrize("promoted", [(), (1,)])
def test_without_a_previous_champion_there_is_nothing_to_roll_back_to(store, add, promoted):
    add(1)
    for version in promoted:
        store.promote("digits", version, by="ada", reason="")
    before = store.aliases("digits")

    with pytest.raises(ConflictError, match="no previous champion"):
        store.rollback("digits", by="ada", reason="")

    assert store.aliases("digits") == before


def test_a_damaged_bundle_is_not_promoted(store, add):
    add(1)
    store.promote("digits", 1, by="ada", reason="")
    change_a_byte(add(2))
    before, history = store.aliases("digits"), store.history("digits")

    with pytest.raises(IntegrityError, match="weights"):
        store.promote("digits", 2, by="ada", reason="")

    assert store.aliases("digits") == before
    assert store.history("digits") == history


def test_a_damaged_bundle_is_not_rolled_back_to(store, add):
    first = add(1)
    add(2)
    store.promote("digits", 1, by="ada", reason="")
    store.promote("digits", 2, by="ada", reason="")
    change_a_byte(first)

    with pytest.raises(IntegrityError, match="weights"):
        store.rollback("digits", by="ada", reason="")

    assert store.aliases("digits")["champion"] == 2


def test_history_says_what_happened_who_did_it_and_why(store, add):
    add(1), add(2)
    store.promote("digits", 1, by="ada", reason="first")
    store.promote("digits", 2, by="grace", reason="+2 points")
    store.rollback("digits", by="ada", reason="p99")

    told = [(e.action, e.version, e.replaced, e.by, e.reason) for e in store.history("digits")]

    assert told == [
        ("register", 1, None, "ada", ""),
        ("register", 2, 1, "ada", ""),
        ("promote", 1, None, "ada", "first"),
        ("promote", 2, 1, "grace", "+2 points"),
        ("rollback", 1, 2, "ada", "p99"),
    ]


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.get("digits", 9),
        lambda store: store.get("nobody", 1),
        lambda store: store.resolve("digits@9"),
        lambda store: store.resolve("digits@champion"),
        lambda store: store.resolve("nobody@champion"),
        lambda store: store.list("nobody"),
        lambda store: store.history("nobody"),
        lambda store: store.promote("digits", 9, by="ada", reason=""),
        lambda store: store.rollback("nobody", by="ada", reason=""),
    ],
)
def test_what_is_not_there_is_not_found(store, add, ask):
    add(1)

    with pytest.raises(NotFoundError):
        ask(store)

    assert store.aliases("digits") == {"candidate": 1}


@pytest.mark.parametrize(
    "reference", ["digits", "digits@", "digits@best", "@1", "digits@0", "digits@-1", "digits@1@2"]
)
def test_a_reference_that_is_not_one_is_refused(store, add, reference):
    add(1)

    with pytest.raises(SpecError, match="not a model reference"):
        store.resolve(reference)


def test_an_empty_registry_is_an_empty_list(store):
    assert store.list() == ()
    assert store.aliases("digits") == {}
