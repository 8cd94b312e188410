"""What several tiers share: where the repository is, and real data when it is there."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Ray reads this once in a process, when it is imported, and any test module may import it.
os.environ["RAY_AUTH_MODE"] = "token"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public data sets in raw form, beside the checkout; skips where they are absent."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("raw public data sets are not beside this checkout (../shared/data)")
    return path
