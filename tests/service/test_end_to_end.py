"""One real server on the bundled model: it answers, survives hostile clients, and leaves nothing behind."""

import asyncio
import os
import random
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.fakes.hostile_bodies import fuzzed_bodies, hostile_bodies
from tests.fakes.http_stream import HttpStream
from tests.fakes.live_server import LiveServer, live_server
from tests.fakes.metrics_page import read_metrics, wait_for_metric

GREEDY = {"model": "minnow", "temperature": 0, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with live_server("--max-queue", "1024", "--max-num-seqs", "16") as running:
        yield running


async def complete(server: LiveServer, prompt: str, max_tokens: int) -> str:
    body = {**GREEDY, "prompt": prompt, "max_tokens": max_tokens}
    stream = await HttpStream.post(server.port, "/v1/completions", body)
    assert stream.status == 200
    return await stream.text()


async def test_hundreds_of_cut_streams_leave_no_block(server: LiveServer) -> None:
    rng = random.Random(3)
    gate = asyncio.Semaphore(24)

    async def one(seed: int) -> None:
        async with gate:
            body = {**GREEDY, "prompt": f"Once {seed}", "max_tokens": 100}
            stream = await HttpStream.post(server.port, "/v1/completions", body)
            left = rng.randrange(6)
            async for _ in stream.events():  # a fast engine may have merged all it had to say into fewer
                if left == 0:
                    break
                left -= 1
            await stream.cut()

    await asyncio.gather(*(one(seed) for seed in range(500)))
    assert wait_for_metric(server.url, "vllm:num_requests_running", 0.0, seconds=10.0) == 0.0
    assert read_metrics(server.url)["vllm:kv_cache_usage_perc"] == 0.0


async def test_hostile_bodies_disturb_nobody(server: LiveServer) -> None:
    pid = server.engine_pid()
    alone = await complete(server, "A quiet neighbour", 400)
    beside = asyncio.create_task(complete(server, "A quiet neighbour", 400))
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        for path, body in hostile_bodies(random.Random(5), 300):
            answer = await client.post(path, content=body, headers={"content-type": "application/json"})
            assert 400 <= answer.status_code < 500, (path, body[:200], answer.text)
        for path, body in fuzzed_bodies(random.Random(6), 100):
            answer = await client.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code < 500, (path, body[:200], answer.text)
    assert await beside == alone
    assert server.engine_pid() == pid


async def test_the_same_request_gives_the_same_text_under_any_load(server: LiveServer) -> None:
    prompts = [f"{word} was the first thing that" for word in ("Rain", "Bread", "A letter", "The bell")] * 6
    alone = {prompt: await complete(server, prompt, 40) for prompt in set(prompts)}
    together = await asyncio.gather(*(complete(server, prompt, 40) for prompt in prompts))
    assert list(together) == [alone[prompt] for prompt in prompts]


async def test_prefix_hits_are_counted_and_change_nothing(server: LiveServer) -> None:
    prompt = "In the town by the river there was a baker whose bread everyone knew, and every day " * 3
    cold = await complete(server, prompt, 16)
    hits = read_metrics(server.url)["vllm:prefix_cache_hits_total"]
    assert await complete(server, prompt, 16) == cold
    assert read_metrics(server.url)["vllm:prefix_cache_hits_total"] > hits


async def test_a_prompt_can_be_scored_without_any_output(server: LiveServer) -> None:
    body = {"model": "minnow", "prompt": "The river runs by the town", "max_tokens": 0, "echo": True, "logprobs": 0}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        scored = (await client.post("/v1/completions", json=body)).json()
        more = (await client.post("/v1/completions", json={**body, "max_tokens": 1, "temperature": 0})).json()
        refused = await client.post("/v1/completions", json={**body, "echo": False})
    choice = scored["choices"][0]
    assert choice["text"] == body["prompt"]
    assert choice["finish_reason"] == "length"
    assert scored["usage"]["completion_tokens"] == 0
    assert len(choice["logprobs"]["tokens"]) == scored["usage"]["prompt_tokens"]
    assert choice["logprobs"]["token_logprobs"] == more["choices"][0]["logprobs"]["token_logprobs"][:-1]
    assert refused.status_code == 400


async def test_a_killed_engine_ends_its_streams_once_and_comes_back() -> None:
    with live_server("--restart-backoff-seconds", "0.1") as server:
        streams = [
            await HttpStream.post(server.port, "/v1/completions", {**GREEDY, "prompt": f"Kill {i}", "max_tokens": 1500})
            for i in range(8)
        ]
        for stream in streams:
            await anext(stream.events())
        os.kill(server.engine_pid(), signal.SIGKILL)
        for stream in streams:
            errors = [event["error"] async for event in stream.events() if "error" in event]
            assert len(errors) == 1
            assert errors[0]["message"]
        await asyncio.to_thread(wait_until_ready, server)
        assert await complete(server, "After", 8)


def wait_until_ready(server: LiveServer) -> None:
    """Poll `/ready`, as a load balancer does."""
    import time

    end = time.monotonic() + 60
    while httpx.get(f"{server.url}/ready").status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.05)


async def test_sigterm_lets_what_runs_finish() -> None:
    with live_server() as server:
        bodies = [{**GREEDY, "prompt": f"Drain {i}", "max_tokens": 120} for i in range(6)]
        streams = await asyncio.gather(*(HttpStream.post(server.port, "/v1/completions", b) for b in bodies))
        for stream in streams:
            await anext(stream.events())
        server.process.send_signal(signal.SIGTERM)
        assert all(await asyncio.gather(*(stream.text() for stream in streams)))
        assert await asyncio.to_thread(server.process.wait, 60) == 0


def test_an_address_beyond_loopback_needs_a_key(tmp_path) -> None:
    with live_server("--host", "0.0.0.0", wait=False, cwd=tmp_path) as server:
        assert server.process.wait(60) != 0
    output = "\n".join(server.lines)
    assert "--api-key-file" in output
    assert "Traceback" not in output
