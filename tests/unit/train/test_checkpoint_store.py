"""A run's checkpoints are whole, few, and never trusted unread."""

import errno
import threading

import pytest
import torch

from raymi.errors import TrainingError
from raymi.train.checkpoint_store import CheckpointStore
from raymi.train.checkpoint_writer import CheckpointWriter, persist
from raymi.train.failure import Reason


def state(step):
    return {"step": step, "model": {"weight": torch.full((4,), float(step))}}


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path, keep=2)


def load_newest(store):
    skipped = []
    found = store.load_newest(lambda path, why: skipped.append((path.name, why)))
    return (found[1]["step"] if found else None), skipped


def test_the_newest_few_are_kept(store):
    for step in (10, 20, 30):
        store.publish(step, state(step))

    assert [path.name for path in store.newest_first()] == ["step-000000030", "step-000000020"]


def test_a_run_without_checkpoints_starts_anew(store):
    assert load_newest(store) == (None, [])


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "MANIFEST.json"])
def test_a_changed_byte_is_named_and_the_one_before_is_used(store, name):
    store.publish(10, state(10))
    damaged = store.publish(20, state(20)) / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged.write_bytes(content)

    step, skipped = load_newest(store)

    assert step == 10
    assert [path for path, _ in skipped] == ["step-000000020"]


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "MANIFEST.json"])
def test_a_missing_file_is_named_and_the_one_before_is_used(store, name):
    store.publish(10, state(10))
    (store.publish(20, state(20)) / name).unlink()

    assert load_newest(store)[0] == 10


def test_what_a_killed_writer_left_behind_is_no_checkpoint_and_is_removed(store):
    store.publish(10, state(10))
    leftover = store.path(20).with_name(".step-000000020.abc")
    leftover.mkdir()
    (leftover / "state.safetensors").write_bytes(b"half")

    assert load_newest(store) == (10, [])
    store.publish(30, state(30))
    assert not leftover.exists()


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(store):
    (store.publish(10, state(10)) / "state.json").write_text("{}")

    store.publish(10, state(10))

    assert load_newest(store) == (10, [])


def test_a_good_checkpoint_is_not_written_again(store):
    path = store.publish(10, state(10))
    before = path.stat().st_ctime_ns

    store.publish(10, state(11))

    assert path.stat().st_ctime_ns == before


def test_a_run_whose_storage_is_away_does_not_look_like_a_new_one(store, tmp_path):
    store.publish(10, state(10))
    tmp_path.rename(tmp_path.with_name("away"))

    with pytest.raises(FileNotFoundError):
        load_newest(store)
    with pytest.raises(FileNotFoundError):
        store.publish(20, state(20))
    assert not tmp_path.exists()


def test_checkpoints_of_which_none_can_be_read_are_an_error_too(store, monkeypatch):
    store.publish(10, state(10))

    def fail(directory):
        raise OSError(errno.EIO, "as told")

    monkeypatch.setattr("raymi.train.checkpoint_store.load_state", fail)

    with pytest.raises(OSError, match="as told"):
        load_newest(store)


class Storage:
    """A store that fails as told, then works."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.published = []
        self.pruned = []

    def publish(self, step, state):
        if self.failures:
            raise OSError(self.failures.pop(0), "as told")
        self.published.append(step)

    def prune(self, keep):
        self.pruned.append(keep)


@pytest.fixture
def open_writer(monkeypatch):
    monkeypatch.setattr("raymi.train.checkpoint_writer.RETRY_INTERVAL_S", 0.001)
    writers = []

    def open_writer(storage, *, patience_s=60.0, heard=None):
        writer = CheckpointWriter(
            storage,
            patience_s=patience_s,
            published=lambda step: None,
            trouble=lambda reason, why: heard.append(reason) if heard is not None else None,
        )
        writers.append(writer)
        return writer

    yield open_writer
    for writer in writers:
        writer.close()


def test_the_same_step_is_written_once(open_writer):
    storage = Storage()
    writer = open_writer(storage)

    for step in (1, 1, 2):
        writer.submit(step, {})
    writer.drain()

    assert storage.published == [1, 2]


def test_storage_that_comes_back_loses_nothing(open_writer):
    storage, heard = Storage(errno.EIO, errno.EIO), []
    writer = open_writer(storage, heard=heard)

    writer.submit(1, {})
    writer.drain()

    assert storage.published == [1]
    assert heard == [Reason.STORAGE_UNAVAILABLE]


def test_a_full_disk_gives_up_old_checkpoints_before_the_run(open_writer):
    storage = Storage(errno.ENOSPC)
    writer = open_writer(storage)

    writer.submit(1, {})
    writer.drain()

    assert storage.pruned == [1]
    assert storage.published == [1]


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, Reason.DISK_FULL), (errno.ESTALE, Reason.STORAGE_UNAVAILABLE)],
)
def test_when_patience_ends_the_run_hears_the_reason(open_writer, number, reason):
    writer = open_writer(Storage(*[number] * 1000), patience_s=0.0)

    writer.submit(1, {})

    with pytest.raises(TrainingError) as caught:
        writer.drain()
    assert caught.value.reason == reason
    with pytest.raises(TrainingError):
        writer.check()


def test_training_goes_on_while_a_checkpoint_is_written(open_writer):
    release = threading.Event()

    class Slow(Storage):
        def publish(self, step, state):
            release.wait(10)
            super().publish(step, state)

    storage = Slow()
    writer = open_writer(storage)

    writer.submit(1, {})

    assert storage.published == []
    release.set()
    writer.drain()
    assert storage.published == [1]


def test_while_storage_fails_training_waits_for_no_checkpoint(open_writer):
    repaired, heard = threading.Event(), threading.Event()

    class Broken(Storage):
        def publish(self, step, state):
            if not repaired.is_set():
                raise OSError(errno.EIO, "away")
            super().publish(step, state)

    storage = Broken()
    writer = CheckpointWriter(
        storage, patience_s=60.0, published=lambda _: None, trouble=lambda *_: heard.set()
    )
    writer.submit(1, {})
    heard.wait(10)

    writer.submit(2, {})
    repaired.set()
    writer.drain()
    writer.submit(3, {})
    writer.drain()
    writer.close()

    assert storage.published == [1, 3]


def test_a_state_that_cannot_be_written_at_all_ends_the_run_and_does_not_hang_it(open_writer):
    class Clueless(Storage):
        def publish(self, step, state):
            raise TypeError("not JSON")

    writer = open_writer(Clueless())
    writer.submit(1, {})

    with pytest.raises(TypeError, match="not JSON"):
        writer.drain()
    with pytest.raises(TypeError):
        writer.submit(2, {})


def test_the_result_is_written_once_storage_is_back():
    failures, slept = [OSError(errno.ENOSPC, "full")], []

    def write():
        if failures:
            raise failures.pop()

    persist(write, 60.0, clock=lambda: 0.0, sleep=slept.append)

    assert len(slept) == 1


def test_a_library_error_about_a_full_disk_is_a_full_disk(tmp_path):
    from raymi.train.checkpoint import write_tensors

    with pytest.raises(OSError) as caught:
        write_tensors({"a": torch.zeros(1)}, tmp_path / "missing" / "file.safetensors")

    assert caught.value.errno == errno.ENOENT
