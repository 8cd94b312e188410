"""Numbers for people: few digits, a prefix, a unit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymi.charts.quantities import percent, quantity

FACTORS = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}

QUANTITIES = [
    (12345.0, "J", "12.3 kJ"),
    (0.00084, "s", "840 µs"),
    (999.6, "W", "1.00 kW"),
    (0.0, "J", "0 J"),
    (-2500.0, "", "-2.50k"),
    (float("nan"), "W", "nan W"),
]
SHARES = [
    (0.004, "0.4%"),
    (0.024, "2.4%"),
    (0.12, "12%"),
    (0.995, "99.5%"),
    (0.0, "0%"),
    (1.0, "100%"),
]


@pytest.mark.parametrize(("value", "unit", "text"), QUANTITIES)
def test_a_quantity_has_three_digits_and_a_prefix(value, unit, text):
    assert quantity(value, unit) == text


@given(value=st.floats(min_value=1e-8, max_value=1e14))
def test_what_is_written_is_within_half_a_percent(value):
    number, _, prefix = quantity(value, "!").removesuffix("!").partition(" ")

    assert float(number) * FACTORS[prefix] == pytest.approx(value, rel=0.00501)


@pytest.mark.parametrize(("share", "text"), SHARES)
def test_a_share_shows_a_decimal_where_it_matters(share, text):
    assert percent(share) == text
