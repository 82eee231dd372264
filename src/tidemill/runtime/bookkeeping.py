"""Wires the books of one server: accounts to metrics and to the file on disk, and takes them down again."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry

from tidemill.config.settings import LedgerSettings
from tidemill.core.clock import Clock
from tidemill.core.private_folder import private_data_folder
from tidemill.ledger.accounts import Accounts
from tidemill.ledger.conversion import Conversion
from tidemill.ledger.entries import Entry
from tidemill.ledger.store import LedgerStore
from tidemill.telemetry.ledger_metrics import LedgerMetrics, StoreCollector

log = logging.getLogger(__name__)

_FILE = "ledger.sqlite"


def ledger_path(settings: LedgerSettings) -> Path | None:
    """Where the books lie; None if there is no place that is ours alone and none was named."""
    if settings.ledger_path is not None:
        return Path(settings.ledger_path).expanduser()
    folder = private_data_folder("ledger")
    return None if folder is None else folder / _FILE


class Bookkeeping:
    """The books of one server. `start` before requests come, `stop` after the last has gone."""

    def __init__(
        self,
        settings: LedgerSettings,
        registry: CollectorRegistry,
        *,
        model: str,
        key_labels: Mapping[str, str],
        wall_clock: Clock,
    ) -> None:
        """Raises `ConfigurationError` for a zone that no figure ships for."""
        self._metrics = LedgerMetrics(registry, model_name=model, max_keys=settings.max_metric_keys)
        self._store = _open_store(settings, wall_clock)
        if self._store is not None:
            registry.register(StoreCollector(self._store.counts))
        self.accounts = Accounts(
            Conversion.of(settings),
            model=model,
            key_labels=key_labels,
            on_entry=self._on_entry,
            on_open=self._metrics.open,
            wall_clock=wall_clock,
        )

    def start(self) -> None:
        """Begin to write."""
        if self._store is not None:
            self._store.start()

    def stop(self) -> None:
        """Write what is left; some seconds at most."""
        if self._store is not None:
            self._store.stop()

    def _on_entry(self, entry: Entry) -> None:
        self._metrics.entry(entry)
        if self._store is not None:
            self._store.put(entry)


def _open_store(settings: LedgerSettings, wall_clock: Callable[[], float]) -> LedgerStore | None:
    if not settings.ledger_store or settings.meter == "off":
        return None
    path = ledger_path(settings)
    if path is None:
        log.warning("There is no private folder for the books; they are not kept. --ledger-path names another place.")
        return None
    return LedgerStore(path, retention_days=settings.ledger_retention_days, wall_clock=wall_clock)
