"""One invocation from its configuration to its result: look at the server, warm up, run or search, sum up."""

import asyncio
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from tidemill.bench.address import parse_address
from tidemill.bench.arrivals import Arrivals, poisson_arrivals_of
from tidemill.bench.config import BenchConfig, SearchConfig
from tidemill.bench.doubts import doubts
from tidemill.bench.http_client import HttpClient
from tidemill.bench.judge import Judge
from tidemill.bench.load import ClosedLoop, Load, OpenLoop
from tidemill.bench.own_cost import OwnCost, OwnCostMeter
from tidemill.bench.record import RequestRecord
from tidemill.bench.result import BenchResult
from tidemill.bench.search import Probe, Search, SearchResult
from tidemill.bench.summary import Summary, summarize
from tidemill.bench.target import Target, TargetFacts
from tidemill.bench.workload import PlannedRequest, Workload
from tidemill.core.clock import Clock, monotonic
from tidemill.core.errors import ConfigurationError, TargetError

SETTLING_RATIO = 0.25
"""Requests before those that are judged, over the judged ones: they let the load settle."""


class Display(Protocol):
    """Shows how far a run has come."""

    def begin(self, title: str, load: Load, num_requests: int | None, duration_seconds: float | None) -> None:
        """A run begins."""
        ...

    def end(self) -> None:
        """It is over."""
        ...


@dataclass(slots=True)
class _Run:
    """One run that is over."""

    load: Load
    summary: Summary
    cost: OwnCost


class Bench:
    """One invocation. `stop` ends it early with what there is; `run` raises `TargetError` if there is nothing."""

    def __init__(
        self,
        config: BenchConfig,
        *,
        api_key: str | None,
        machine: Callable[[], dict[str, Any]],
        display: Display,
        clock: Clock = monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        address = parse_address(config.url)
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._client = HttpClient(address, headers, clock)
        self._target = Target(self._client, config.url, timeout_seconds=config.request.timeout_seconds)
        self._machine = machine
        self._display = display
        self._clock = clock
        self._wall_clock = wall_clock
        self._running: Load | None = None
        self._is_stopped = False

    def stop(self) -> bool:
        """End early; `run` returns what has been measured so far. False if nothing has been sent yet."""
        self._is_stopped = True
        if self._running is not None:
            self._running.stop()
        return self._running is not None

    async def run(self) -> BenchResult:
        """All of it."""
        config, request = self._config, self._config.request
        try:
            facts = await self._target.look(
                request.api, request.model, request.temperature, ignore_eos=request.ignore_eos
            )
            machine, started = self._machine(), datetime.fromtimestamp(self._wall_clock(), UTC)
            workload = self._workload(facts, request.seed)
            warm = await self._warm_up(facts, self._workload(facts, request.seed))
            if config.search is not None:
                run, found = await self._search(config.search, facts, warm)
            else:
                requests = _requests(workload, config.load, config.arrivals)
                run, found = await self._one_run(facts, config.load, requests, "Load"), None
        finally:
            self._client.close()
        result = BenchResult(
            config=config,
            target=facts,
            machine=machine,
            started=started.isoformat(timespec="seconds"),
            summary=run.summary,
            own_cost=run.cost,
            start_seconds=run.load.begin_seconds,
            records=run.load.records,
            search=found,
            is_interrupted=self._is_stopped,
            warnings=[*facts.warnings, *run.cost.warnings(), *doubts(run.summary, workload)],
        )
        if run.summary.num_succeeded == 0 and not self._is_stopped:
            raise NothingSucceededError(result)
        return result

    def _workload(self, facts: TargetFacts, seed: int) -> Workload:
        request, length = self._config.request, facts.max_model_len
        # Words make a prompt of about, not exactly, so many tokens.
        room = None if length is None else max(2, int(length * 0.97) - 8)
        longest = [lengths.longest for lengths in (request.prompt_tokens, request.output_tokens)]
        if not request.rows and room is not None and all(longest) and sum(n for n in longest if n) > room:
            raise ConfigurationError(
                f"Up to {longest[0]} prompt tokens and {longest[1]} output tokens do not fit the context of "
                f"{facts.dialect.model}, which is {length}.",
                next_step=f"Keep the sum at or under {room}.",
            )
        return Workload(
            request.prompt_tokens,
            request.output_tokens,
            request.shared_prefix_ratio,
            seed,
            facts.calibration,
            room,
            request.rows,
        )

    async def _warm_up(self, facts: TargetFacts, workload: Workload) -> Sequence[RequestRecord]:
        number = self._config.num_warmup
        if not number or self._is_stopped:
            return []
        users = self._config.load.users if isinstance(self._config.load, ClosedLoop) else 1
        requests = (workload.request(-1 - index) for index in range(number))
        load = self._new_load(facts)
        self._display.begin("Warm-up", load, number, None)
        try:
            await load.closed(ClosedLoop(min(users, number), number), requests)
        finally:
            self._display.end()
        failed = [record for record in load.records if record.error is not None]
        if failed and not any(record.is_success for record in load.records):
            raise TargetError(
                f"Every warm-up request failed ({failed[0].error}). {failed[0].detail}",
                next_step="Change the request (lengths, --api, --timeout) or the server, and try again.",
            )
        return load.records

    def _new_load(self, facts: TargetFacts) -> Load:
        async def send(planned: PlannedRequest, record: RequestRecord) -> None:
            await self._target.send(facts.dialect, planned, record)

        self._running = Load(send, self._clock, asyncio.sleep)
        return self._running

    async def _one_run(
        self,
        facts: TargetFacts,
        plan: ClosedLoop | OpenLoop,
        requests: Iterator[PlannedRequest],
        title: str,
        watch: Callable[[Load, RequestRecord], None] | None = None,
    ) -> _Run:
        load, meter = self._new_load(facts), OwnCostMeter(self._clock)
        if watch is not None:
            load.watchers.append(lambda record: watch(load, record))
        self._display.begin(title, load, plan.num_requests, plan.duration_seconds)
        meter.start()
        try:
            if self._is_stopped:
                pass
            elif isinstance(plan, ClosedLoop):
                await load.closed(plan, requests)
            else:
                await load.open(plan, requests)
        finally:
            cost = meter.stop()
            self._display.end()
        seconds = load.end_seconds - load.begin_seconds
        is_open = isinstance(plan, OpenLoop)
        return _Run(load, summarize(load.records, self._config.objectives, seconds=seconds, is_open=is_open), cost)

    async def _search(
        self, config: SearchConfig, facts: TargetFacts, warm: Sequence[RequestRecord]
    ) -> tuple[_Run, SearchResult]:
        runs: dict[tuple[float, int], _Run] = {}
        alone = max((r.e2e_seconds or 0.0 for r in warm), default=0.0)

        async def probe(at: float, repeat: int) -> Probe | None:
            judge = self._judge(config, at)
            run = await self._probe_run(facts, at, repeat, alone, judge)
            runs[at, repeat] = run
            return None if self._is_stopped else _probe(run, judge, at, repeat)

        search = Search(
            probe,
            what=config.what,
            target_ratio=config.target_ratio,
            resolution_ratio=config.resolution_ratio,
            max_probes=config.max_probes,
            max_seconds=config.max_seconds,
            clock=self._clock,
            is_whole=config.what == "users",
        )
        first = 1.0 if config.what == "users" else max(0.01, 1.0 / alone if alone else 1.0)
        found = await search.find(config.start or first)
        shown = found.best if found.best is not None else min((at for at, _ in runs), default=0.0)
        return runs.get((shown, 0)) or next(iter(runs.values())), found

    async def _probe_run(self, facts: TargetFacts, at: float, repeat: int, alone_seconds: float, judge: Judge) -> _Run:
        # Each probe has prompts of its own, so that none profits from what another left in a cache.
        workload = self._workload(facts, hash_seed(self._config.request.seed, at, repeat))

        def watch(load: Load, record: RequestRecord) -> None:
            judge.see(record)
            # Only a first probe is cut short: where two are added up, both must be whole. What is under way is waited
            # for, since a server may go on with an answer that nobody reads, into the next probe.
            if repeat == 0 and judge.is_hopeless:
                load.stop_sending()

        number, configured = judge.first_index + judge.num_planned, self._config.load
        if isinstance(configured, OpenLoop):
            # One pattern of arrivals for all rates, so that probes differ by their rate and not by their luck.
            rng = random.Random(f"{self._config.request.seed}/arrivals/{repeat}")
            requests = workload.at(poisson_arrivals_of(number, at, rng))
            plan = OpenLoop(number, max_in_flight=configured.max_in_flight)
            return await self._one_run(facts, plan, requests, f"{at:g} requests a second", watch)
        users, think = int(at), configured.think_seconds
        ramp = (alone_seconds + think) * (users - 1) / users
        closed = ClosedLoop(users, number + users, ramp_seconds=ramp, think_seconds=think)
        return await self._one_run(facts, closed, workload.untimed(), f"{at:g} users", watch)

    def _judge(self, config: SearchConfig, at: float) -> Judge:
        if config.what == "users":
            # The first request of each user settles that load.
            number, first = max(config.probe_requests, 2 * int(at)), 0
        else:
            number = max(config.probe_requests, math.ceil(at * config.probe_seconds))
            first = round(number * SETTLING_RATIO)
        return Judge(self._config.objectives, config.target_ratio, first, number)


def _probe(run: _Run, judge: Judge, at: float, repeat: int) -> Probe:
    summary = run.summary
    return Probe(
        load=at,
        repeat=repeat,
        num_met=judge.num_met,
        num_judged=judge.num_judged,
        requests_per_second=summary.requests_per_second,
        output_tokens_per_second=summary.output_tokens_per_second,
        ttft_p95_ms=summary.ttft_ms.p95 if summary.ttft_ms else None,
        tpot_p95_ms=summary.tpot_ms.p95 if summary.tpot_ms else None,
        is_cut_short=judge.num_judged < judge.num_planned,
    )


def _requests(workload: Workload, load: ClosedLoop | OpenLoop, arrivals: Arrivals | None) -> Iterator[PlannedRequest]:
    if isinstance(load, ClosedLoop):
        return workload.untimed()
    return workload.replay() if arrivals is None else workload.timed(arrivals)


class NothingSucceededError(TargetError):
    """Not one request of the run succeeded; `result` has what there is."""

    def __init__(self, result: BenchResult) -> None:
        label, detail = next(iter(result.summary.error_examples.items()), ("none", "nothing was sent"))
        super().__init__(
            f"None of {result.summary.num_requests} requests succeeded ({label}). {detail}",
            next_step="Look at the server's log; a smaller load or shorter requests may get through.",
        )
        self.result = result


def hash_seed(seed: int, load: float, repeat: int) -> int:
    """A seed for one probe: another for each load and repeat, the same in each invocation."""
    return seed * 1_000_003 + round(load * 1000) * 31 + repeat
