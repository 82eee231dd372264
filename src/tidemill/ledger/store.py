"""The books on disk: an SQLite file, written by one thread off everybody's way. Reading them is `report.py`'s business.

What waits to be written is bounded; what comes when it is full is dropped and counted, and nobody ever waits. A disk
that takes nothing is tried again, and stops nothing else.
"""

import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tidemill.core.clock import Clock
from tidemill.core.errors import ConfigurationError
from tidemill.ledger.entries import Entry, IntervalEntry, RequestEntry
from tidemill.ledger.schema import migrate

log = logging.getLogger(__name__)

MAX_WAITING = 8192
"""Entries that may wait: some minutes of a busy server, in a few megabytes."""
_BATCH = 512
_RETRY_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)
_PRUNE_SECONDS = 3600.0
_BUSY_SECONDS = 5.0
_DAY_SECONDS = 86_400.0
_STOP_SECONDS = 8.0
_STOP_RETRY_SECONDS = 0.25
_LAST_SECONDS = 1.0
"""For the writer to count what it gives up."""

Connect = Callable[[Path], sqlite3.Connection]


@dataclass(slots=True)
class StoreCounts:
    """What became of entries, for whoever counts; each field is written by one thread."""

    num_written: int = 0
    num_failed_writes: int = 0
    num_not_taken: int = 0
    num_given_up: int = 0

    @property
    def num_dropped(self) -> int:
        """Entries that came when too many waited, and those that the disk did not take before the end."""
        return self.num_not_taken + self.num_given_up


def connect(path: Path) -> sqlite3.Connection:
    """A connection that may write, the file made if need be, readable for its owner only. Raises `sqlite3.Error`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


class LedgerStore:
    """One file. `put` from anywhere; the rest is the writer's thread."""

    def __init__(
        self,
        path: Path,
        *,
        retention_days: int,
        wall_clock: Clock,
        opener: Connect = connect,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._path = path
        self._retention_seconds = retention_days * _DAY_SECONDS
        self._wall_clock = wall_clock
        self._open = opener
        self._waiting: queue.Queue[Entry | None] = queue.Queue(max_waiting)
        self._stopping = threading.Event()
        self._gave_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._pruned_at: float | None = None
        self._num_failures = 0
        self._num_taken = 0
        self.counts = StoreCounts()

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Have `entry` written some time soon; never waits."""
        try:
            self._waiting.put_nowait(entry)
            self._num_taken += 1
        except queue.Full:
            self.counts.num_not_taken += 1

    def stop(self) -> None:
        """Write what waits, if the disk takes it, and end; a few seconds at most."""
        self._stopping.set()
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)  # wakes a writer that has nothing to do
        self._thread.join(_STOP_SECONDS)
        self._gave_up.set()
        self._thread.join(_LAST_SECONDS)
        if num_lost := self._num_taken + self.counts.num_not_taken - self.counts.num_written:
            log.error("Entries of the books are lost: %d, at %s.", num_lost, self._path)

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            self._write_until_done(batch)
        self._close()

    def _next(self) -> list[Entry] | None:
        """What waits, at least one entry; None when it is time to end."""
        batch: list[Entry] = []
        while not batch:
            if self._stopping.is_set() and self._waiting.empty():
                return None
            entry = self._waiting.get()
            while entry is not None or not self._waiting.empty():
                if entry is not None:
                    batch.append(entry)
                if len(batch) == _BATCH or self._waiting.empty():
                    break
                entry = self._waiting.get()
        return batch

    def _write_until_done(self, batch: list[Entry]) -> None:
        """Write `batch`, however often it takes; when the server ends, what the disk does not take soon is dropped."""
        while True:
            try:
                self._write(batch)
            except (OSError, sqlite3.Error, ConfigurationError) as error:
                self._fail(error)
                wait = _RETRY_SECONDS[min(self._num_failures, len(_RETRY_SECONDS)) - 1]
                if self._stopping.wait(wait) and self._gave_up.wait(_STOP_RETRY_SECONDS):
                    self.counts.num_given_up += len(batch)
                    return
            else:
                if self._num_failures:
                    log.warning(
                        "The books are written again.",
                        extra={"fields": {"path": str(self._path), "entries_dropped": self.counts.num_dropped}},
                    )
                self._num_failures = 0
                self.counts.num_written += len(batch)
                return

    def _fail(self, error: Exception) -> None:
        self.counts.num_failed_writes += 1
        self._num_failures += 1
        if self._num_failures == 1:
            log.warning(
                "The books cannot be written for now; entries wait, and serving goes on.",
                extra={"fields": {"path": str(self._path), "reason": str(error)}},
            )
        self._close()

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _write(self, batch: list[Entry]) -> None:
        if self._connection is not None and _identity(self._path) != self._file:
            log.warning(
                "The books were moved or deleted; new ones are begun.", extra={"fields": {"path": str(self._path)}}
            )
            self._close()
        if self._connection is None:
            self._connection = self._open(self._path)
            migrate(self._connection)
            self._file = _identity(self._path)
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        for entry in batch:
            if isinstance(entry, RequestEntry):
                connection.execute(_INSERT_REQUEST, _request_row(entry))
            else:
                connection.execute(_ADD_TO_HOUR, _hour_row(entry))
        now = self._wall_clock()
        if self._pruned_at is None or now - self._pruned_at > _PRUNE_SECONDS:
            connection.execute("DELETE FROM requests WHERE ended_unix_seconds < ?", (now - self._retention_seconds,))
            self._pruned_at = now
        connection.execute("COMMIT")


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells this file from another one at the same path; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_INSERT_REQUEST = f"INSERT INTO requests VALUES (NULL, {', '.join('?' * 19)})"  # noqa: S608 - no value is in it
_HOUR_SUMS = (
    *("meter_joules", "idle_joules", "idle_water_onsite_liters", "idle_water_offsite_liters"),
    *("idle_operational_grams_co2e", "idle_embodied_grams_co2e", "idle_cost", "residual_joules", "modelled_joules"),
)
_ADD_TO_HOUR = (
    f"INSERT INTO hours VALUES ({', '.join('?' * 12)}) ON CONFLICT (hour_unix_seconds, model, method) DO UPDATE SET "  # noqa: S608
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in _HOUR_SUMS)
)


def _request_row(entry: RequestEntry) -> tuple[object, ...]:
    waste = entry.waste_joules
    return (
        entry.ended_unix_seconds,
        entry.request_id,
        entry.model,
        entry.key,
        entry.outcome,
        entry.num_prompt_tokens,
        entry.num_cached_tokens,
        entry.num_output_tokens,
        entry.requests_joules,
        waste["aborted"],
        waste["failed"],
        waste["recomputed"],
        entry.avoided_joules,
        entry.stated_joules,
        *entry.impact,
    )


def _hour_row(entry: IntervalEntry) -> tuple[object, ...]:
    hour = int(entry.closed_unix_seconds // 3600 * 3600)
    figures = (entry.meter_joules, entry.idle_joules, *entry.idle_impact, entry.residual_joules, entry.modelled_joules)
    return (hour, entry.model, entry.method, *figures)
