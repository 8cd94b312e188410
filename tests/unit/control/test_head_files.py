"""What is written about a head comes back as it was, and is readable by its owner alone."""

import json
import stat

import pytest

from raymi.control.head_files import (
    is_locked,
    last_words,
    locked,
    make_temp_dir,
    temp_dir_for,
)
from raymi.control.head_state import ensure_token, read_head, read_token
from raymi.control.local_head import down, require_head, status
from raymi.errors import ConflictError, IntegrityError, RaymiError, UnreachableError

# What Ray appends to its temporary directory, at its longest, and what a socket's path may have.
LONGEST_SUFFIX = "/session_2026-11-24_02-41-26_792171_4194304/sockets/dash_MetricsHead"
MAX_SOCKET_PATH = 107


def permissions(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_state_comes_back_as_it_was_written(files, head):
    head.save(files.state)

    assert read_head(files.home) == head


def test_where_nothing_was_written_there_is_no_head(files):
    assert read_head(files.home) is None


def test_a_damaged_state_file_is_named(files):
    files.state.write_text("{")

    with pytest.raises(IntegrityError, match=r"head\.json: cannot be read"):
        read_head(files.home)


def test_a_head_written_by_another_version_can_still_be_stopped(files, head):
    document = json.loads(head.model_dump_json()) | {"a field of tomorrow": 1}
    files.state.write_text(json.dumps(document))

    stopped = down(home=files.home)

    assert stopped.cluster_id == head.cluster_id
    assert not files.state.exists()


def test_a_token_is_long_private_and_made_once(files):
    ensure_token(files.token)
    first = read_token(files.token)
    files.token.chmod(0o644)

    ensure_token(files.token)

    assert len(first.get_secret_value()) == 64
    assert read_token(files.token) == first
    assert permissions(files.token) == 0o600


def test_a_token_does_not_show_when_a_state_is_printed(files, head):
    ensure_token(files.token)

    assert head.token().get_secret_value() not in repr(head) + repr(head.token())


def test_an_empty_token_file_is_not_a_token(files):
    files.token.write_text("\n")

    with pytest.raises(IntegrityError, match="empty"):
        read_token(files.token)


def test_the_paths_of_rays_sockets_fit():
    assert len(str(temp_dir_for("0123456789abcdef")) + LONGEST_SUFFIX) <= MAX_SOCKET_PATH


def test_the_directory_of_a_head_is_closed_to_others(tmp_path, head):
    make_temp_dir(tmp_path / "root" / "abc", head.ports)

    assert permissions(tmp_path / "root") == 0o700


def test_a_directory_that_is_really_a_link_is_refused(tmp_path, head):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RaymiError, match="not a directory of yours"):
        make_temp_dir(tmp_path / "root" / "abc", head.ports)


def test_a_lock_is_held_by_one_at_a_time(files):
    with locked(files.lock, wait_s=0):
        assert is_locked(files.lock)
        with pytest.raises(ConflictError, match="at work"), locked(files.lock, wait_s=0):
            pass

    assert not is_locked(files.lock)


def test_last_words_are_the_ends_of_the_log_without_colours(tmp_path):
    log = tmp_path / "head.log"
    log.write_text("one\n\n\x1b[31mtwo\x1b[0m\nthree\n")

    assert last_words(log, tmp_path / "absent", num_lines=2) == "two\n    three"


def test_down_without_a_head_changes_nothing(tmp_path):
    assert down(home=tmp_path / "home") is None
    assert not (tmp_path / "home").exists()


def test_a_head_whose_process_is_gone_is_dead_and_can_be_cleared_away(files, head):
    ensure_token(files.token)
    head.model_copy(update={"pid": 4_194_305, "create_time": 1.0, "ready": True}).save(files.state)
    before = status(home=files.home).diagnosis.condition

    stopped = down(home=files.home)

    assert before == "dead"
    assert stopped.cluster_id == head.cluster_id
    assert read_head(files.home) is None


def test_whoever_needs_a_cluster_is_told_how_to_get_one(files):
    with pytest.raises(UnreachableError) as refusal:
        require_head(files.home)

    assert refusal.value.fix == "raymi up"


def test_a_head_that_ended_is_not_offered_to_anyone(files, head):
    head.model_copy(update={"pid": 4_194_305, "create_time": 1.0, "ready": True}).save(files.state)

    with pytest.raises(UnreachableError, match="not running any more"):
        require_head(files.home)


def test_a_job_cannot_stop_the_cluster_it_runs_on(files, head, monkeypatch):
    head.save(files.state)
    monkeypatch.setenv("RAYMI_CLUSTER_ID", head.cluster_id)

    with pytest.raises(ConflictError, match="runs inside the cluster"):
        down(home=files.home)
