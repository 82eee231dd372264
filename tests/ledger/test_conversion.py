"""Joules into water, carbon and money, by hand."""

import pytest

from tidemill.config.settings import LedgerSettings
from tidemill.core.errors import ConfigurationError
from tidemill.core.footprint import MeterKind
from tidemill.ledger.conversion import Conversion, Impact
from tidemill.ledger.statement import coarse, state, together

KWH = 3.6e6
METER = MeterKind(method="rapl", boundary="packages", low_ratio=0.9, high_ratio=1.2)


def test_water_is_on_site_by_the_machines_and_off_site_by_the_building() -> None:
    settings = LedgerSettings(zone="FRA", pue=1.5, water_liters_per_kwh=0.55)
    impact = Conversion.of(settings).impact(KWH, 0.0)
    assert impact.water_onsite_liters == pytest.approx(0.55)
    assert impact.water_offsite_liters == pytest.approx(1.5 * 3.6737)
    assert impact.operational_grams_co2e == pytest.approx(1.5 * 56.0)
    assert impact.embodied_grams_co2e == impact.cost == 0.0


def test_the_grid_can_be_given() -> None:
    settings = LedgerSettings(zone="FRA", grid_grams_per_kwh=10.0, grid_liters_per_kwh=2.0)
    impact = Conversion.of(settings).impact(2 * KWH, 0.0)
    assert (impact.operational_grams_co2e, impact.water_offsite_liters) == (20.0, 4.0)


def test_an_all_in_price_is_of_the_machines_time() -> None:
    conversion = Conversion.of(LedgerSettings(machine_price_per_hour=3.6))
    assert conversion.impact(KWH, 1000.0).cost == pytest.approx(1.0)


def test_purchase_and_electricity_add_up_and_electricity_pays_the_building() -> None:
    settings = LedgerSettings(
        machine_purchase_price=8766.0, machine_lifetime_years=1.0, electricity_price_per_kwh=0.2, pue=1.5
    )
    conversion = Conversion.of(settings)
    assert conversion.impact(KWH, 3600.0).cost == pytest.approx(1.0 + 0.3)


def test_making_the_machine_is_spread_over_its_life() -> None:
    conversion = Conversion.of(LedgerSettings(embodied_kilograms_co2e=8.766, machine_lifetime_years=1.0))
    assert conversion.impact(0.0, 3600.0).embodied_grams_co2e == pytest.approx(1.0)


def test_a_zone_without_a_figure_for_water_says_nothing_of_it() -> None:
    footprint = state(KWH, 0.0, 0.0, METER, Conversion.of(LedgerSettings(zone="ARM")))
    assert footprint.water_offsite_milliliters is None
    assert footprint.operational_grams_co2e == pytest.approx(264.5)
    assert footprint.cost is None


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no zone"):
        Conversion.of(LedgerSettings(zone="atlantis"))


def test_impacts_are_linear() -> None:
    conversion = Conversion.of(LedgerSettings(machine_price_per_hour=1.0, embodied_kilograms_co2e=100.0))
    whole, part = conversion.impact(300.0, 30.0), conversion.impact(100.0, 10.0)
    assert part.times(3.0) == pytest.approx(whole)
    assert part.plus(conversion.impact(200.0, 20.0)) == pytest.approx(whole)
    assert Impact() == pytest.approx(conversion.impact(0.0, 0.0))


def test_statements_add_up_and_have_two_digits() -> None:
    conversion = Conversion.of(LedgerSettings(machine_price_per_hour=1.0))
    footprint = together([state(1.2345, 0.1, 1.0, METER, conversion), state(2.0, 0.2, 1.0, METER, conversion)])
    assert footprint is not None
    assert footprint.joules == 3.2
    assert (footprint.joules_low, footprint.joules_high) == (2.9, 3.9)
    assert footprint.avoided_joules == 0.3
    assert footprint.cost == coarse(2.0 / 3600.0)
    assert footprint.method == "rapl"
    assert together([]) is None


@pytest.mark.parametrize(("value", "rounded"), [(0.0, 0.0), (1234.0, 1200.0), (0.004567, 0.0046), (9.96, 10.0)])
def test_two_significant_digits(value: float, rounded: float) -> None:
    assert coarse(value) == rounded
