"""A version that would not fit into memory is refused with the numbers, before it is loaded."""

import pytest

from raymi.errors import InfeasibleError
from raymi.serve import memory
from raymi.serve.memory import (
    Memory,
    device_needs,
    host_memory,
    host_needs,
    room_for,
    why_not,
    within_share,
)

GIB = 1 << 30


def host(free, total=64 * GIB):
    return Memory("host", int(free), total)


def test_a_version_fits_where_its_need_and_a_twentieth_of_the_host_are_free():
    enough = host_needs(GIB) + 64 * GIB // 20

    assert why_not(GIB, host(enough), None) is None
    assert why_not(GIB, host(enough - 1), None) is not None


def test_a_network_that_is_built_by_a_process_of_its_own_needs_room_for_that_too():
    enough = host_needs(GIB) + 64 * GIB // 20

    reason = why_not(GIB, host(enough), None, is_built=True)

    assert f"about {(host_needs(GIB) >> 20) + 640} MiB" in reason
    assert why_not(GIB, host(enough + 640 * (1 << 20)), None, is_built=True) is None


def test_the_refusal_says_what_is_needed_and_what_is_there():
    reason = why_not(2 * GIB, host(3 * GIB), None)

    assert "about 5184 MiB of the host's memory" in reason
    assert "3072 MiB of 65536 MiB are free, of which 3277 MiB stay free" in reason


def test_an_accelerator_is_asked_too():
    room = Memory("accelerator", device_needs(GIB), 192 * GIB)
    none = Memory("accelerator", device_needs(GIB) - 1, 192 * GIB)

    assert why_not(GIB, host(60 * GIB), room) is None
    assert "the accelerator's memory" in why_not(GIB, host(60 * GIB), none)


def test_a_share_bounds_what_may_be_taken_of_an_accelerator():
    device = Memory("accelerator", 180 * GIB, 192 * GIB)

    quarter = within_share(device, 0.25, used_bytes=8 * GIB)

    assert (quarter.free_bytes, quarter.total_bytes) == (40 * GIB, 48 * GIB)


def test_a_share_cannot_be_taken_where_others_have_left_less():
    device = Memory("accelerator", 3 * GIB, 192 * GIB)

    assert within_share(device, 0.5, used_bytes=0).free_bytes == 3 * GIB


def test_a_share_that_is_used_up_has_nothing_free():
    device = Memory("accelerator", 100 * GIB, 192 * GIB)

    assert within_share(device, 0.25, used_bytes=50 * GIB).free_bytes == 0


def test_a_whole_accelerator_is_all_of_it():
    device = Memory("accelerator", 100 * GIB, 192 * GIB)

    assert within_share(device, 1.0, used_bytes=50 * GIB) == device


def test_a_version_larger_than_its_replicas_share_is_refused_by_the_share():
    device = Memory("accelerator", 190 * GIB, 192 * GIB)
    eighth = within_share(device, 0.125, used_bytes=0)

    assert why_not(30 * GIB, host(200 * GIB, 400 * GIB), device) is None
    reason = why_not(30 * GIB, host(200 * GIB, 400 * GIB), eighth)
    assert "the replica's share (0.125) of the accelerator's memory" in reason
    assert "24576 MiB of 24576 MiB are free" in reason


def group(directory, **files):
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("_in_bytes", "#").replace("_", ".").replace("#", "_in_bytes")
         ).write_text(text)  # fmt: skip


def test_the_tightest_control_group_around_a_process_counts(tmp_path):
    proc = tmp_path / "cgroup"
    proc.write_text("0::/pods/replica\n")
    group(tmp_path / "fs" / "pods" / "replica", memory_max="max\n", memory_current="1000\n")
    group(
        tmp_path / "fs" / "pods",
        memory_max="5000000\n",
        memory_current="3000000\n",
        memory_stat="anon 1\ninactive_file 1000000\n",
    )

    found = host_memory(proc=proc, groups=tmp_path / "fs")

    assert (found.free_bytes, found.total_bytes) == (3_000_000, 5_000_000)


def test_the_first_version_of_control_groups_is_read_too(tmp_path):
    proc = tmp_path / "cgroup"
    proc.write_text("4:cpu:/a\n3:memory:/a\n")
    group(
        tmp_path / "fs" / "memory" / "a",
        memory_limit_in_bytes="7000000\n",
        memory_usage_in_bytes="6000000\n",
    )

    assert host_memory(proc=proc, groups=tmp_path / "fs").free_bytes == 1_000_000


def test_without_control_groups_the_host_is_what_counts(tmp_path):
    found = host_memory(proc=tmp_path / "none", groups=tmp_path)

    assert 0 < found.free_bytes <= found.total_bytes


def test_what_does_not_fit_is_not_loaded(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    monkeypatch.setattr(memory, "host_memory", lambda: host(100))

    with (
        pytest.raises(InfeasibleError, match="digits@3 does not fit"),
        room_for(tmp_path, "digits@3"),
    ):
        pytest.fail("it was loaded")
