"""A machine that cannot run a head is refused before anything is started, with the way out."""

from dataclasses import replace

import pytest

from raymi.control.preflight import MachineFacts, machine_facts, require_able
from raymi.errors import RaymiError

ABLE = MachineFacts(
    platform="linux",
    python="/usr/bin/python3",
    has_ray=True,
    free_shared_memory_mib=8192,
    free_disk_mib=100_000,
)


def test_an_able_machine_is_accepted():
    require_able(ABLE)


@pytest.mark.parametrize(
    ("change", "what", "fix"),
    [
        ({"platform": "darwin"}, "no local head on darwin", "Linux"),
        ({"has_ray": False}, "not installed beside this Python", "make setup"),
        ({"free_shared_memory_mib": 64}, "shm has 64 MiB free", "--shm-size"),
        ({"free_disk_mib": 10}, "has 10 MiB free", "free some space"),
    ],
)
def test_what_is_missing_is_named_with_a_way_out(change, what, fix):
    with pytest.raises(RaymiError, match=what) as refusal:
        require_able(replace(ABLE, **change))

    assert fix in refusal.value.fix


def test_this_machine_can_be_looked_at_without_loading_ray():
    facts = machine_facts()

    assert facts.has_ray
    assert facts.free_disk_mib > 0
