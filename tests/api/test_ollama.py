"""Ollama's dialect, against a backend that answers by script."""

import json
from typing import Any

import httpx
import msgspec
import pytest

from tests.fakes.backend import FakeBackend, timings
from tidemill.api.ollama.rendering import counts_of
from tidemill.core.errors import EngineFailedError, OverloadedError
from tidemill.core.messages import Message
from tidemill.core.requests import ChatPrompt, Finish, FinishReason, TextPrompt

TURN = [{"role": "user", "content": "Hi"}]


async def generate(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/api/generate", json={"model": "tiny", "prompt": "Hi", **body})


async def chat(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/api/chat", json={"model": "tiny", "messages": TURN, **body})


def lines_of(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


FINAL = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 800_000_000,
    "load_duration": 0,
    "prompt_eval_count": 5,
    "prompt_eval_duration": 200_000_000,
    "eval_count": 4,
    "eval_duration": 500_000_000,
}


async def test_generate_streams_lines_by_default(client: httpx.AsyncClient) -> None:
    lines = lines_of(await generate(client, model="llama2:latest"))
    assert [line["response"] for line in lines] == ["Hello", ",", " world", ".", ""]
    assert [line["done"] for line in lines] == [False] * 4 + [True]
    assert all(line["model"] == "llama2:latest" for line in lines)
    assert lines[0]["created_at"] == "2027-01-15T08:00:00Z"
    assert {key: lines[-1][key] for key in FINAL} == FINAL
    assert not set(FINAL) & set(lines[0]) - {"done"}


def test_the_time_of_decoding_is_that_of_its_steps_also_where_they_were_told_late() -> None:
    late = msgspec.structs.replace(timings(5, 4), time_to_first_token_seconds=0.8)
    told = counts_of(Finish(reason=FinishReason.STOP, timings=late), with_footprint=False)
    assert {key: told[key] for key in FINAL} == FINAL


async def test_generate_in_one_piece(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.reason = FinishReason.LENGTH
    body = (await generate(client, stream=False)).json()
    assert body["response"] == "Hello, world."
    assert body["done_reason"] == "length"
    assert body["eval_count"] == 4


async def test_chat_streamed_and_not(client: httpx.AsyncClient) -> None:
    lines = lines_of(await chat(client))
    assert "".join(line["message"]["content"] for line in lines) == "Hello, world."
    assert all(line["message"]["role"] == "assistant" for line in lines)
    assert {key: lines[-1][key] for key in FINAL} == FINAL
    whole = (await chat(client, stream=False)).json()
    assert whole["message"] == {"role": "assistant", "content": "Hello, world."}


async def test_the_request_of_the_oldest_langchain_is_answered(client: httpx.AsyncClient) -> None:
    names = "mirostat mirostat_eta mirostat_tau num_ctx num_gpu num_thread repeat_last_n repeat_penalty"
    options = dict.fromkeys(f"{names} temperature stop tfs_z top_k top_p".split())
    body = {"model": "llama2", "prompt": "who is Oppenheimer", "options": options}
    answer = await client.post("/api/generate", content=json.dumps(body), headers={"content-type": "text/plain"})
    assert answer.status_code == 200
    assert lines_of(answer)[-1]["done"]


async def test_a_prompt_is_one_turn_of_a_chat_unless_raw(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    await generate(client, system="Be kind.")
    await generate(client, raw=True)
    system, user = Message(role="system", content="Be kind."), Message(role="user", content="Hi")
    assert backend.requests[0].prompts == (ChatPrompt(messages=(system, user)),)
    assert backend.requests[1].prompts == (TextPrompt(text="Hi"),)
    backend.model = msgspec.structs.replace(backend.model, chat_template=None)
    await generate(client)
    assert backend.requests[2].prompts == (TextPrompt(text="Hi"),)
    assert (await generate(client, system="Be kind.")).status_code == 400


async def test_options_reach_the_backend(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    options = {
        "temperature": 0.1,
        "top_k": 3,
        "top_p": 0.5,
        "min_p": 0.05,
        "seed": 11,
        "num_predict": 6,
        "stop": ["\n"],
        "repeat_penalty": 1.2,
        "repeat_last_n": -1,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "num_ctx": 64,
        "num_keep": 4,
    }
    assert (await generate(client, options=options)).status_code == 200
    (request,) = backend.requests
    sampling = request.sampling
    assert request.max_context_tokens == 64
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.1, 3, 0.5, 0.05)
    assert (sampling.seed, sampling.max_tokens, sampling.stop) == (11, 6, ("\n",))
    assert (sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty) == (1.2, 0.1, 0.2)


@pytest.mark.parametrize("limit", [0, -1, -2])
async def test_defaults_are_ollamas_and_the_models_own_come_first(
    client: httpx.AsyncClient, backend: FakeBackend, limit: int
) -> None:
    await generate(client, options={"num_predict": limit, "seed": -1})
    backend.model = msgspec.structs.replace(backend.model, default_sampling={"temperature": 0.3})
    await generate(client, options={"repeat_last_n": 0, "repeat_penalty": 1.5})
    first, second = (request.sampling for request in backend.requests)
    assert (first.temperature, first.top_k, first.top_p, first.max_tokens) == (0.8, 40, 0.9, None)
    assert first.seed >= 0
    assert (second.temperature, second.repetition_penalty) == (0.3, 1.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_gpu", 1), ("num_thread", 4), ("mirostat", 1), ("tfs_z", 0.5), ("repeat_last_n", 64), ("num_batch", 1)],
)
async def test_options_that_are_not_honoured_are_refused_by_name(
    client: httpx.AsyncClient, name: str, value: object
) -> None:
    answer = await generate(client, options={name: value})
    assert answer.status_code == 400
    assert f"options.{name}" in answer.json()["error"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "json"),
        ("format", {"type": "object"}),
        ("think", "high"),
        ("images", ["x"]),
        ("think", True),
        ("suffix", "x"),
        ("template", "x"),
        ("context", [1]),
        ("keep_alive", 0),
        ("keep_alive", "0s"),
        ("keep_alive", "soon"),
        ("truncate", True),
        ("steps", 3),
        ("nonsense", 1),
    ],
)
async def test_fields_that_are_not_honoured_are_refused_by_name(
    client: httpx.AsyncClient, name: str, value: object
) -> None:
    answer = await generate(client, **{name: value})
    assert answer.status_code == 400
    assert name in answer.json()["error"]


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("format", {"format": "json"}),
        ("think", {"think": "high"}),
        ("tools", {"tools": [{"type": "function"}]}),
        ("messages[0].images", {"messages": [{**TURN[0], "images": ["x"]}]}),
    ],
)
async def test_what_is_refused_says_why_and_what_is_taken(
    client: httpx.AsyncClient, field: str, body: dict[str, Any]
) -> None:
    error = (await chat(client, **body)).json()["error"]
    assert error.startswith(f"The field '{field}' is not supported: ")
    assert "only" in error


async def test_an_option_beside_the_options_is_told_where_it_belongs(client: httpx.AsyncClient) -> None:
    error = (await generate(client, temperature=1)).json()["error"]
    assert error == "The field 'temperature' is not known. It belongs in another object of the body."


async def test_a_long_duration_is_judged_in_linear_time(client: httpx.AsyncClient) -> None:
    # Quadratic matching would take the better part of an hour for this.
    answer = await generate(client, keep_alive="1" * 1_000_000 + "x", stream=False)
    assert answer.status_code == 400


@pytest.mark.parametrize("keep_alive", ["5m", "1h30m", -1, "-1", 300, "-1m", 0.5, "1.5h", "300", "2m.5s"])
async def test_a_promise_to_keep_the_model_is_kept(client: httpx.AsyncClient, keep_alive: object) -> None:
    answer = await generate(client, keep_alive=keep_alive, stream=False, format="", think=False, images=[], context=[])
    assert answer.status_code == 200


async def test_without_a_prompt_the_model_is_said_to_be_loaded(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    assert lines_of(await generate(client, prompt=""))[-1]["done_reason"] == "load"
    assert (await chat(client, messages=[], stream=False)).json()["message"]["content"] == ""
    assert backend.requests == []
    assert (await generate(client, model="other", prompt="")).status_code == 404


async def test_bounds_are_told_in_the_names_of_the_dialect(client: httpx.AsyncClient) -> None:
    error = (await generate(client, options={"num_predict": -7})).json()["error"]
    assert error.startswith("options.num_predict is -7")


async def test_errors_have_ollamas_form(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    missing = await generate(client, model="other")
    assert missing.status_code == 404
    assert "'other'" in missing.json()["error"]
    assert (await client.get("/api/nothing")).json() == {
        "error": "There is no route /api/nothing. See /docs for those there are."
    }
    backend.refuse = OverloadedError("Full.")
    full = await chat(client)
    assert (full.status_code, full.json()) == (429, {"error": "Full."})
    backend.refuse, backend.failure = None, EngineFailedError("Died.")
    lines = lines_of(await chat(client))
    assert lines[-1] == {"error": "Died."}
    assert not any(line.get("done") for line in lines)


async def test_logprobs(client: httpx.AsyncClient) -> None:
    body = (await generate(client, logprobs=True, top_logprobs=1, stream=False)).json()
    assert [entry["token"] for entry in body["logprobs"]] == ["Hello", ",", " world", "."]
    assert body["logprobs"][0]["top_logprobs"] == [{"token": "a", "logprob": -1.0, "bytes": [97]}]


async def test_a_final_message_of_the_assistant_is_continued(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    call = {"function": {"name": "f", "arguments": {"x": [1]}}}
    history = [
        *TURN,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_name": "f"},
        {"role": "assistant", "content": "So"},
    ]
    await chat(client, messages=history)
    (prompt,) = backend.requests[0].prompts
    assert isinstance(prompt, ChatPrompt)
    assert prompt.continue_final_message
    assert prompt.messages[1].tool_calls[0].function.arguments == '{"x":[1]}'


async def test_what_is_served_is_described(client: httpx.AsyncClient) -> None:
    tags = (await client.get("/api/tags")).json()["models"]
    assert [m["name"] for m in tags] == ["tiny:latest", "llama2:latest"]
    assert tags[0]["details"]["parameter_size"] == "1.2M"
    for body in ({"model": "tiny"}, {"name": "llama2:latest"}):
        shown = (await client.post("/api/show", json=body)).json()
        assert shown["model_info"]["llama.context_length"] == 128
        assert shown["capabilities"] == ["completion"]
    assert (await client.post("/api/show", json={})).status_code == 400
    assert (await client.post("/api/show", json={"model": "other"})).status_code == 404
    assert (await client.get("/api/ps")).json()["models"][0]["context_length"] == 128
    assert set((await client.get("/api/version")).json()) == {"version"}


async def test_the_root_answers_what_clients_ask_it(client: httpx.AsyncClient) -> None:
    assert (await client.head("/")).status_code == 200
    assert "running" in (await client.get("/")).text


async def test_a_slash_behind_a_route_is_the_same_route(client: httpx.AsyncClient) -> None:
    body = {"model": "tiny", "prompt": "Hi", "stream": False}
    answer = await client.post("/api/generate/", json=body)
    assert answer.status_code == 200
    assert (await client.post("/api/generate//", json=body)).status_code == 404


async def test_stop_may_stand_beside_the_options(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    await generate(client, stop=["END"], options={"stop": None})
    assert backend.requests[-1].sampling.stop == ("END",)
    await generate(client, stop=[])
    assert backend.requests[-1].sampling.stop == ()
    assert (await generate(client, stop=["a"], options={"stop": ["b"]})).status_code == 400


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
async def test_a_load_is_refused_for_what_an_answer_would_be(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, json={"model": "tiny", "options": {"mirostat": 2}})
    assert answer.status_code == 400
    assert "options.mirostat" in answer.json()["error"]
