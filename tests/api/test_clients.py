"""The official Python clients of OpenAI and Ollama against a live server over a fake backend."""

from collections.abc import AsyncIterator

import ollama
import openai
import pytest

from tests.api.conftest import Serve
from tests.fakes.backend import FakeBackend
from tidemill.core.errors import EngineFailedError, OverloadedError

TURN = [{"role": "user", "content": "Hi"}]
KEY = "sk-a-key-of-ours"


@pytest.fixture
async def url(serve: Serve) -> AsyncIterator[str]:
    async with serve() as server:
        yield server.url


@pytest.fixture
async def gpt(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
        yield client


async def test_openai_chat(gpt: openai.AsyncOpenAI) -> None:
    whole = await gpt.chat.completions.create(model="tiny", messages=TURN, n=2, logprobs=True, top_logprobs=2)
    assert [c.message.content for c in whole.choices] == ["Hello, world."] * 2
    assert whole.choices[0].logprobs.content[0].top_logprobs[1].token == "b"
    assert whole.usage.prompt_tokens_details.cached_tokens == 2
    stream = await gpt.chat.completions.create(
        model="tiny", messages=TURN, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello, world."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.total_tokens == 9


async def test_openai_takes_its_own_answers_back(gpt: openai.AsyncOpenAI) -> None:
    first = await gpt.chat.completions.create(model="tiny", messages=TURN)
    history = [*TURN, first.choices[0].message, {"role": "user", "content": "And?"}]
    again = await gpt.chat.completions.create(model="tiny", messages=history)
    assert again.choices[0].message.content


async def test_openai_completions_and_models(gpt: openai.AsyncOpenAI) -> None:
    answer = await gpt.completions.create(model="tiny", prompt=["ab", "cd"], n=2, echo=True, logprobs=1)
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[2].text == "cdHello, world."
    parts = [c async for c in await gpt.completions.create(model="tiny", prompt="ab", stream=True)]
    assert "".join(p.choices[0].text for p in parts) == "Hello, world."
    assert [m.id async for m in gpt.models.list()] == ["tiny", "llama2"]
    assert (await gpt.models.retrieve("tiny")).id == "tiny"


async def test_openai_errors_are_typed(gpt: openai.AsyncOpenAI, backend: FakeBackend) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await gpt.chat.completions.create(model="tiny", messages=TURN, temperature=9)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        await gpt.chat.completions.create(model="other", messages=TURN)
    backend.failure = EngineFailedError("The engine died.")
    with pytest.raises(openai.APIError, match="The engine died"):
        async for _ in await gpt.chat.completions.create(model="tiny", messages=TURN, stream=True):
            pass
    backend.failure, backend.refuse = None, OverloadedError("Full.", retry_after_seconds=4)
    with pytest.raises(openai.RateLimitError) as limited:
        await gpt.chat.completions.create(model="tiny", messages=TURN)
    assert limited.value.response.headers["retry-after"] == "4"


async def test_openai_with_and_without_a_key(serve: Serve) -> None:
    async with serve(KEY) as server:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY) as client:
            assert (await client.completions.create(model="tiny", prompt="x")).choices
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()


async def test_a_stream_that_is_closed_early_ends_the_work(gpt: openai.AsyncOpenAI, backend: FakeBackend) -> None:
    backend.words = ["x" * 100] * 100_000
    stream = await gpt.completions.create(model="tiny", prompt="x", stream=True)
    async for _ in stream:
        break
    await stream.close()
    await backend.closed.wait()
    assert backend.num_deltas < 100_000


async def test_ollama(url: str, backend: FakeBackend) -> None:
    client = ollama.AsyncClient(host=url)
    answer = await client.chat(model="tiny", messages=TURN, options={"temperature": 0, "num_predict": 9})
    assert answer.message.content == "Hello, world."
    parts = [part async for part in await client.chat(model="tiny", messages=TURN, stream=True)]
    assert "".join(part.message.content for part in parts) == "Hello, world."
    assert parts[-1].done_reason == "stop"
    assert parts[-1].total_duration >= parts[-1].eval_duration > 0
    generated = await client.generate(model="llama2", prompt="Hi", system="Be kind.", keep_alive="5m")
    assert generated.response == "Hello, world."
    assert generated.prompt_eval_count == 5
    assert [m.model for m in (await client.list()).models] == ["tiny:latest", "llama2:latest"]
    assert (await client.show("tiny")).modelinfo["general.architecture"] == "llama"
    assert (await client.ps()).models[0].context_length == 128
    with pytest.raises(ollama.ResponseError) as missing:
        await client.generate(model="other", prompt="Hi")
    assert missing.value.status_code == 404
    backend.failure = EngineFailedError("The engine died.")
    with pytest.raises(ollama.ResponseError, match="The engine died"):
        async for _ in await client.generate(model="tiny", prompt="Hi", stream=True):
            pass
