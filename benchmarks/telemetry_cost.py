"""What metrics, promises' outcomes and the books cost of throughput: two servers, bursts of work by turns.

One server is as it comes, scraped once a second; the other (`untold.py`) counts nothing. Both live all the time, and a
pair of bursts takes seconds, so that what the machine does meanwhile meets both. The figure is the mean of the pairs'
logarithms of the ratio of times, with its 95 % interval.
"""

import argparse
import asyncio
import contextlib
import math
import statistics
import time
from pathlib import Path
from typing import Any

import httpx
import uvloop

from benchmarks.machine import describe, write
from benchmarks.open_loop import Client
from benchmarks.promise import Benchmark
from tests.fakes.live_server import LiveServer, live_server

_T_95 = {10: 2.26, 20: 2.09, 30: 2.05, 40: 2.02, 60: 2.0}
"""Student's t, two-sided, by numbers of pairs."""


async def burst(client: Client, num_streams: int, num_output: int) -> float:
    """Seconds until all of `num_streams` answers are there."""
    began = time.perf_counter()
    answers = await asyncio.gather(*[client.ask(64, num_output) for _ in range(num_streams)])
    assert all(answer.status == 200 and answer.tokens for answer in answers)
    return time.perf_counter() - began


async def scrape(server: LiveServer) -> None:
    """Once a second, as a Prometheus in a hurry does."""
    async with httpx.AsyncClient() as client:
        while True:
            (await client.get(f"{server.url}/metrics")).raise_for_status()
            await asyncio.sleep(1.0)


async def measure(options: argparse.Namespace, told: Client, untold: Client, server: LiveServer) -> dict[str, Any]:
    """The pairs' ratios, times with telemetry over times without."""
    scraping = asyncio.create_task(scrape(server))
    contestants = {"told": told, "untold": untold}
    for client in contestants.values():
        await burst(client, options.streams, options.tokens)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(options.pairs):
        for name in ("told", "untold") if number % 2 else ("untold", "told"):
            seconds[name].append(await burst(contestants[name], options.streams, options.tokens))
    scraping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await scraping
    ratios = [math.log(a / b) for a, b in zip(seconds["told"], seconds["untold"], strict=True)]
    mean = statistics.mean(ratios)
    margin = _T_95[options.pairs] * statistics.stdev(ratios) / math.sqrt(len(ratios))
    tokens = options.streams * options.tokens
    return {
        "tokens_per_second": {name: round(tokens / statistics.median(times), 1) for name, times in seconds.items()},
        "cost_percent": round(100 * math.expm1(mean), 2),
        "interval_percent": [round(100 * math.expm1(mean + sign * margin), 2) for sign in (-1, 1)],
        "median_cost_percent": round(100 * math.expm1(statistics.median(ratios)), 2),
        "seconds": {name: [round(t, 4) for t in times] for name, times in seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minnow", help="a model, or 1B or 115M for random weights of that shape")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=200, help="of each answer")
    parser.add_argument("--pairs", type=int, default=30, choices=sorted(_T_95))
    parser.add_argument("--folder", type=Path, default=Path("~/.cache/tidemill-benchmarks").expanduser())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    benchmark = Benchmark(options)
    promised = ("--slo-profile", "relaxed", "--on-overload", "queue")
    with (
        live_server(*benchmark.common, *promised) as told,
        live_server(*benchmark.common, *promised, module="benchmarks.untold") as untold,
    ):
        found = uvloop.run(measure(options, benchmark.client(told), benchmark.client(untold), told))
    asked = {k: v for k, v in vars(options).items() if k not in ("out", "folder")}
    write({"what": "the cost of telemetry", "machine": describe(), "options": asked, **found}, options.out)


if __name__ == "__main__":
    main()
