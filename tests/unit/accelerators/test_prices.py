"""What a device costs: the spec's own price first, then a listed one with source and date."""

from datetime import date

import pytest

from raymi.accelerators.catalog import CATALOG
from raymi.accelerators.prices import price_of

LISTED = [name for name in CATALOG if price_of(name, {})]


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_price_is_plausible_and_says_where_it_comes_from(name):
    price = price_of(name, {})

    assert 0.1 < price.per_hour < 20.0
    assert price.currency == "USD"
    assert date(2026, 1, 1) < price.as_of < date(2027, 1, 1)
    assert price.origin == f"USD, {price.source}, {price.as_of.isoformat()}"


def test_the_price_of_the_spec_comes_first():
    price = price_of("H100", {"H100": 1.25})

    assert (price.per_hour, price.source) == (1.25, "the spec")
    assert price.origin == "the spec"


def test_a_price_of_the_spec_may_be_for_what_has_no_listed_price():
    assert price_of("cpu", {"cpu": 0.04}).per_hour == 0.04
    assert price_of("my-own-device", {"my-own-device": 3.0}).per_hour == 3.0


def test_there_is_no_price_where_nobody_says_one():
    assert price_of("cpu", {"H100": 1.0}) is None
    assert price_of("AMD-Instinct-MI308X-OAM", {}) is None


def test_an_mi300x_and_an_h100_have_one():
    assert {"AMD-Instinct-MI300X-OAM", "AMD-Instinct-MI325X-OAM", "H100", "H200"} <= set(LISTED)
