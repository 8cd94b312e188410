"""A head as it is written down, for tests that need one and start none."""

from datetime import UTC, datetime

import pytest

from raymi.control.head_state import HeadFiles, HeadState
from raymi.control.ports import choose_ports


@pytest.fixture
def files(tmp_path) -> HeadFiles:
    """Where a head's files are, under a home of this test's own."""
    found = HeadFiles(tmp_path / "home")
    found.directory.mkdir(parents=True)
    return found


@pytest.fixture
def head(files, tmp_path) -> HeadState:
    """A head that was planned and never started."""
    ports = choose_ports(dashboard=None, serve=None, free=lambda _: True)
    return HeadState(
        cluster_id="0123456789abcdef",
        gcs_address=f"127.0.0.1:{ports.gcs}",
        dashboard_url=f"http://127.0.0.1:{ports.dashboard}",
        serve_host="127.0.0.1",
        serve_port=ports.serve,
        token_path=files.token,
        temp_dir=tmp_path / "ray",
        log_path=files.log,
        ports=ports,
        started_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
