"""The file of the books: what is written is read again, and a disk that takes nothing stops nobody."""

import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill.core.errors import ConfigurationError
from tidemill.ledger.conversion import Impact
from tidemill.ledger.entries import Entry, IntervalEntry, RequestEntry
from tidemill.ledger.report import read_report
from tidemill.ledger.schema import MIGRATIONS, migrate
from tidemill.ledger.store import LedgerStore, connect

NOON = 1_700_000_000.0
DAY = 86_400.0


def request(key: str = "alice", *, at: float = NOON, joules: float = 10.0, model: str = "minnow") -> RequestEntry:
    return RequestEntry(
        request_id="r",
        model=model,
        key=key,
        num_prompt_tokens=5,
        ended_unix_seconds=at,
        num_cached_tokens=2,
        num_output_tokens=7,
        requests_joules=joules,
        waste_joules={"aborted": 1.0, "failed": 0.0, "recomputed": 0.5},
        avoided_joules=0.25,
        stated_joules=9.0,
        impact=Impact(0.1, 0.2, 0.3, 0.4, 0.5),
    )


def interval(*, at: float = NOON, joules: float = 20.0) -> IntervalEntry:
    return IntervalEntry(at, "minnow", "model", joules, 4.0, Impact(1.0, 2.0, 3.0, 4.0, 5.0), 0.5, joules)


def write(path: Path, *entries: Entry, retention_days: int = 10, now: float = NOON) -> LedgerStore:
    store = LedgerStore(path, retention_days=retention_days, wall_clock=lambda: now)
    for entry in entries:
        store.put(entry)
    store.start()
    store.stop()
    return store


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.sqlite"
    store = write(path, request(), request("bob", joules=3.0), interval(), interval(joules=1.0))
    assert (store.counts.num_written, store.counts.num_dropped) == (4, 0)
    report = read_report(path, since=NOON - 60, until=NOON + 60, by="key")
    assert [line.group for line in report.lines] == ["alice", "bob"]
    alice, bob = report.lines
    assert (alice.requests_joules, alice.waste_joules, bob.requests_joules) == (10.0, 1.5, 3.0)
    assert (alice.num_requests, alice.num_prompt_tokens, alice.num_cached_tokens) == (1, 5, 2)
    total = report.total
    assert (total.meter_joules, total.idle_joules, total.methods) == (21.0, 8.0, ("model",))
    assert total.residual_ratio == pytest.approx(1.0 / 21.0)
    assert total.water_offsite_liters == pytest.approx(2 * 0.2 + 2 * 2.0)
    assert total.cost == pytest.approx(2 * 0.5 + 2 * 5.0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_reports_are_of_a_span_and_by_what_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    write(path, request(at=NOON - DAY), request(), request(model="other"))
    by_day = read_report(path, since=NOON - 2 * DAY, until=NOON + 1, by="day")
    assert [line.num_requests for line in by_day.lines] == [1, 2]
    by_model = read_report(path, since=NOON - 60, until=NOON + 1, by="model")
    assert [(line.group, line.num_requests) for line in by_model.lines] == [("minnow", 1), ("other", 1)]
    assert read_report(path, since=NOON + 5, until=NOON + 6, by="key").lines == ()


def test_old_lines_go_and_hours_stay(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    write(path, request(at=NOON - 9 * DAY), request(at=NOON - 11 * DAY), interval(at=NOON - 300 * DAY))
    report = read_report(path, since=0.0, until=NOON + 1, by="key")
    assert report.total.num_requests == 1
    assert report.total.meter_joules == 20.0


def test_a_second_server_adds_to_the_same_books(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    write(path, interval(), request())
    write(path, interval(), request())
    report = read_report(path, since=NOON - 60, until=NOON + 60, by="key")
    assert (report.total.meter_joules, report.total.num_requests) == (40.0, 2)


def test_books_of_a_newer_version_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    connection = connect(path)
    migrate(connection)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    migrate(connection)  # and once more changes nothing
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(ConfigurationError, match="newer"):
        migrate(connection)
    connection.close()


def test_books_that_are_not_there_or_no_books_are_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no books"):
        read_report(tmp_path / "none", since=0.0, until=1.0, by="key")
    (tmp_path / "text").write_text("not a database, and long enough to be taken for one" * 20)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_report(tmp_path / "text", since=0.0, until=1.0, by="key")


def test_a_path_with_odd_characters_names_the_file_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "we?ird#%41 .sqlite"
    write(path, interval(), request())
    assert read_report(path, since=NOON - 60, until=NOON + 60, by="key").total.num_requests == 1
    assert all(each.name.startswith(path.name) for each in tmp_path.iterdir())


def test_empty_and_newer_books_are_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ConfigurationError, match="are empty"):
        read_report(tmp_path / "empty", since=0.0, until=1.0, by="key")
    connection = connect(tmp_path / "newer")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(ConfigurationError, match="newer Tidemill"):
        read_report(tmp_path / "newer", since=0.0, until=1.0, by="key")


def test_books_that_are_deleted_while_serving_are_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "ledger.sqlite"
    store = LedgerStore(path, retention_days=10, wall_clock=lambda: NOON)
    store.start()
    store.put(request("before"))
    _wait_for(lambda: store.counts.num_written == 1)
    for file in tmp_path.iterdir():
        file.unlink()
    store.put(request("after"))
    _wait_for(lambda: store.counts.num_written == 2)
    store.stop()
    report = read_report(path, since=NOON - 60, until=NOON + 60, by="key")
    assert [line.group for line in report.lines] == ["after"]
    assert "moved or deleted" in caplog.text


def test_what_could_not_be_written_before_the_end_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.ledger.store._STOP_SECONDS", 0.05)
    path = tmp_path / "ledger.sqlite"
    write(path, request())
    other = connect(path)
    other.execute("BEGIN IMMEDIATE")
    store = LedgerStore(path, retention_days=10, wall_clock=lambda: NOON)
    for _ in range(3):
        store.put(request())
    store.start()
    store.stop()
    assert "Entries of the books are lost: 3" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    store._thread.join()


class FullDisk:
    """Opens connections to a file that may not grow until `has_room` is set, or it is opened for so many times."""

    def __init__(self, room_at: int = 2**31) -> None:
        self.has_room = False
        self.tried = threading.Event()
        self._tries_left = room_at

    def open(self, path: Path) -> sqlite3.Connection:
        self.tried.set()
        self._tries_left -= 1
        self.has_room |= self._tries_left <= 0
        connection = connect(path)
        if not self.has_room:
            connection.execute("PRAGMA max_page_count = 1")
        return connection


def test_a_full_disk_drops_and_counts_and_never_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.ledger.store._STOP_SECONDS", 0.05)
    disk = FullDisk()
    store = LedgerStore(
        tmp_path / "ledger.sqlite", retention_days=1, wall_clock=lambda: NOON, opener=disk.open, max_waiting=3
    )
    store.start()
    store.put(request())
    assert disk.tried.wait(10.0)
    for _ in range(20):
        store.put(request())
    assert store.counts.num_dropped >= 16
    store.stop()
    assert store.counts.num_written == 0
    assert store.counts.num_failed_writes >= 1
    assert store.counts.num_dropped == 21


def test_a_disk_that_has_room_before_the_end_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = FullDisk(room_at=3)
    store = LedgerStore(tmp_path / "ledger.sqlite", retention_days=1, wall_clock=lambda: NOON, opener=disk.open)
    for _ in range(5):
        store.put(request())
    store.start()
    store.stop()
    assert (store.counts.num_written, store.counts.num_dropped) == (5, 0)
    assert "are lost" not in caplog.text
    assert "The books are written again." in caplog.text


def test_a_disk_with_room_again_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.ledger.store._RETRY_SECONDS", (0.0,))
    disk = FullDisk()
    store = LedgerStore(tmp_path / "ledger.sqlite", retention_days=1, wall_clock=lambda: NOON, opener=disk.open)
    store.start()
    store.put(request())
    assert disk.tried.wait(10.0)
    disk.has_room = True
    _wait_for(lambda: store.counts.num_written == 1)
    store.stop()
    assert store.counts.num_dropped == 0


def _wait_for(happened: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if happened():
            return
        pause.wait(0.005)
    raise AssertionError("it did not happen")


def test_a_read_only_place_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.ledger.store._STOP_SECONDS", 0.05)
    (tmp_path / "file").write_text("")
    store = LedgerStore(tmp_path / "file" / "ledger.sqlite", retention_days=1, wall_clock=lambda: NOON)
    store.put(request())
    store.start()
    store.stop()
    assert store.counts.num_written == 0
    assert store.counts.num_dropped == 1
