"""Finds the highest load at which enough requests meet their objectives: double until it fails, then halve the gap.

Owns the search, not the probes. Its answer is as good as its probes: each is judged by a share of requests, so a load
passes by the share that was seen, and the best one is confirmed by a second probe with other random numbers.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tidemill.bench.percentiles import share_interval
from tidemill.core.clock import Clock


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe: how many judged requests met every objective at this load. `repeat` counts probes of the same load.

    One that was cut short could no longer pass; its share is of the requests that had ended.
    """

    load: float
    repeat: int
    num_met: int
    num_judged: int
    requests_per_second: float
    output_tokens_per_second: float
    ttft_p95_ms: float | None
    tpot_p95_ms: float | None
    is_cut_short: bool = False

    @property
    def met_ratio(self) -> float:
        """The share."""
        return self.num_met / self.num_judged if self.num_judged else 0.0


@dataclass(frozen=True, slots=True)
class LoadVerdict:
    """All probes of one load together, with the 95 % interval of the share."""

    load: float
    num_met: int
    num_judged: int
    met_ratio: float
    met_ratio_low: float
    met_ratio_high: float
    is_passed: bool


@dataclass(frozen=True, slots=True)
class SearchResult:
    """`best` is the highest load that passed and was confirmed, `lowest_failed` the lowest above it that did not.

    `best` None: not even the lowest load tried passed. `lowest_failed` None: the search ended before one failed.
    `is_resolved` says whether the two are as close as was asked.
    """

    what: str
    target_ratio: float
    best: float | None
    lowest_failed: float | None
    resolution_ratio: float
    is_resolved: bool
    ended_by: str
    """Why it probed no more."""
    verdicts: tuple[LoadVerdict, ...]
    probes: tuple[Probe, ...]


RunProbe = Callable[[float, int], Awaitable[Probe | None]]
"""Probe a load for the n-th time (from 0), with random numbers of its own; None when the user has stopped it."""


class Search:
    """One search. With `is_whole` loads are whole numbers."""

    def __init__(
        self,
        run_probe: RunProbe,
        *,
        what: str,
        target_ratio: float,
        resolution_ratio: float,
        max_probes: int,
        max_seconds: float,
        clock: Clock,
        is_whole: bool,
    ) -> None:
        self._run_probe = run_probe
        self._what = what
        self._target_ratio = target_ratio
        self._resolution_ratio = resolution_ratio
        self._max_probes = max_probes
        self._max_seconds = max_seconds
        self._clock = clock
        self._is_whole = is_whole
        self._probes: list[Probe] = []
        self._is_stopped = False

    async def find(self, start: float) -> SearchResult:
        """Search from `start`, up and down, until the gap is small, probes or time are used up or the user stops it."""
        load: float | None = self._shaped(start)
        until = self._clock() + self._max_seconds
        while load is not None:
            await self._probe(load)
            load = self._next_load()
            if self._is_stopped:
                return self._result("it was stopped")
            if load is not None and len(self._probes) >= self._max_probes:
                return self._result(f"{self._max_probes} probes were used up")
            if load is not None and self._clock() >= until:
                return self._result(f"{self._max_seconds:g} s had passed")
        return self._result("nothing was left to probe")

    async def _probe(self, load: float) -> None:
        probe = await self._run_probe(load, sum(probe.load == load for probe in self._probes))
        if probe is None:
            self._is_stopped = True
        else:
            self._probes.append(probe)

    def _next_load(self) -> float | None:
        """What to probe next; None when the answer is there."""
        passed, failed = self._bracket()
        if passed is None:
            if failed is None:
                return None  # stopped before the first probe was over
            lower = self._shaped(failed / 2)
            return lower if lower < failed and failed > self._least else None
        if failed is None:
            return self._shaped(passed * 2)
        if not self._is_close(passed, failed):
            # The geometric middle: the gap shrinks by the same factor wherever the answer is.
            middle = self._shaped((passed * failed) ** 0.5)
            return middle if passed < middle < failed else self._shaped((passed + failed) / 2)
        # A load that passed once by luck is found out by a second probe; both count together.
        return passed if self._count(passed) < 2 else None

    @property
    def _least(self) -> float:
        return 1.0 if self._is_whole else 1e-3

    def _is_close(self, passed: float, failed: float) -> bool:
        return failed <= passed * (1 + self._resolution_ratio) or (self._is_whole and failed - passed <= 1)

    def _count(self, load: float) -> int:
        return sum(probe.load == load for probe in self._probes)

    def _bracket(self) -> tuple[float | None, float | None]:
        """The highest load that passes below every load that fails, and the lowest that fails.

        Failing is believed first: a higher load that passed above one that failed was luck.
        """
        verdicts = self._verdicts()
        failed = min((v.load for v in verdicts if not v.is_passed), default=None)
        passed = max((v.load for v in verdicts if v.is_passed and (failed is None or v.load < failed)), default=None)
        return passed, failed

    def _verdicts(self) -> tuple[LoadVerdict, ...]:
        verdicts = []
        for load in sorted({probe.load for probe in self._probes}):
            probes = [probe for probe in self._probes if probe.load == load]
            met, judged = sum(p.num_met for p in probes), sum(p.num_judged for p in probes)
            ratio = met / judged if judged else 0.0
            low, high = share_interval(met, judged)
            verdicts.append(LoadVerdict(load, met, judged, ratio, low, high, ratio >= self._target_ratio))
        return tuple(verdicts)

    def _shaped(self, load: float) -> float:
        # Three digits are finer than any resolution, and rates that can be read.
        return float(max(1, round(load))) if self._is_whole else float(f"{load:.3g}")

    def _result(self, ended_by: str) -> SearchResult:
        passed, failed = self._bracket()
        is_confirmed = passed is not None and self._count(passed) >= 2
        return SearchResult(
            what=self._what,
            target_ratio=self._target_ratio,
            best=passed,
            lowest_failed=failed,
            resolution_ratio=self._resolution_ratio,
            is_resolved=passed is not None and failed is not None and is_confirmed and self._is_close(passed, failed),
            ended_by=ended_by,
            verdicts=self._verdicts(),
            probes=tuple(self._probes),
        )
