"""What several tiers share: where the repository is, and real data when it is there."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# Property tests look at few examples on every run, so that the unit tier stays a matter of
# seconds; `HYPOTHESIS_PROFILE=thorough make test-unit` looks at many.
settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

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
