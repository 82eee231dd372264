"""What metrics, promises' outcomes and the books cost of throughput: one server, bursts with and without, by turns.

A switch in the server and in its engine (`switch/sitecustomize.py`) leaves out what is measured by step and by token.
Two servers of one kind differ by more, for as long as they live, than what is looked for; so it is one. Every second
burst with telemetry is scraped, about as often as a Prometheus in a hurry does. The figure is the mean of the pairs'
logarithms of the ratio of times without the least and the greatest tenth, which are the machine's, with its 95 %
interval (a trimmed mean and its winsorized variance; Tukey and McLaughlin 1963).
"""

import argparse
import asyncio
import math
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.machine import describe, write
from benchmarks.open_loop import Client
from benchmarks.served_model import ServedModel, scraped, unlearnt
from tests.fakes.live_server import LiveServer

SWITCH = Path(__file__).parent / "switch"
STEPS = "tidemill_engine_steps_total"
_TRIMMED = 0.1
_SETTLE_SECONDS = 0.05
"""After the last token, until the engine has booked the step that it came of: half a step is on no book."""
_Z_95 = 1.96
"""Of many pairs, Student's t is the normal distribution's quantile."""


async def burst(client: Client, num_streams: int, num_output: int) -> float:
    """Seconds until all of `num_streams` answers are there."""
    began = time.perf_counter()
    answers = await asyncio.gather(*[client.ask(64, num_output) for _ in range(num_streams)])
    assert all(answer.status == 200 and answer.tokens for answer in answers)
    return time.perf_counter() - began


class Switched:
    """A server whose telemetry is turned off and on."""

    def __init__(self, server: LiveServer, client: Client, options: argparse.Namespace) -> None:
        self._server = server
        self._client = client
        self._options = options
        self._pids = (server.process.pid, server.engine_pid())
        self._is_told = True

    async def measured(self) -> dict[str, list[float]]:
        """Seconds of bursts, by whether they were told of."""
        seconds: dict[str, list[float]] = {"told": [], "untold": []}
        await self._check()
        for number in range(self._options.pairs + 1):
            for name in ("told", "untold") if number % 2 else ("untold", "told"):
                await self._turn(is_told=name == "told")
                scraping = name == "told" and number % 4 < 2
                took = await self._burst(is_scraped=scraping)
                if number:
                    seconds[name].append(took)
        return seconds

    async def _check(self) -> None:
        """That the switch does what it is for."""
        counted = []
        for is_told in (True, False, True):
            await self._turn(is_told=is_told)
            before = sum(scraped(self._server, STEPS).values())
            await self._burst(is_scraped=False)
            await asyncio.sleep(_SETTLE_SECONDS)
            counted.append(sum(scraped(self._server, STEPS).values()) > before)
        assert counted == [True, False, True], counted

    async def _turn(self, *, is_told: bool) -> None:
        if is_told != self._is_told:
            await asyncio.sleep(_SETTLE_SECONDS)
            for pid in self._pids:
                os.kill(pid, signal.SIGUSR1)
            self._is_told = is_told
            await burst(self._client, 1, 2)
            await asyncio.sleep(_SETTLE_SECONDS)

    async def _burst(self, *, is_scraped: bool) -> float:
        working = asyncio.create_task(burst(self._client, self._options.streams, self._options.tokens))
        if is_scraped:
            await asyncio.sleep(0.1)
            await asyncio.to_thread(scraped, self._server, "tidemill")
        return await working


def trimmed(ratios: Sequence[float]) -> tuple[float, float]:
    """The mean without the tenths at either end, and half of its 95 % interval."""
    ordered = sorted(ratios)
    cut = int(_TRIMMED * len(ordered))
    kept = ordered[cut : len(ordered) - cut]
    winsorized = [kept[0]] * cut + kept + [kept[-1]] * cut
    margin = _Z_95 * statistics.stdev(winsorized) / ((1.0 - 2.0 * _TRIMMED) * math.sqrt(len(ordered)))
    return statistics.mean(kept), margin


def summed_up(seconds: dict[str, list[float]], num_tokens: int) -> dict[str, Any]:
    """The cost, its interval, and what it comes from."""
    ratios = [math.log(a / b) for a, b in zip(seconds["told"], seconds["untold"], strict=True)]
    mean, margin = trimmed(ratios)
    return {
        "tokens_per_second": {name: round(num_tokens / statistics.median(t), 1) for name, t in seconds.items()},
        "cost_percent": round(100 * math.expm1(mean), 2),
        "interval_percent": [round(100 * math.expm1(mean + sign * margin), 2) for sign in (-1, 1)],
        "median_cost_percent": round(100 * math.expm1(statistics.median(ratios)), 2),
        "seconds": {name: [round(t, 4) for t in times] for name, times in seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ServedModel.add_options(parser)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=200, help="of each answer")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model = ServedModel(options)
    promised = ("--slo-profile", "relaxed", "--on-overload", "queue")
    with (
        tempfile.TemporaryDirectory() as at,
        model.served(*promised, **unlearnt(Path(at)), PYTHONPATH=str(SWITCH)) as server,
    ):
        seconds = uvloop.run(Switched(server, model.client(server), options).measured())
    found = summed_up(seconds, options.streams * options.tokens)
    asked = {k: v for k, v in vars(options).items() if k not in ("out", "folder")}
    write({"what": "the cost of telemetry", "machine": describe(), "options": asked, **found}, options.out)


if __name__ == "__main__":
    main()
