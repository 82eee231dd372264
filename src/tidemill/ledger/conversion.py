"""What joules mean where the machine stands: water, carbon, money. Formulas and sources are in docs/footprint.md.

All of them are linear in joules and in seconds of the machine, so that parts add up to wholes.
"""

from dataclasses import dataclass
from typing import NamedTuple

from tidemill.config.settings import LedgerSettings
from tidemill.core.errors import ConfigurationError
from tidemill.ledger.tables import GridTable, grid_carbon, grid_water

JOULES_PER_KWH = 3.6e6
_SECONDS_PER_HOUR = 3600.0
_HOURS_PER_YEAR = 365.25 * 24.0


class Impact(NamedTuple):
    """Water in liters, carbon in grams CO2e, money in the currency of the settings. What is not known is 0 here."""

    water_onsite_liters: float = 0.0
    water_offsite_liters: float = 0.0
    operational_grams_co2e: float = 0.0
    embodied_grams_co2e: float = 0.0
    cost: float = 0.0

    def plus(self, other: "Impact") -> "Impact":
        """Both together."""
        return Impact(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, factor: float) -> "Impact":
        """That many of it."""
        return Impact(*(factor * a for a in self))


NO_IMPACT = Impact()


@dataclass(frozen=True, slots=True)
class Conversion:
    """Factors, from settings and tables. None where a figure is not known and none was given."""

    zone: str
    pue: float
    onsite_liters_per_kwh: float
    offsite_liters_per_kwh: float | None
    grams_per_kwh: float | None
    embodied_grams_per_second: float | None
    money_per_second: float | None
    money_per_kwh: float | None
    currency: str

    @classmethod
    def of(cls, settings: LedgerSettings) -> "Conversion":
        """The factors that `settings` ask for. Raises `ConfigurationError` for an unknown zone."""
        if settings.zone not in grid_carbon().rows:
            raise ConfigurationError(
                f"zone is '{settings.zone:.20}', which is no zone that a figure ships for.",
                next_step="Use 'world' or a country's three letters, such as FRA or USA; or set grid_grams_per_kwh.",
            )
        lifetime_seconds = settings.machine_lifetime_years * _HOURS_PER_YEAR * _SECONDS_PER_HOUR
        embodied = settings.embodied_kilograms_co2e
        return cls(
            zone=settings.zone,
            pue=settings.pue,
            onsite_liters_per_kwh=settings.water_liters_per_kwh,
            offsite_liters_per_kwh=_given_or(settings.grid_liters_per_kwh, grid_water(), settings.zone),
            grams_per_kwh=_given_or(settings.grid_grams_per_kwh, grid_carbon(), settings.zone),
            embodied_grams_per_second=None if embodied is None else embodied * 1000.0 / lifetime_seconds,
            money_per_second=_money_per_second(settings, lifetime_seconds),
            money_per_kwh=settings.electricity_price_per_kwh,
            currency=settings.currency,
        )

    @property
    def has_cost(self) -> bool:
        """Whether any price was given."""
        return self.money_per_second is not None or self.money_per_kwh is not None

    def impact(self, joules: float, machine_seconds: float) -> Impact:
        """What `joules` of the meter, and `machine_seconds` of the machine, come to."""
        kwh = joules / JOULES_PER_KWH
        at_the_wall = kwh * self.pue
        money = (self.money_per_second or 0.0) * machine_seconds + (self.money_per_kwh or 0.0) * at_the_wall
        return Impact(
            water_onsite_liters=kwh * self.onsite_liters_per_kwh,
            water_offsite_liters=at_the_wall * (self.offsite_liters_per_kwh or 0.0),
            operational_grams_co2e=at_the_wall * (self.grams_per_kwh or 0.0),
            embodied_grams_co2e=(self.embodied_grams_per_second or 0.0) * machine_seconds,
            cost=money,
        )


def _given_or(given: float | None, table: GridTable, zone: str) -> float | None:
    if given is not None:
        return given
    row = table.rows.get(zone)
    return None if row is None else row[0]


def _money_per_second(settings: LedgerSettings, lifetime_seconds: float) -> float | None:
    if settings.machine_price_per_hour is not None:
        return settings.machine_price_per_hour / _SECONDS_PER_HOUR
    if settings.machine_purchase_price is not None:
        return settings.machine_purchase_price / lifetime_seconds
    return None
