"""The plainest closed loop there is: a gate, httpx or aiohttp, and `json`. What `tidemill bench` is compared with.

Prints one JSON object: throughput, TTFT, TPOT, ITL, and the CPU seconds that it took. Greedy, `ignore_eos`, every
prompt different. aiohttp is no dependency of Tidemill; install it to compare it too.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from tidemill.bench.words import VOCABULARY

Stream = Callable[[str, dict[str, Any]], AsyncIterator[str]]


@contextlib.asynccontextmanager
async def httpx_stream() -> AsyncIterator[Stream]:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits, trust_env=False) as client:

        async def lines(url: str, body: dict[str, Any]) -> AsyncIterator[str]:
            async with client.stream("POST", url, json=body) as answer:
                answer.raise_for_status()
                async for line in answer.aiter_lines():
                    yield line

        yield lines


@contextlib.asynccontextmanager
async def aiohttp_stream() -> AsyncIterator[Stream]:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def lines(url: str, body: dict[str, Any]) -> AsyncIterator[str]:
            async with session.post(url, json=body) as answer:
                answer.raise_for_status()
                async for line in answer.content:
                    yield line.decode().rstrip("\n")

        yield lines


async def one(stream: Stream, url: str, body: dict[str, Any]) -> tuple[float, list[float], dict[str, int]]:
    """The start, the time of every event with a choice, and the usage."""
    start, times, usage = time.perf_counter(), [], {}
    async for line in stream(url, body):
        if line.startswith("data: ") and line != "data: [DONE]":
            event = json.loads(line[6:])
            if event.get("choices"):
                times.append(time.perf_counter())
            usage = event.get("usage") or usage
    return start, times, usage


async def load(options: argparse.Namespace) -> dict[str, Any]:
    """A warm-up request and then all of them."""

    def body(number: int) -> dict[str, Any]:
        rng = random.Random(number)
        return {
            "model": options.model,
            "prompt": " ".join(rng.choice(VOCABULARY) for _ in range(options.words)),
            "max_tokens": options.output_tokens,
            "stream": True,
            "temperature": 0,
            "ignore_eos": True,
            "stream_options": {"include_usage": True},
        }

    clients = {"httpx": httpx_stream, "aiohttp": aiohttp_stream}
    url = options.url + "/v1/completions"
    async with clients[options.client]() as stream:
        await one(stream, url, body(-1))
        gate = asyncio.Semaphore(options.concurrency)

        async def gated(number: int) -> tuple[float, list[float], dict[str, int]]:
            async with gate:
                return await one(stream, url, body(number))

        cpu, begin = time.process_time(), time.perf_counter()
        done = await asyncio.gather(*[gated(number) for number in range(options.requests)])
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    ttft = sorted(times[0] - start for start, times, _ in done)
    gaps = sorted(b - a for _, times, _ in done for a, b in itertools.pairwise(times))
    tpot = [(times[-1] - times[0]) / (usage["completion_tokens"] - 1) for _, times, usage in done]
    out = sum(usage["completion_tokens"] for *_, usage in done)
    return {
        "prompt_tokens": sum(usage["prompt_tokens"] for *_, usage in done) / options.requests,
        "output_tokens_per_second": out / seconds,
        "ttft_p50_ms": statistics.median(ttft) * 1e3,
        "ttft_p95_ms": ttft[int(len(ttft) * 0.95)] * 1e3,
        "tpot_p50_ms": statistics.median(tpot) * 1e3,
        "itl_p99_ms": gaps[int(len(gaps) * 0.99)] * 1e3,
        "client_cpu_microseconds_per_token": cpu / out * 1e6,
    }


def main() -> None:
    """Run once and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--client", choices=["httpx", "aiohttp"], default="httpx")
    parser.add_argument("--model", default="minnow")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--output-tokens", type=int, default=32)
    print(json.dumps(asyncio.run(load(parser.parse_args()))))


if __name__ == "__main__":
    main()
