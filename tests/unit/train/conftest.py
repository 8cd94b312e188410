"""What tests of training share."""

from collections.abc import Iterator

import pytest
import torch.distributed as dist


@pytest.fixture
def second_of_two_ranks() -> Iterator[dist.DeviceMesh]:
    """Alone: the collectives of this process group do nothing."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=1, world_size=2, store=FakeStore())
    yield dist.init_device_mesh("cpu", (2,))
    dist.destroy_process_group()
