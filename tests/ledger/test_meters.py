"""Meters over made-up systems."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tidemill.config.settings import LedgerSettings
from tidemill.core.clock import VirtualClock
from tidemill.core.errors import ConfigurationError
from tidemill.ledger.choice import open_meter
from tidemill.ledger.nvml import open_nvml
from tidemill.ledger.power_model import PowerModelMeter, ThreadPower, given_power, look_up, processor_of
from tidemill.ledger.rapl import open_rapl
from tidemill.ledger.tables import WORLD, grid_carbon, grid_water, server_power


def zone(root: Path, folder: str, name: str, microjoules: int, most: int = 1_000_000) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(name + "\n")
    (path / "energy_uj").write_text(str(microjoules))
    (path / "max_energy_range_uj").write_text(str(most))
    return path / "energy_uj"


def test_rapl_adds_packages_and_memory_and_goes_on_over_a_wrap(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 900_000)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 10)
    zone(tmp_path, "intel-rapl:0:0", "core", 5)
    zone(tmp_path, "intel-rapl:1", "psys", 7)
    meter = open_rapl(tmp_path)
    assert meter is not None
    assert meter.kind.method == "rapl"
    assert "memory" in meter.kind.boundary
    assert meter.joules() == 0.0
    first.write_text("100000")  # 200,000 microjoules later, over the range of 1,000,000
    memory.write_text("50010")
    assert meter.joules() == pytest.approx(0.25)
    first.unlink()
    assert meter.joules() is None


def test_rapl_is_not_offered_without_packages_or_without_leave_to_read(tmp_path: Path) -> None:
    assert open_rapl(tmp_path) is None
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    counter.unlink()
    assert open_rapl(tmp_path) is None


def test_nvml_reads_the_counter_and_survives_its_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    readings: list[int | NVMLError] = [1000, 2500, NVMLError()]

    def read(handle: object) -> int:
        reading = readings.pop(0)
        if isinstance(reading, NVMLError):
            raise reading
        return reading

    library = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=read,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    meter = open_nvml(0)
    assert meter is not None
    assert meter.joules() == 2.5
    assert meter.joules() is None
    readings.append(NVMLError())
    assert open_nvml(0) is None


def test_nvml_is_not_offered_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_nvml(0) is None


def test_the_model_goes_from_idle_to_full_watts_with_processor_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = SimpleNamespace(user=10.0, system=0.0)
    monkeypatch.setattr("tidemill.ledger.power_model.os.times", lambda: used)
    clock = VirtualClock()
    power = ThreadPower(idle_watts=1.0, full_watts=5.0, low_ratio=0.5, high_ratio=2.0, basis="a test")
    meter = PowerModelMeter(power, 4, clock, proc=tmp_path)
    assert meter.kind.is_modelled
    assert meter.kind.boundary.startswith("modelled")
    clock.advance(10.0)
    assert meter.joules() == pytest.approx(40.0)
    clock.advance(10.0)
    used.user += 20.0
    assert meter.joules() == pytest.approx(40.0 + 40.0 + 80.0)
    clock.advance(1.0)
    used.user += 1000.0  # no more than all threads can be used
    assert meter.joules() == pytest.approx(160.0 + 4.0 + 16.0)


def test_a_known_processor_is_looked_up_and_an_unknown_one_has_a_wide_interval() -> None:
    table = server_power()
    known = look_up(table, "AuthenticAMD 25 1")
    assert "zen3" in known.basis
    assert 0.0 < known.idle_watts < known.full_watts < 3.0
    assert known.low_ratio < 1.0 < known.high_ratio
    unknown = look_up(table, "Nobody 1 1")
    assert "unknown" in unknown.basis
    assert unknown.high_ratio / unknown.low_ratio > known.high_ratio / known.low_ratio


def test_measured_watts_take_the_place_of_the_table() -> None:
    power = given_power(look_up(server_power(), None), 8, 40.0, 120.0)
    assert (power.idle_watts, power.full_watts, power.basis) == (5.0, 15.0, "settings")
    half = given_power(look_up(server_power(), None), 8, None, 120.0)
    assert half.full_watts == 15.0
    assert half.basis.startswith("settings and servers")


def test_the_processor_is_named_as_the_table_names_it(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\nmodel name: x\n\n")
    assert processor_of(tmp_path) == "AuthenticAMD 25 1"
    assert processor_of(tmp_path / "nowhere") is None


def test_the_choice_of_meters() -> None:
    clock = VirtualClock()
    assert open_meter(LedgerSettings(meter="off"), "cpu", clock) is None
    modelled = open_meter(LedgerSettings(meter="model"), "cpu", clock)
    assert modelled is not None
    assert modelled.kind.is_modelled
    with pytest.raises(ConfigurationError, match="no nvml meter"):
        open_meter(LedgerSettings(meter="nvml"), "cpu", clock)


def test_tables_say_where_they_are_from_and_are_sane() -> None:
    carbon, water, servers = grid_carbon(), grid_water(), server_power()
    for table in (carbon, water, servers):
        assert table.version
        assert table.source
    assert carbon.rows[WORLD][0] == 481
    assert all(0.0 <= grams <= 1500.0 and 2009 <= year <= 2026 for grams, year in carbon.rows.values())
    assert all(0.0 < liters < 30.0 for liters, _ in water.rows.values())
    assert set(water.rows) <= set(carbon.rows)
    assert set(servers.architectures.values()) == {server.architecture for server in servers.servers}
    assert all(server.idle_watts < server.full_watts for server in servers.servers)
