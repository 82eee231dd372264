"""The books as metrics: joules, water, carbon and money, of requests by key, of waste by kind, and of idle time.

At every moment meter = requests + waste + idle + what is still under way.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tidemill.ledger.conversion import Impact
from tidemill.ledger.entries import WASTE_KINDS, Entry, IntervalEntry, RequestEntry
from tidemill.ledger.store import StoreCounts

_MODEL = ("model_name",)
_KEY = (*_MODEL, "key")
_IMPACTS = (
    ("tidemill_water_onsite_{}_liters", "Water that the building evaporated, in liters"),
    ("tidemill_water_offsite_{}_liters", "Water that power stations consumed, in liters"),
    ("tidemill_carbon_operational_{}_grams", "Grams CO2e of the electricity"),
    ("tidemill_carbon_embodied_{}_grams", "Grams CO2e of making the machine"),
    ("tidemill_cost_{}", "Money, in the currency of the settings"),
)
OTHER = "(other)"
"""The key of all that have no series of their own: no name in a key file has parentheses."""
_PARTS = (("requests", "of finished answers", _KEY), ("waste", "of work for nothing", _KEY), ("idle", "idle", _MODEL))


class LedgerMetrics:
    """Counts entries as they become final.

    A key has some thirty lines on the page. The first `max_keys` that are used have series of their own for as long as
    the server runs; the others share those of the key `(other)`. The books on disk know every key.
    """

    def __init__(self, registry: CollectorRegistry, *, model_name: str, max_keys: int) -> None:
        self._model_name = model_name
        self._max_keys = max_keys
        self._keys: set[str] = set()
        self._meter = Counter(
            "tidemill_energy_meter_joules",
            "Joules of the meter, by method: nvml, rapl, or model, which is no measurement.",
            (*_MODEL, "method"),
            registry=registry,
        )
        self._requests = Counter(
            "tidemill_energy_requests_joules", "Joules of finished answers.", _KEY, registry=registry
        )
        self._idle = Counter("tidemill_energy_idle_joules", "Joules between steps.", _MODEL, registry=registry)
        self._waste = Counter(
            "tidemill_energy_waste_joules",
            "Joules for nothing: of sequences aborted or failed, and of positions computed again after a preemption.",
            (*_KEY, "kind"),
            registry=registry,
        )
        self._avoided = Counter(
            "tidemill_energy_avoided_joules", "Joules that prefix hits have saved.", _KEY, registry=registry
        )
        self._open = Gauge(
            "tidemill_energy_open_joules", "Joules of requests still under way.", _MODEL, registry=registry
        )
        self._residual = Gauge(
            "tidemill_energy_residual_ratio",
            "Of late: |meter - model| over the meter, before shares are scaled to the meter.",
            _MODEL,
            registry=registry,
        )
        self._impacts = _impact_counters(registry)
        self._residual_joules = self._modelled_joules = 0.0
        self._idle.labels(model_name)
        self.open(0.0)

    def open(self, joules: float) -> None:
        """Requests under way have had `joules` so far."""
        self._open.labels(self._model_name).set(joules)

    def entry(self, entry: Entry) -> None:
        """Something is final."""
        if isinstance(entry, RequestEntry):
            self._request(entry)
        else:
            self._interval(entry)

    def _request(self, entry: RequestEntry) -> None:
        labels = (entry.model, self._label(entry.key))
        self._requests.labels(*labels).inc(entry.requests_joules)
        self._avoided.labels(*labels).inc(entry.avoided_joules)
        for kind in WASTE_KINDS:
            self._waste.labels(*labels, kind).inc(entry.waste_joules[kind])
        useful = entry.requests_joules / entry.joules if entry.joules > 0.0 else 1.0
        self._add("requests", labels, entry.impact.times(useful))
        self._add("waste", labels, entry.impact.times(1.0 - useful))

    def _label(self, key: str) -> str:
        if key not in self._keys:
            if len(self._keys) >= self._max_keys:
                return OTHER
            self._keys.add(key)
        return key

    def _interval(self, entry: IntervalEntry) -> None:
        self._meter.labels(entry.model, entry.method).inc(entry.meter_joules)
        self._idle.labels(entry.model).inc(max(0.0, entry.idle_joules))
        self._add("idle", (entry.model,), entry.idle_impact)
        # About the last hundred intervals that had been predicted.
        self._residual_joules = 0.99 * self._residual_joules + entry.residual_joules
        self._modelled_joules = 0.99 * self._modelled_joules + entry.modelled_joules
        if self._modelled_joules > 0.0:
            self._residual.labels(entry.model).set(self._residual_joules / self._modelled_joules)

    def _add(self, part: str, labels: tuple[str, ...], impact: Impact) -> None:
        for counter, amount in zip(self._impacts[part], impact, strict=True):
            counter.labels(*labels).inc(max(0.0, amount))


def _impact_counters(registry: CollectorRegistry) -> dict[str, list[Counter]]:
    """Of each part of the books, in the order of an `Impact`."""
    return {
        part: [Counter(name.format(part), f"{what}: {whose}.", labels, registry=registry) for name, what in _IMPACTS]
        for part, whose, labels in _PARTS
    }


class StoreCollector(Collector):
    """What became of the books' entries on their way to the disk."""

    def __init__(self, counts: StoreCounts) -> None:
        self._counts = counts

    def collect(self) -> "list[Metric]":
        """One sample each."""
        counts = self._counts
        return [
            CounterMetricFamily("tidemill_ledger_entries_written", "Entries in the books.", counts.num_written),
            CounterMetricFamily("tidemill_ledger_entries_dropped", "Entries lost to a full disk.", counts.num_dropped),
            CounterMetricFamily("tidemill_ledger_failed_writes", "Attempts that failed.", counts.num_failed_writes),
        ]
