"""Ten thousand requests: the file's rows, the metrics and `tidemill ledger --json` say the same."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from tests.fakes.ledger_rig import LedgerRig
from tidemill.api.limits import parse_options
from tidemill.cli.main import app
from tidemill.core.errors import ConfigurationError
from tidemill.ledger.entries import RequestEntry
from tidemill.ledger.store import LedgerStore
from tidemill.telemetry.ledger_metrics import OTHER, LedgerMetrics, StoreCollector

START = 1_700_000_000.0
"""The rig's wall clock at its start."""


@pytest.fixture(scope="module")
def path(rig: LedgerRig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("books") / "ledger.sqlite"
    store = LedgerStore(path, retention_days=36_500, wall_clock=lambda: START, max_waiting=len(rig.entries))
    for entry in rig.entries:
        store.put(entry)
    store.start()
    store.stop()
    assert store.counts.num_written == len(rig.entries)
    return path


@pytest.fixture(scope="module")
def registry(rig: LedgerRig) -> CollectorRegistry:
    registry = CollectorRegistry()
    metrics = LedgerMetrics(registry, model_name="rig", max_keys=100)
    for entry in rig.entries:
        metrics.entry(entry)
    metrics.open(rig.open_joules)
    return registry


def metric(registry: CollectorRegistry, name: str, **labels: str) -> float:
    """The sum over all series of a metric that have these labels."""
    samples = [sample for family in registry.collect() for sample in family.samples if sample.name == name]
    assert samples, name
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


def total(path: Path, column: str, table: str = "requests") -> float:
    with sqlite3.connect(path) as connection:
        (value,) = connection.execute(f"SELECT total({column}) FROM {table}").fetchone()
    return float(value)


def test_rows_metrics_and_the_command_agree(rig: LedgerRig, path: Path, registry: CollectorRegistry) -> None:
    arguments = ["ledger", "--ledger-path", str(path), "--days", "36500", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    waste = "waste_aborted_joules + waste_failed_joules + waste_recomputed_joules"
    whole = told["total"]
    compared = {
        "meter": (total(path, "meter_joules", "hours"), metric(registry, "tidemill_energy_meter_joules_total")),
        "requests": (total(path, "requests_joules"), metric(registry, "tidemill_energy_requests_joules_total")),
        "idle": (total(path, "idle_joules", "hours"), metric(registry, "tidemill_energy_idle_joules_total")),
        "waste": (total(path, waste), metric(registry, "tidemill_energy_waste_joules_total")),
        "avoided": (total(path, "avoided_joules"), metric(registry, "tidemill_energy_avoided_joules_total")),
    }
    wasted = sum(whole[f"waste_{kind}_joules"] for kind in ("aborted", "failed", "recomputed"))
    told_joules = {name: whole.get(f"{name}_joules") for name in compared} | {"waste": wasted}
    for name, (rows, metered) in compared.items():
        assert rows > 0.0, name
        assert metered == pytest.approx(rows, rel=1e-3), name
        assert told_joules[name] == pytest.approx(rows, rel=1e-3), name
    assert compared["meter"][0] == pytest.approx(rig.meter.exact, rel=1e-3)
    spent = compared["requests"][0] + compared["idle"][0] + compared["waste"][0]
    assert spent == pytest.approx(compared["meter"][0], rel=1e-3)


def test_keys_are_told_apart_alike(path: Path, registry: CollectorRegistry) -> None:
    result = CliRunner().invoke(app, ["ledger", "--ledger-path", str(path), "--days", "36500", "--json"])
    lines = {line["group"]: line for line in json.loads(result.stdout)["lines"]}
    assert set(lines) == {"alice", "bob"}
    for key, line in lines.items():
        metered = metric(registry, "tidemill_energy_requests_joules_total", key=key)
        assert line["requests_joules"] == pytest.approx(metered, rel=1e-3)
        assert line["num_requests"] == 5000


def test_keys_beyond_the_most_share_a_series_and_sums_stay_right(rig: LedgerRig) -> None:
    registry = CollectorRegistry()
    metrics = LedgerMetrics(registry, model_name="rig", max_keys=2)
    request = next(entry for entry in rig.entries if isinstance(entry, RequestEntry) and entry.requests_joules > 0.0)
    keys = ["first", "second", *(f"key-{number}" for number in range(50)), "first"]
    for key in keys:
        metrics.entry(replace(request, key=key))
    whole, named = len(keys) * request.requests_joules, {"first": 2, "second": 1, "(other)": 50}
    assert metric(registry, "tidemill_energy_requests_joules_total") == pytest.approx(whole)
    for key, count in named.items():
        told = metric(registry, "tidemill_energy_requests_joules_total", key=key)
        assert told == pytest.approx(count * request.requests_joules)
    samples = [sample for family in registry.collect() for sample in family.samples]
    assert {s.labels["key"] for s in samples if "key" in s.labels} == set(named)


def test_with_room_for_no_key_all_are_others(rig: LedgerRig) -> None:
    registry = CollectorRegistry()
    metrics = LedgerMetrics(registry, model_name="rig", max_keys=0)
    for entry in rig.entries[:200]:
        metrics.entry(entry)
    samples = [sample for family in registry.collect() for sample in family.samples]
    assert {s.labels["key"] for s in samples if "key" in s.labels} == {"(other)"}


def test_no_name_of_the_key_file_is_the_series_of_the_others(rig: LedgerRig) -> None:
    name = parse_options(["name=other"], "line 1").name
    assert name == "other"
    registry = CollectorRegistry()
    metrics = LedgerMetrics(registry, model_name="rig", max_keys=1)
    request = next(entry for entry in rig.entries if isinstance(entry, RequestEntry) and entry.requests_joules > 0.0)
    for key in (name, "one", "two"):
        metrics.entry(replace(request, key=key))
    mine = metric(registry, "tidemill_energy_requests_joules_total", key=name)
    assert mine == pytest.approx(request.requests_joules)
    with pytest.raises(ConfigurationError):
        parse_options([f"name={OTHER}"], "line 1")


@pytest.mark.parametrize("quantity", ["water_offsite_{}_liters", "carbon_operational_{}_grams"])
def test_impacts_agree_and_are_split_like_joules(path: Path, registry: CollectorRegistry, quantity: str) -> None:
    column = {"water": "water_offsite_liters", "carbon": "operational_grams_co2e"}[quantity.split("_", maxsplit=1)[0]]
    parts = {p: metric(registry, f"tidemill_{quantity.format(p)}_total") for p in ("requests", "waste", "idle")}
    assert parts["requests"] + parts["waste"] == pytest.approx(total(path, column), rel=1e-3)
    assert parts["idle"] == pytest.approx(total(path, f"idle_{column}", "hours"), rel=1e-3)
    joules = metric(registry, "tidemill_energy_requests_joules_total")
    assert parts["requests"] / sum(parts.values()) == pytest.approx(
        joules / metric(registry, "tidemill_energy_meter_joules_total"), rel=1e-3
    )


def test_a_table_and_bars_for_people(path: Path) -> None:
    result = CliRunner().invoke(app, ["ledger", "--ledger-path", str(path), "--days", "36500"], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    for words in ("alice", "bob", "finished answers", "idle", "█", "nvml", "prefix hits avoided"):
        assert words in result.stdout


def test_lines_for_a_spreadsheet(path: Path) -> None:
    result = CliRunner().invoke(
        app, ["ledger", "--ledger-path", str(path), "--days", "36500", "--csv", "--by", "model"]
    )
    head, line = result.stdout.strip().splitlines()
    assert head.startswith("group,num_requests")
    assert line.startswith("rig,10000,")


def test_the_store_counts_what_it_did(path: Path) -> None:
    registry = CollectorRegistry()
    store = LedgerStore(path, retention_days=1, wall_clock=lambda: START)
    store.counts.num_not_taken, store.counts.num_given_up = 1, 2
    registry.register(StoreCollector(store.counts))
    assert metric(registry, "tidemill_ledger_entries_dropped_total") == 3
