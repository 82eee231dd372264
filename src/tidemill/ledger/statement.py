"""A footprint as an answer states it: coarse figures, and what they are figures of."""

from collections.abc import Iterable, Sequence

from tidemill.core.footprint import Footprint, MeterKind
from tidemill.ledger.conversion import Conversion

_NUM_DIGITS = 2


def state(
    joules: float, avoided_joules: float, machine_seconds: float, meter: MeterKind, conversion: Conversion
) -> Footprint:
    """The footprint of `joules` of the meter and of `machine_seconds` of the machine."""
    impact = conversion.impact(joules, machine_seconds)
    has_grid_water = conversion.offsite_liters_per_kwh is not None
    return Footprint(
        joules=joules,
        joules_low=joules * meter.low_ratio,
        joules_high=joules * meter.high_ratio,
        method=meter.method,
        boundary=meter.boundary,
        zone=conversion.zone,
        water_onsite_milliliters=impact.water_onsite_liters * 1000.0,
        water_offsite_milliliters=impact.water_offsite_liters * 1000.0 if has_grid_water else None,
        operational_grams_co2e=None if conversion.grams_per_kwh is None else impact.operational_grams_co2e,
        embodied_grams_co2e=None if conversion.embodied_grams_per_second is None else impact.embodied_grams_co2e,
        cost=impact.cost if conversion.has_cost else None,
        currency=conversion.currency if conversion.has_cost else None,
        avoided_joules=avoided_joules,
    )


def together(parts: Sequence[Footprint]) -> Footprint | None:
    """The footprint of an answer made of several, in two significant digits; None of nothing."""
    if not parts:
        return None
    first = parts[0]
    return Footprint(
        joules=_sum(part.joules for part in parts),
        joules_low=_sum(part.joules_low for part in parts),
        joules_high=_sum(part.joules_high for part in parts),
        method=first.method,
        boundary=first.boundary,
        zone=first.zone,
        water_onsite_milliliters=_sum(part.water_onsite_milliliters for part in parts),
        water_offsite_milliliters=_known_sum([part.water_offsite_milliliters for part in parts]),
        operational_grams_co2e=_known_sum([part.operational_grams_co2e for part in parts]),
        embodied_grams_co2e=_known_sum([part.embodied_grams_co2e for part in parts]),
        cost=_known_sum([part.cost for part in parts]),
        currency=first.currency,
        avoided_joules=_sum(part.avoided_joules for part in parts),
    )


def _sum(values: Iterable[float]) -> float:
    return coarse(sum(values))


def _known_sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return coarse(sum(known)) if known else None


def coarse(value: float) -> float:
    """`value` in two significant digits."""
    return float(f"{value:.{_NUM_DIGITS - 1}e}")
