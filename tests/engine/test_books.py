"""The books of a real engine process that simulates: charges come home, whatever becomes of a request."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.engine.conftest import ask, collect, settings_for
from tidemill.core.errors import EngineFailedError
from tidemill.core.requests import Delta, Finish
from tidemill.engine.client.client import EngineClient
from tidemill.ledger.accounts import ANYONE, Accounts
from tidemill.ledger.conversion import Conversion
from tidemill.ledger.entries import Entry, IntervalEntry, RequestEntry
from tidemill.text.model_text import ModelText

QUICK = {"sim_ttft_seconds": 0.0, "sim_seconds_per_token": 0.01, "sim_seconds_per_prompt_token": 0.0}


class Books:
    """A client over a real engine, and what its accounts have made final."""

    def __init__(self, folder: Path, text: ModelText, **sections: dict[str, object]) -> None:
        settings = settings_for(folder, **sections)
        self.entries: list[Entry] = []
        self._changed = asyncio.Event()
        self.accounts = Accounts(
            Conversion.of(settings.ledger),
            model="byte",
            key_labels={},
            on_entry=self._note,
            on_open=lambda _: None,
            wall_clock=lambda: 1_700_000_000.0,
        )
        self.client = EngineClient(settings, folder, text, accounts=self.accounts)

    def _note(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._changed.set()

    @property
    def requests(self) -> list[RequestEntry]:
        return [entry for entry in self.entries if isinstance(entry, RequestEntry)]

    async def until_requests(self, count: int) -> None:
        async with asyncio.timeout(20.0):
            while len(self.requests) < count:
                self._changed.clear()
                await self._changed.wait()


Open = Callable[..., Awaitable[Books]]


@pytest.fixture
async def open_books(folder: Path, text: ModelText) -> AsyncIterator[Open]:
    opened: list[Books] = []

    async def start(**sections: dict[str, object]) -> Books:
        opened.append(Books(folder, text, simulation=QUICK, **sections))
        await opened[-1].client.start()
        await opened[-1].client.wait_ready()
        return opened[-1]

    yield start
    for books in opened:
        await books.client.stop()


def finish_of(deltas: list[Delta]) -> Finish:
    finish = deltas[-1].finish
    assert finish is not None
    return finish


async def test_every_end_finds_its_line(open_books: Open) -> None:
    books = await open_books(ledger={"meter": "model"})
    client = books.client
    answers = await collect(client, ask(client, "hello", n=2, max_tokens=40))
    stopped = "".join(delta.text for delta in answers[0])[3:5]
    by_string = await collect(client, ask(client, "hello", max_tokens=40, stop=(stopped,)))
    assert finish_of(by_string[0]).stop == stopped
    given_up = client.generate(ask(client, "bye", max_tokens=400))
    for _ in range(20):
        await anext(given_up)
    await given_up.aclose()
    await books.until_requests(3)
    assert sorted(entry.outcome for entry in books.requests) == ["aborted", "finished", "finished"]
    both = max(books.requests, key=lambda entry: entry.num_output_tokens)
    assert (both.outcome, both.num_prompt_tokens, both.num_output_tokens) == ("finished", 5, 80)
    assert {entry.key for entry in books.requests} == {ANYONE}
    for entry in books.requests:
        assert entry.joules > 0.0
        wasted = entry.waste_joules["aborted"] > 0.0
        assert wasted == (entry.outcome == "aborted")
        assert (entry.requests_joules > 0.0) == (entry.outcome == "finished")
    intervals = [entry for entry in books.entries if isinstance(entry, IntervalEntry)]
    spent = sum(entry.joules for entry in books.requests) + sum(entry.idle_joules for entry in intervals)
    assert spent == pytest.approx(sum(entry.meter_joules for entry in intervals))
    assert {entry.method for entry in intervals} == {"model"}


async def test_an_answer_knows_its_footprint_once_there_are_prices(open_books: Open) -> None:
    books = await open_books(ledger={"meter": "model", "zone": "FRA"})
    client = books.client
    answers = await collect(client, ask(client, "hello", max_tokens=8))
    assert finish_of(answers[0]).footprint is None
    await collect(client, ask(client, "hello", n=4, max_tokens=450))
    await books.until_requests(2)
    finish = finish_of((await collect(client, ask(client, "hello", max_tokens=8)))[0])
    assert finish.footprint is not None
    assert 0.0 < finish.footprint.joules_low < finish.footprint.joules < finish.footprint.joules_high
    assert (finish.footprint.method, finish.footprint.zone) == ("model", "FRA")


async def test_without_a_meter_there_are_no_books(open_books: Open) -> None:
    books = await open_books(ledger={"meter": "off"})
    finish = finish_of((await collect(books.client, ask(books.client, "hello", max_tokens=4)))[0])
    assert finish.footprint is None
    assert books.entries == []


async def test_what_ran_when_the_engine_died_has_failed(open_books: Open) -> None:
    books = await open_books(ledger={"meter": "model"}, engine={"restart_backoff_seconds": 0.05})
    pid = books.client.engine_pid
    assert pid is not None
    stream = books.client.generate(ask(books.client, "hello", max_tokens=400))
    for _ in range(4):
        await anext(stream)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineFailedError):
        async for _ in stream:
            pass
    await books.until_requests(1)
    assert books.requests[0].outcome == "failed"
