"""The official Python clients of OpenAI and Ollama, against port 11434."""

import ollama
import openai
import pytest

from tests.fakes.live_server import LiveServer

pytestmark = pytest.mark.contract
MESSAGES = [{"role": "user", "content": "Hello! What can you do?"}]


@pytest.fixture
def openai_client(server: LiveServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)


def test_openai_chat_streams_what_it_answers_whole(openai_client: openai.OpenAI) -> None:
    options = {"model": "llama2", "messages": MESSAGES, "temperature": 0, "max_tokens": 24}
    whole = openai_client.chat.completions.create(**options)
    chunks = list(openai_client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage.model_copy(
        update={"prompt_tokens_details": chunks[-1].usage.prompt_tokens_details}
    )


def test_openai_completions_take_lists_and_samples(openai_client: openai.OpenAI) -> None:
    answer = openai_client.completions.create(
        model="llama2",
        prompt=["One day", "The river"],
        n=2,
        max_tokens=4,
        seed=7,
        temperature=1.0,
        logprobs=2,
        echo=True,
    )
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    assert all(c.text.startswith("One day") for c in answer.choices[:2])
    assert all(len(c.logprobs.tokens) == len(c.logprobs.token_logprobs) for c in answer.choices)


def test_openai_errors_are_typed(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(model="llama2", messages=MESSAGES, temperature=99)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        openai_client.chat.completions.create(model="no-such-model", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="context"):
        openai_client.completions.create(model="llama2", prompt="word " * 9000)


def test_ollama_without_any_setting() -> None:
    """The client's default address is the one this server stands in for."""
    answer = ollama.chat(model="llama2", messages=MESSAGES, options={"temperature": 0, "num_predict": 24})
    streamed = ollama.chat(
        model="llama2", messages=MESSAGES, options={"temperature": 0, "num_predict": 24}, stream=True
    )
    parts = list(streamed)
    assert "".join(p.message.content for p in parts) == answer.message.content
    assert parts[-1].done
    assert parts[-1].eval_count <= 24
    assert parts[-1].total_duration >= parts[-1].eval_duration > 0
    assert parts[-1].prompt_eval_count > 0


@pytest.mark.usefixtures("server")
def test_ollama_generate_list_and_show() -> None:
    assert ollama.generate(model="llama2", prompt="Hello", options={"num_predict": 3}).response
    assert "llama2:latest" in [m.model for m in ollama.list().models]
    assert ollama.show("llama2").modelinfo
    with pytest.raises(ollama.ResponseError) as caught:
        ollama.generate(model="no-such-model", prompt="Hello")
    assert caught.value.status_code == 404
