"""What a model may be made to tell."""

from __future__ import annotations

import pytest

from raymi.data.preprocessing import ClassTarget, NumberTarget


@pytest.fixture
def classifier_target() -> ClassTarget:
    """One of two classes."""
    return ClassTarget(column="label", classes=(0, 1))


@pytest.fixture
def number_target() -> NumberTarget:
    """A number."""
    return NumberTarget(column="price", mean=0.0, std=1.0)
