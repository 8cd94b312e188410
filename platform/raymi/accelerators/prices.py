"""What one device costs for an hour on public clouds, with where each figure comes from.

Prices move by the week and differ by a factor of three between providers, so each is what one
named source listed on one day, on demand, without storage or network. It serves to compare
settings with each other and to bound a sweep's budget; for your own bill, give your own prices
in the sweep's spec, which come first:

    prices: {AMD-Instinct-MI300X-OAM: 1.85, cpu: 0.04}

There is none for `cpu`: what a worker on a CPU costs depends on how many share the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

CURRENCY = "USD"
"""Of the built-in list. Own prices are in whatever currency their owner means."""

OWN_SOURCE = "the spec"


@dataclass(frozen=True, slots=True)
class Price:
    """What one device costs for one hour."""

    per_hour: float
    """In `currency`."""

    currency: str | None
    """None: the spec does not say."""

    source: str
    """Who says so."""

    as_of: date | None
    """When it was published or read; None: given with the spec."""

    @property
    def origin(self) -> str:
        """Currency, source and date, for people."""
        parts = [self.currency, self.source, self.as_of and self.as_of.isoformat()]
        return ", ".join(part for part in parts if part)


_RUNPOD = "RunPod, Secure Cloud, listed on demand"
_LAMBDA = "Lambda, one device, listed on demand"
_MODAL = "Modal, listed per second"
_CLIFFCENTER = "Cliffcenter, AMD inference economics"

_READ = date(2026, 9, 25)
"""When the silybench data set read the lists of RunPod and Lambda."""

_PRICES: dict[str, tuple[float, str, date]] = {
    # Five providers between 1.50 (TensorWave) and 6 (Azure, Oracle).
    "AMD-Instinct-MI300X-OAM": (
        1.99,
        f"{_CLIFFCENTER}: median of public clouds",
        date(2026, 5, 18),
    ),
    "AMD-Instinct-MI325X-OAM": (1.95, f"{_CLIFFCENTER}: TensorWave", date(2026, 5, 18)),
    "H100": (3.49, f"{_RUNPOD}, SXM", _READ),
    "H200": (4.59, _RUNPOD, _READ),
    "GH200": (2.29, _LAMBDA, _READ),
    "B200": (6.79, _RUNPOD, _READ),
    "A100": (1.59, f"{_RUNPOD}, SXM 80 GB", _READ),
    "A10": (1.29, _LAMBDA, _READ),
    "L40S": (1.09, _RUNPOD, _READ),
    "L4": (0.7992, _MODAL, date(2026, 5, 7)),
    "T4": (0.5904, _MODAL, date(2026, 5, 7)),
}


def price_of(accelerator: str, own: Mapping[str, float]) -> Price | None:
    """What one device costs.

    Args:
        accelerator: Ray's name for it, or `cpu`.
        own: Prices of the spec, by the same names; these come first.

    Returns:
        None where neither the spec nor the list has a price.
    """
    if accelerator in own:
        return Price(own[accelerator], None, OWN_SOURCE, None)
    if accelerator not in _PRICES:
        return None
    per_hour, source, as_of = _PRICES[accelerator]
    return Price(per_hour, CURRENCY, source, as_of)
