"""Whole invocations against a scripted server: runs, searches, and runs that end early."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.scripted_server import Call, Reply, ScriptedServer, complete
from tidemill.bench.arrivals import Arrivals
from tidemill.bench.config import BenchConfig, RequestConfig, SearchConfig
from tidemill.bench.lengths import Fixed, LogNormal
from tidemill.bench.load import ClosedLoop, Load, OpenLoop
from tidemill.bench.objectives import Objectives
from tidemill.bench.plain import to_text
from tidemill.bench.result import to_json
from tidemill.bench.session import Bench, NothingSucceededError
from tidemill.bench.trace import TraceRow
from tidemill.core.errors import ConfigurationError, TargetError


class Titles:
    """A display that keeps what it was told."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.num_ended = 0

    def begin(self, title: str, load: Load, num_requests: int | None, duration_seconds: float | None) -> None:
        self.begun.append(title)

    def end(self) -> None:
        self.num_ended += 1


def config(url: str, **changes: Any) -> BenchConfig:
    request = RequestConfig(
        api="completions",
        model=None,
        temperature=0.0,
        ignore_eos=True,
        timeout_seconds=30.0,
        prompt_tokens=changes.pop("prompt_tokens", Fixed(40)),
        output_tokens=Fixed(5),
        shared_prefix_ratio=0.0,
        seed=0,
        rows=changes.pop("rows", ()),
    )
    fields: dict[str, Any] = {
        "load": ClosedLoop(2, 6),
        "arrivals": None,
        "objectives": Objectives(),
        "search": None,
        "num_warmup": 1,
    }
    return BenchConfig(url=url, request=request, **{**fields, **changes})


def bench(settings: BenchConfig, display: Titles | None = None) -> Bench:
    return Bench(settings, api_key="secret-key", machine=lambda: {"cores": 2}, display=display or Titles())


def prompts_under_load(server: ScriptedServer) -> list[str]:
    return [call.body["prompt"] for call in server.calls if call.body.get("max_tokens") == 5]


async def test_a_closed_loop() -> None:
    server, display = ScriptedServer(), Titles()
    async with server.running():
        result = await bench(config(server.url), display).run()
    summary = result.summary
    assert (summary.num_requests, summary.num_succeeded, summary.peak_in_flight) == (6, 6, 2)
    assert summary.output_tokens is not None
    assert (summary.output_tokens.total, summary.output_tokens.min) == (30, 5)
    assert summary.prompt_tokens is not None
    assert summary.prompt_tokens.mean == pytest.approx(40, abs=1)
    assert len(set(prompts_under_load(server))) == 7
    assert (display.begun, display.num_ended) == (["Warm-up", "Load"], 2)
    assert result.own_cost.cpu_seconds > 0


async def test_the_same_seed_sends_the_same_prompts() -> None:
    seen = []
    for _ in range(2):
        server = ScriptedServer()
        async with server.running():
            await bench(config(server.url, load=ClosedLoop(1, 4))).run()
        seen.append(prompts_under_load(server))
    assert seen[0] == seen[1]


async def test_the_document() -> None:
    async with ScriptedServer().running() as server:
        result = await bench(config(server.url, objectives=Objectives(ttft_seconds=100.0))).run()
    document = json.loads(to_json(result, with_records=True))
    assert document["schema"] == "tidemill-bench/1"
    assert document["summary"]["goodput"]["met_ratio"] == 1.0
    assert document["target"]["dialect"]["model"] == "fake"
    assert document["config"]["kind"] == "closed"
    assert [r["num_output_tokens"] for r in document["requests"]] == [5] * 6
    assert all(len(r["piece_seconds"]) == 5 for r in document["requests"])
    assert b"secret-key" not in to_json(result, with_records=True)
    assert "requests" not in json.loads(to_json(result, with_records=False))
    text = to_text(result)
    for shown in ("fake at", "6 of 6 succeeded", "TTFT", "Goodput", "of a core"):
        assert shown in text


async def test_an_open_loop_and_a_trace() -> None:
    rows = (TraceRow(0.0, 40, 5), TraceRow(0.01, 30, 5), TraceRow(0.02, 9000, 5))
    async with ScriptedServer().running() as server:
        poisson = await bench(config(server.url, load=OpenLoop(5), arrivals=Arrivals("poisson", 500.0))).run()
        replayed = await bench(config(server.url, load=OpenLoop(None), rows=rows)).run()
    assert poisson.summary.num_succeeded == 5
    assert poisson.summary.send_lag_ms is not None
    assert replayed.summary.num_succeeded == 3
    assert replayed.records[1].scheduled_seconds - replayed.records[0].scheduled_seconds == pytest.approx(0.01)
    assert any("1 requests were shortened to" in warning for warning in replayed.warnings)
    assert "times of the trace" in to_text(replayed)


async def test_lengths_that_do_not_fit_are_refused_before_the_load() -> None:
    async with ScriptedServer().running() as server:
        with pytest.raises(ConfigurationError, match=r"do not fit the context of fake, which is 4096.*3965"):
            await bench(config(server.url, prompt_tokens=Fixed(4090))).run()
        result = await bench(config(server.url, prompt_tokens=LogNormal(40, 0.1))).run()
    assert result.summary.num_succeeded == 6


def failing(*statuses: int) -> Any:
    turns: Iterator[int] = itertools.cycle(statuses)

    async def answer(call: Call, reply: Reply) -> None:
        status = next(turns) if call.body["max_tokens"] == 5 else 200
        if status == 200:
            await complete(call, reply)
        else:
            await reply.document(status, {"error": {"message": "no room"}})

    return answer


async def test_failures_are_counted_and_told() -> None:
    async with ScriptedServer(answer=failing(200, 429, 200, 500)).running() as server:
        result = await bench(config(server.url, load=ClosedLoop(1, 7))).run()
    assert result.summary.errors == {"status 429": 2, "status 500": 2}
    assert result.summary.num_succeeded == 3
    assert "2 x status 429: no room" in to_text(result)
    assert "4 of 7 requests failed." in result.warnings


async def test_nothing_succeeds() -> None:
    async with ScriptedServer(answer=failing(429)).running() as server:
        with pytest.raises(TargetError, match=r"Every warm-up request failed \(status 429\). no room"):
            await bench(config(server.url)).run()
        with pytest.raises(
            NothingSucceededError, match=r"None of 6 requests succeeded \(status 429\). no room"
        ) as none:
            await bench(config(server.url, num_warmup=0)).run()
    assert none.value.result.summary.errors == {"status 429": 6}


async def test_a_stop_ends_with_what_there_is() -> None:
    held = asyncio.Event()

    async def answer(call: Call, reply: Reply) -> None:
        if call.body["max_tokens"] == 5 and sum(c.body.get("max_tokens") == 5 for c in server.calls) > 4:
            held.set()
            await asyncio.Event().wait()
        await complete(call, reply)

    server = ScriptedServer(answer=answer)
    async with server.running():
        running = bench(config(server.url, load=ClosedLoop(1, 100)))
        work = asyncio.create_task(running.run())
        await held.wait()
        assert running.stop()
        result = await work
    assert result.is_interrupted
    assert (result.summary.num_succeeded, result.summary.num_cancelled, result.summary.num_failed) == (3, 1, 0)
    assert "interrupted" in to_text(result)


async def test_a_stop_before_anything_was_sent() -> None:
    assert not bench(config("http://127.0.0.1:9")).stop()


def search(what: Any, **changes: Any) -> SearchConfig:
    fields: dict[str, Any] = {
        "target_ratio": 0.95,
        "probe_requests": 10,
        "resolution_ratio": 0.05,
        "start": None,
        "max_probes": 24,
        "max_seconds": 600.0,
        "probe_seconds": 0.0,
    }
    return SearchConfig(what=what, **{**fields, **changes})


async def test_the_most_users_are_found() -> None:
    # Who comes while three are being answered is refused: three users pass, four do not.
    seats = 0

    async def answer(call: Call, reply: Reply) -> None:
        nonlocal seats
        if call.body["max_tokens"] == 5 and seats == 3:
            await reply.document(429, {"error": {"message": "full"}})
            return
        seats += 1
        try:
            # A seat is kept for some turns of the event loop, in which the other users come.
            for _ in range(100):
                await asyncio.sleep(0)
            await complete(call, reply)
        finally:
            seats -= 1

    display = Titles()
    async with ScriptedServer(answer=answer).running() as server:
        settings = config(server.url, search=search("users"), objectives=Objectives(ttft_seconds=60.0))
        result = await bench(settings, display).run()
    assert result.search is not None
    assert (result.search.best, result.search.lowest_failed, result.search.is_resolved) == (3, 4, True)
    assert display.begun == ["Warm-up", "1 users", "2 users", "4 users", "3 users", "3 users"]
    assert result.summary.peak_in_flight == 3
    text = to_text(result)
    assert "Highest with 95% within the objectives: 3 users (4 failed)" in text
    assert json.loads(to_json(result, with_records=False))["search"]["best"] == 3


async def test_a_rate_that_nothing_limits_ends_with_its_probes() -> None:
    async with ScriptedServer().running() as server:
        settings = config(
            server.url,
            search=search("rate", start=200.0, max_probes=3),
            load=OpenLoop(None),
            objectives=Objectives(ttft_seconds=60.0),
        )
        result = await bench(settings).run()
        prompts = prompts_under_load(server)
    assert result.search is not None
    assert (result.search.best, result.search.lowest_failed) == (800.0, None)
    assert [probe.num_judged for probe in result.search.probes] == [10, 10, 10]
    assert len(set(prompts)) == len(prompts)
    assert "The search ended before its resolution was reached: 3 probes were used up." in to_text(result)


async def test_a_probe_of_a_rate_lasts_long_enough_for_a_queue_to_show() -> None:
    async with ScriptedServer().running() as server:
        settings = config(
            server.url,
            search=search("rate", start=200.0, max_probes=2, probe_seconds=0.1),
            load=OpenLoop(None),
            objectives=Objectives(ttft_seconds=60.0),
        )
        result = await bench(settings).run()
    assert result.search is not None
    assert [(probe.load, probe.num_judged) for probe in result.search.probes] == [(200.0, 20), (400.0, 40)]
