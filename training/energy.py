"""What a training cost, as modelled from the processor time it used; nothing here is metered."""

from dataclasses import dataclass

from training.checkpoint import Progress

WATTS_PER_CORE = (
    8.0  # a server core at full load with its share of caches, memory and power supply; assumed, not read from a meter
)
JOULES_PER_WATT_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor time and the energy modelled from it."""

    cpu_seconds: float
    wall_seconds: float
    energy_joules: float

    @property
    def energy_watt_hours(self) -> float:
        """The energy in the unit people know."""
        return self.energy_joules / JOULES_PER_WATT_HOUR


def cost_of(progress: Progress) -> Cost:
    """The cost of a training so far."""
    return Cost(progress.cpu_seconds, progress.wall_seconds, progress.cpu_seconds * WATTS_PER_CORE)
