"""What metrics, promises' outcomes and the books cost of throughput: pairs of servers, bursts of work by turns.

One server of a pair is as it comes, scraped once a second; the other (`untold.py`) counts nothing. Both live at once,
and a pair of bursts takes seconds, so that what the machine does meanwhile meets both. Two servers of one kind differ
by some per cent for as long as they live, so there are several pairs of them. The figure is the mean of their
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
from benchmarks.served_model import ServedModel
from tests.fakes.live_server import LiveServer

_T_95 = {4: 3.18, 6: 2.57, 8: 2.36, 10: 2.26, 12: 2.20, 16: 2.13}
"""Student's t, two-sided, by numbers of pairs of servers."""


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


async def measure(
    options: argparse.Namespace, told: Client, untold: Client, server: LiveServer
) -> dict[str, list[float]]:
    """Seconds of the bursts of one pair of servers."""
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
    return seconds


def log_ratio(seconds: dict[str, list[float]]) -> float:
    """Of times with telemetry over times without, in the middle of a pair of servers' bursts."""
    return statistics.median(math.log(a / b) for a, b in zip(seconds["told"], seconds["untold"], strict=True))


def summed_up(servers: list[dict[str, list[float]]], num_tokens: int) -> dict[str, Any]:
    """The cost, its interval, and what it comes from."""
    ratios = [log_ratio(seconds) for seconds in servers]
    mean = statistics.mean(ratios)
    margin = _T_95[len(ratios)] * statistics.stdev(ratios) / math.sqrt(len(ratios))
    middle = {name: statistics.median(t for seconds in servers for t in seconds[name]) for name in servers[0]}
    return {
        "tokens_per_second": {name: round(num_tokens / seconds, 1) for name, seconds in middle.items()},
        "cost_percent": round(100 * math.expm1(mean), 2),
        "interval_percent": [round(100 * math.expm1(mean + sign * margin), 2) for sign in (-1, 1)],
        "cost_percent_by_servers": [round(100 * math.expm1(ratio), 2) for ratio in ratios],
        "seconds": [{name: [round(t, 4) for t in times] for name, times in each.items()} for each in servers],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ServedModel.add_options(parser)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=200, help="of each answer")
    parser.add_argument("--pairs", type=int, default=30, help="of bursts, for each pair of servers")
    parser.add_argument("--servers", type=int, default=6, choices=sorted(_T_95), help="pairs of them")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    model = ServedModel(options)
    promised = ("--slo-profile", "relaxed", "--on-overload", "queue")
    servers = []
    for _ in range(options.servers):
        with model.served(*promised) as told, model.served(*promised, module="benchmarks.untold") as untold:
            servers.append(uvloop.run(measure(options, model.client(told), model.client(untold), told)))
            print(f"{log_ratio(servers[-1]):.4f}", flush=True)
    found = summed_up(servers, options.streams * options.tokens)
    asked = {k: v for k, v in vars(options).items() if k not in ("out", "folder")}
    write({"what": "the cost of telemetry", "machine": describe(), "options": asked, **found}, options.out)


if __name__ == "__main__":
    main()
