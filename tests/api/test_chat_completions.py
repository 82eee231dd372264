"""POST /v1/chat/completions, against a backend that answers by script."""

import json
from typing import Any

import httpx
import pytest

from tests.fakes.backend import FakeBackend
from tidemill.core.errors import ContextLengthError, EngineFailedError, OverloadedError, UnavailableError
from tidemill.core.messages import FunctionCall, Message, ToolCall
from tidemill.core.requests import ChatPrompt, FinishReason, SamplingParams

PATH = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hi"}]


async def post(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post(PATH, json={"model": "tiny", "messages": HELLO, **body})


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def events_of(answer: httpx.Response) -> list[Any]:
    lines = [line for line in answer.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    return [line[6:] if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


async def test_an_answer_in_one_piece(client: httpx.AsyncClient) -> None:
    answer = await post(client, model="llama2")
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("id").startswith("chatcmpl-")
    assert body == {
        "object": "chat.completion",
        "created": 1_800_000_000,
        "model": "llama2",
        "system_fingerprint": "fp_test",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello, world.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
                "stop_reason": None,
            }
        ],
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 4,
            "total_tokens": 9,
            "prompt_tokens_details": {"cached_tokens": 2},
        },
    }


async def test_a_stream_is_what_openai_clients_expect(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.words = ("A", "", "B")
    answer = await post(client, stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = events_of(answer)
    assert events.pop() == "[DONE]"
    common = {"id", "object", "created", "model", "system_fingerprint", "choices", "usage"}
    assert all(set(event) == common for event in events)
    assert len({event["id"] for event in events}) == 1
    deltas = [event["choices"][0]["delta"] for event in events[:-1]]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "A"}, {"content": "B"}, {}]
    assert [event["choices"][0]["finish_reason"] for event in events[:-1]] == [None, None, None, "stop"]
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["total_tokens"] == 8
    assert all(event["usage"] is None for event in events[:-1])


async def test_without_include_usage_no_chunk_has_it(client: httpx.AsyncClient) -> None:
    events = events_of(await post(client, stream=True))
    assert all("usage" not in event for event in events[:-1])


async def test_every_choice_has_its_role_text_and_finish(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.reason = FinishReason.LENGTH
    events = events_of(await post(client, stream=True, n=3))[:-1]
    choices = [event["choices"][0] for event in events]
    for index in range(3):
        own = [c for c in choices if c["index"] == index]
        assert own[0]["delta"]["role"] == "assistant"
        assert "".join(c["delta"].get("content", "") for c in own) == "Hello, world."
        assert own[-1]["finish_reason"] == "length"
    whole = (await post(client, n=3)).json()
    assert [c["index"] for c in whole["choices"]] == [0, 1, 2]
    assert whole["usage"]["prompt_tokens"] == 5
    assert whole["usage"]["completion_tokens"] == 12
    assert whole["usage"]["prompt_tokens_details"]["cached_tokens"] == 2


async def test_logprobs_have_tokens_bytes_and_rivals(client: httpx.AsyncClient) -> None:
    whole = (await post(client, logprobs=True, top_logprobs=2)).json()
    content = whole["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in content] == ["Hello", ",", " world", "."]
    assert content[1]["bytes"] == [44]
    assert [t["token"] for t in content[0]["top_logprobs"]] == ["a", "b"]
    events = events_of(await post(client, logprobs=True, stream=True))
    assert events[1]["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []


async def test_every_field_reaches_the_backend(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    answer = await post(
        client,
        seed=3,
        temperature=0.5,
        top_p=0.9,
        top_k=7,
        min_p=0.1,
        presence_penalty=0.2,
        frequency_penalty=0.3,
        repetition_penalty=1.1,
        logit_bias={"5": -2.5},
        max_completion_tokens=9,
        min_tokens=2,
        ignore_eos=True,
        stop=["x", "y"],
        stop_token_ids=[4],
        include_stop_str_in_output=True,
        skip_special_tokens=False,
        logprobs=True,
        top_logprobs=3,
        n=2,
        priority=5,
        user="someone",
        metadata={"a": "b"},
        store=False,
    )
    assert answer.status_code == 200
    (request,) = backend.requests
    assert request.model == "tiny"
    assert request.n == 2
    assert request.priority == 5
    assert request.sampling == SamplingParams(
        seed=3,
        temperature=0.5,
        top_p=0.9,
        top_k=7,
        min_p=0.1,
        presence_penalty=0.2,
        frequency_penalty=0.3,
        repetition_penalty=1.1,
        logit_bias={5: -2.5},
        max_tokens=9,
        min_tokens=2,
        ignore_eos=True,
        stop=("x", "y"),
        stop_token_ids=(4,),
        include_stop=True,
        skip_special_tokens=False,
        num_logprobs=3,
    )


async def test_null_is_absent_and_every_seed_is_drawn_anew(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    nothing = dict.fromkeys(["temperature", "stop", "seed", "tools", "tool_choice", "n", "max_tokens", "stream"])
    assert (await post(client, **nothing)).status_code == 200
    assert (await post(client)).status_code == 200
    first, second = (request.sampling for request in backend.requests)
    assert first.seed != second.seed
    assert first == SamplingParams(seed=first.seed)


async def test_the_models_own_defaults_stand_where_nothing_is_given(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    import msgspec

    backend.model = msgspec.structs.replace(backend.model, default_sampling={"temperature": 0.6, "top_k": 20})
    await post(client, top_k=0)
    await post(client, temperature=0)
    first, second = (request.sampling for request in backend.requests)
    assert (first.temperature, first.top_k) == (0.6, None)
    assert (second.temperature, second.top_k) == (0.0, 20)


async def test_messages_keep_their_meaning(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "one"},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None, "annotations": []},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
    ]
    assert (await post(client, messages=messages)).status_code == 200
    (request,) = backend.requests
    assert request.prompts == (
        ChatPrompt(
            messages=(
                Message(role="system", content="Be brief."),
                Message(role="user", content="a\nb", name="one"),
                Message(
                    role="assistant",
                    tool_calls=(ToolCall(id="c1", function=FunctionCall(name="f", arguments="{}")),),
                ),
                Message(role="tool", content="42", tool_call_id="c1"),
            )
        ),
    )


async def test_a_final_message_can_be_continued(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    messages = [*HELLO, {"role": "assistant", "content": "Well"}]
    assert (await post(client, messages=messages, continue_final_message=True)).status_code == 200
    (prompt,) = backend.requests[0].prompts
    assert isinstance(prompt, ChatPrompt)
    assert prompt.continue_final_message
    assert not prompt.add_generation_prompt
    wrong = await post(client, continue_final_message=True)
    assert error_of(wrong)["param"] == "continue_final_message"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tools", "x"),
        ("tool_choice", "auto"),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"json_schema": {}, "type": "json_schema"}),
        ("functions", [{"name": "f"}]),
        ("modalities", ["audio"]),
        ("service_tier", "flex"),
        ("documents", [{}]),
        ("chat_template_kwargs", {"enable_thinking": False}),
        ("audio", {}),
        ("reasoning_effort", "low"),
        ("store", True),
        ("chat_template", "x"),
        ("echo", True),
    ],
)
async def test_what_is_not_honoured_is_refused_by_name(client: httpx.AsyncClient, field: str, value: object) -> None:
    answer = await post(client, **{field: value})
    assert answer.status_code == 400
    error = error_of(answer)
    assert (error["param"], error["code"]) == (field, "unsupported_field")
    assert f"The field '{field}' is not supported: " in error["message"]


@pytest.mark.parametrize(
    "nothing",
    [
        *({"tools": []}, {"functions": []}, {"documents": []}, {"logits_processors": []}, {"chat_template_kwargs": {}}),
        *({"stop": []}, {"stop_token_ids": []}, {"logit_bias": {}}, {"metadata": {}}, {"modalities": []}),
        {"messages": [{"role": "user", "content": "Hi", "tool_calls": [], "annotations": []}]},
    ],
)
async def test_what_is_empty_is_absent(
    client: httpx.AsyncClient, backend: FakeBackend, nothing: dict[str, Any]
) -> None:
    assert (await post(client, seed=1)).status_code == 200
    assert (await post(client, seed=1, **nothing)).status_code == 200
    first, second = backend.requests
    assert second.sampling == first.sampling
    assert second.prompts[0].messages[0].tool_calls == ()


async def test_a_value_that_is_none_of_a_few_is_told_them(client: httpx.AsyncClient) -> None:
    error = error_of(await post(client, messages=[{"role": "wizard", "content": "x"}]))
    assert (error["param"], error["code"]) == ("messages[0].role", "invalid_value")
    assert "'system' or 'developer' or 'user' or 'assistant' or 'tool', not 'wizard'" in error["message"]


async def test_a_part_that_is_no_text_is_refused_by_its_kind(client: httpx.AsyncClient) -> None:
    content = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    error = error_of(await post(client, messages=[{"role": "user", "content": content}]))
    assert (error["param"], error["code"]) == ("messages[0].content[0].type", "unsupported_field")
    assert "'refusal' or 'text'" in error["message"]


async def test_a_misspelt_field_is_refused_with_the_likely_one(client: httpx.AsyncClient) -> None:
    error = error_of(await post(client, max_token=3))
    assert error["param"] == "max_token"
    assert "Did you mean 'max_tokens'?" in error["message"]


async def test_bounds_are_told_in_the_names_of_the_dialect(client: httpx.AsyncClient) -> None:
    error = error_of(await post(client, logprobs=True, top_logprobs=99))
    assert error["param"] == "top_logprobs"
    assert error["message"].startswith("top_logprobs is 99")
    assert error_of(await post(client, n=1000))["param"] == "n"
    assert error_of(await post(client, max_tokens=1, max_completion_tokens=2))["param"] == "max_completion_tokens"
    assert error_of(await post(client, top_logprobs=1))["param"] == "top_logprobs"
    assert error_of(await post(client, stream_options={}))["param"] == "stream_options"


async def test_an_unknown_model_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await post(client, model="gpt-9")
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("refusal", "status", "code", "retry_after"),
    [
        (OverloadedError("Full.", retry_after_seconds=2.1), 429, "rate_limit_exceeded", "3"),
        (UnavailableError("Loading."), 503, "service_unavailable", "1"),
        (EngineFailedError("Died."), 500, "engine_failed", None),
        (
            ContextLengthError(num_prompt_tokens=200, num_output_tokens=1, max_model_len=128, param="messages"),
            400,
            "context_length_exceeded",
            None,
        ),
        (ZeroDivisionError(), 500, "internal_error", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_has_its_own_status_even_of_a_stream(
    client: httpx.AsyncClient,
    backend: FakeBackend,
    refusal: Any,
    status: int,
    code: str,
    retry_after: str | None,
    stream: bool,
) -> None:
    backend.refuse = refusal
    answer = await post(client, stream=stream)
    assert answer.status_code == status
    assert error_of(answer)["code"] == code
    assert answer.headers.get("retry-after") == retry_after
    assert backend.num_closed == 1


async def test_a_failure_in_mid_stream_is_one_event(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.failure = EngineFailedError("The engine died.")
    answer = await post(client, stream=True)
    assert answer.status_code == 200
    events = events_of(answer)
    assert [e["choices"][0]["delta"].get("content") for e in events[:-1]] == ["", "Hello", ","]
    assert events[-1] == {
        "error": {"message": "The engine died.", "type": "server_error", "param": None, "code": "engine_failed"}
    }
    assert (await post(client)).status_code == 500


async def test_a_defect_in_mid_stream_tells_the_client_no_details(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    backend.failure = ZeroDivisionError("secret")
    answer = await post(client, stream=True)
    assert "secret" not in answer.text
    assert events_of(answer)[-1]["error"]["code"] == "internal_error"


async def test_a_sequence_that_is_given_up_is_an_error_not_an_answer(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    backend.reason = FinishReason.ABORT
    assert (await post(client)).status_code == 500
    assert events_of(await post(client, stream=True))[-1]["error"]["code"] == "engine_failed"
