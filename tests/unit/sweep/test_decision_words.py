"""Numbers are told with as many digits as mean something."""

import pytest

from raymi.sweep.decision.words import quality_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.91234, "0.9123"),
        (1.89841, "1.8984"),
        (52_100.4, "52100"),
        (38.12345, "38.123"),
        (1_234_567.8, "1234568"),
    ],
)
def test_a_quality_has_four_decimals_or_five_digits(value, text):
    assert quality_text(value) == text
