"""Which meter there is: the device's own counter, else the processors', else a model. Owns the order, no meter."""

from tidemill.config.settings import LedgerSettings
from tidemill.core.clock import Clock
from tidemill.core.errors import ConfigurationError
from tidemill.ledger.meter import Meter
from tidemill.ledger.nvml import open_nvml
from tidemill.ledger.power_model import PowerModelMeter, given_power, look_up, processor_of, usable_threads
from tidemill.ledger.rapl import open_rapl
from tidemill.ledger.tables import server_power


def open_meter(settings: LedgerSettings, device: str, clock: Clock) -> Meter | None:
    """The meter that is asked for; None if none is. Raises `ConfigurationError` if the one asked for is not there."""
    wanted = settings.meter
    if wanted == "off":
        return None
    meter: Meter | None = None
    if wanted in ("auto", "nvml") and device.startswith("cuda"):
        meter = open_nvml(_index_of(device))
    if meter is None and wanted in ("auto", "rapl") and not device.startswith("cuda"):
        meter = open_rapl()
    if meter is None and wanted in ("auto", "model"):
        meter = _power_model(settings, clock)
    if meter is None:
        raise ConfigurationError(
            f"There is no {wanted} meter for the device {device} here.",
            next_step="Use --meter auto, or --meter model, which estimates.",
        )
    return meter


def _power_model(settings: LedgerSettings, clock: Clock) -> PowerModelMeter:
    num_threads = usable_threads()
    power = given_power(
        look_up(server_power(), processor_of()), num_threads, settings.power_idle_watts, settings.power_full_watts
    )
    return PowerModelMeter(power, num_threads, clock)


def _index_of(device: str) -> int:
    _, _, index = device.partition(":")
    return int(index) if index.isdigit() else 0
