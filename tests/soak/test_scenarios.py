"""What a reviewer would try on one server, at full size. The small versions run with `make test`."""

import asyncio
import os
import random
import signal
import statistics
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.fakes.http_stream import HttpStream, sip
from tests.fakes.live_server import LiveServer, live_server
from tests.fakes.metrics_page import read_metrics, wait_for_metric

pytestmark = pytest.mark.soak
GREEDY = {"model": "minnow", "temperature": 0, "ignore_eos": True, "stream": True}
LEDGER_FILES = 3
"""The store of the books opens with its first entry: the database, its log and the log's index."""


@pytest.fixture
def server() -> Iterator[LiveServer]:
    with live_server("--max-queue", "4096", "--max-num-seqs", "32") as running:
        yield running


async def test_disconnect_storm(server: LiveServer) -> None:
    """2,000 streams cut at random tokens: blocks back within 2 s, no descriptor left."""
    api = psutil.Process(server.process.pid)
    rng = random.Random(1)
    gate = asyncio.Semaphore(32)
    descriptors = api.num_fds()

    async def one(seed: int) -> None:
        async with gate:
            body = {**GREEDY, "prompt": f"Once {seed}", "max_tokens": 200}
            stream = await HttpStream.post(server.port, "/v1/completions", body)
            assert stream.status == 200
            tokens = rng.randrange(12)
            async for _ in stream.events():
                tokens -= 1
                if tokens < 0:
                    break
            await stream.cut()

    await asyncio.gather(*(one(seed) for seed in range(2000)))
    assert wait_for_metric(server.url, "vllm:kv_cache_usage_perc", 0.0, seconds=2.0) == 0.0
    assert wait_for_metric(server.url, "vllm:num_requests_running", 0.0, seconds=2.0) == 0.0
    assert api.num_fds() <= descriptors + LEDGER_FILES + 2


async def test_slow_readers(server: LiveServer) -> None:
    """50 clients at a byte a second: the API process grows by under 50 MB, the others' p99 ITL by half at most."""
    api = psutil.Process(server.process.pid)

    async def gaps() -> list[float]:
        found: list[float] = []

        async def one(seed: int) -> None:
            body = {**GREEDY, "prompt": f"River {seed}", "max_tokens": 200}
            stream = await HttpStream.post(server.port, "/v1/completions", body)
            last = None
            async for _ in stream.events():
                now = time.perf_counter()
                if last is not None:
                    found.append(now - last)
                last = now

        for batch in range(4):
            await asyncio.gather(*(one(batch * 4 + i) for i in range(4)))
        return sorted(found)

    before = await gaps()
    memory = api.memory_info().rss
    bodies = [{**GREEDY, "prompt": f"Slow {i}", "max_tokens": 1500} for i in range(50)]
    begun = asyncio.Semaphore(0)
    sipping = [asyncio.create_task(sip(server.port, "/v1/completions", body, 1.0, begun)) for body in bodies]
    for _ in sipping:
        await begun.acquire()
    # The slow ones' tokens are generated first, into bounded buffers; measured is what they cost afterwards.
    assert await asyncio.to_thread(wait_for_metric, server.url, "vllm:num_requests_running", 0.0, 120.0) == 0.0
    after = await gaps()
    assert api.memory_info().rss - memory < 50e6
    for task in sipping:
        task.cancel()
    await asyncio.gather(*sipping, return_exceptions=True)
    p99 = [values[int(len(values) * 0.99)] for values in (before, after)]
    assert p99[1] <= 1.5 * p99[0], (p99, statistics.median(before), statistics.median(after))


async def test_thrash() -> None:
    """A KV cache of a tenth of the demand, 500 requests: all finish, and greedy text is what it is without pressure."""
    prompts = [f"Story {i}: one day in the town of the river," for i in range(500)]

    async def texts(server: LiveServer, concurrency: int) -> list[str]:
        gate = asyncio.Semaphore(concurrency)

        async def one(prompt: str) -> str:
            async with gate:
                stream = await HttpStream.post(
                    server.port, "/v1/completions", {**GREEDY, "prompt": prompt, "max_tokens": 96}
                )
                assert stream.status == 200
                return await stream.text()

        return list(await asyncio.gather(*(one(p) for p in prompts)))

    with live_server("--max-queue", "4096", "--max-num-seqs", "64", "--max-model-len", "256") as roomy:
        calm = await texts(roomy, 8)
        assert read_metrics(roomy.url)["vllm:num_preemptions_total"] == 0
    small = ("--max-queue", "4096", "--max-num-seqs", "64", "--max-model-len", "256", "--kv-cache-memory", "1500KiB")
    with live_server(*small) as tight:
        pressed = await texts(tight, 64)
        metrics = read_metrics(tight.url)
        assert metrics["vllm:num_preemptions_total"] > 0
        assert metrics["vllm:kv_cache_usage_perc"] == 0.0
    assert pressed == calm


async def test_sigterm_under_load_loses_nothing() -> None:
    """What is in flight when SIGTERM comes is answered whole; exit 0."""
    with live_server("--drain-seconds", "60") as server:
        bodies = [{**GREEDY, "prompt": f"Drain {i}", "max_tokens": 300} for i in range(24)]
        streams = await asyncio.gather(*(HttpStream.post(server.port, "/v1/completions", b) for b in bodies))
        first = [await anext(stream.events()) for stream in streams]
        assert all("choices" in event for event in first)
        server.process.send_signal(signal.SIGTERM)
        rest = await asyncio.gather(*(stream.text() for stream in streams))
        assert all(rest)
        assert await asyncio.to_thread(server.process.wait, 60) == 0


async def test_sigstop_of_the_engine(server: LiveServer) -> None:
    """Stopped: live, not ready within 5 s and a little; continued: ready again, and the stream goes on."""
    body = {**GREEDY, "prompt": "Stop and go", "max_tokens": 400}
    stream = await HttpStream.post(server.port, "/v1/completions", body)
    await anext(stream.events())
    pid = server.engine_pid()
    os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    async with httpx.AsyncClient(base_url=server.url) as client:
        while (await client.get("/ready")).status_code == 200:
            assert time.monotonic() - stopped < 7.0
            await asyncio.sleep(0.1)
        assert (await client.get("/live")).status_code == 200
        os.kill(pid, signal.SIGCONT)
        continued = time.monotonic()
        while (await client.get("/ready")).status_code != 200:
            assert time.monotonic() - continued < 10.0
            await asyncio.sleep(0.1)
    assert await stream.text()


async def test_poison(server: LiveServer) -> None:
    """5,000 fuzzed bodies: never a 5xx, the engine is the same process, a neighbour's tokens are identical."""
    from tests.fakes.hostile_bodies import fuzzed_bodies

    pid = server.engine_pid()
    neighbour = {**GREEDY, "prompt": "A quiet neighbour", "max_tokens": 1500}
    alone = await (await HttpStream.post(server.port, "/v1/completions", neighbour)).text()
    beside = asyncio.create_task((await HttpStream.post(server.port, "/v1/completions", neighbour)).text())
    statuses: dict[int, int] = {}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        for path, body in fuzzed_bodies(random.Random(5), 5000):
            answer = await client.post(path, content=body, headers={"content-type": "application/json"})
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
    assert all(status < 500 for status in statuses), statuses
    assert await beside == alone
    assert server.engine_pid() == pid
