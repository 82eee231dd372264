"""POST /v1/completions and /v1/models, against a backend that answers by script."""

import json
from typing import Any

import httpx
import pytest

from tests.fakes.backend import FakeBackend
from tidemill.core.backend import BackendState
from tidemill.core.requests import TextPrompt, TokensPrompt


async def post(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/v1/completions", json={"model": "tiny", "prompt": "abc", **body})


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", (TextPrompt(text="a"),)),
        (["a", "b"], (TextPrompt(text="a"), TextPrompt(text="b"))),
        ([1, 2], (TokensPrompt(token_ids=(1, 2)),)),
        ([[1], [2, 3]], (TokensPrompt(token_ids=(1,)), TokensPrompt(token_ids=(2, 3)))),
    ],
)
async def test_a_prompt_has_four_forms(
    client: httpx.AsyncClient, backend: FakeBackend, prompt: object, expected: object
) -> None:
    answer = await post(client, prompt=prompt, n=2)
    assert answer.status_code == 200
    assert backend.requests[0].prompts == expected
    assert backend.requests[0].sampling.max_tokens == 16
    assert [c["index"] for c in answer.json()["choices"]] == list(range(2 * len(backend.requests[0].prompts)))


@pytest.mark.parametrize("prompt", [[], ["a", 1], [[1], 2], [["a"]], 3, [1.5], None, {}, [None], [True]])
async def test_a_prompt_in_any_other_form_is_refused(client: httpx.AsyncClient, prompt: object) -> None:
    answer = await post(client, prompt=prompt)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("prompt")


async def test_echo_with_logprobs_starts_with_the_prompt(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    choice = (await post(client, echo=True, logprobs=1)).json()["choices"][0]
    assert choice["text"] == "abcHello, world."
    logprobs = choice["logprobs"]
    assert logprobs["tokens"] == ["a", "b", "c", "Hello", ",", " world", "."]
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["top_logprobs"][0] is None
    assert logprobs["top_logprobs"][-1] == {"a": -1.0}
    assert [
        choice["text"][at:][: len(t)] for at, t in zip(logprobs["text_offset"], logprobs["tokens"], strict=True)
    ] == (logprobs["tokens"])
    assert backend.requests[0].sampling.num_prompt_logprobs == 1


@pytest.mark.parametrize("logprobs", [None, 0, 2])
async def test_an_echo_without_output_scores_the_prompt(client: httpx.AsyncClient, logprobs: int | None) -> None:
    answer = (await post(client, echo=True, max_tokens=0, logprobs=logprobs)).json()
    (choice,) = answer["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("abc", "length")
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (5, 0)
    if logprobs is None:
        assert choice["logprobs"] is None
    else:
        assert choice["logprobs"]["tokens"] == ["a", "b", "c"]
        assert choice["logprobs"]["token_logprobs"][0] is None
        assert choice["logprobs"]["text_offset"] == [0, 1, 2]


async def test_without_an_echo_there_must_be_output(client: httpx.AsyncClient) -> None:
    error = (await post(client, max_tokens=0)).json()["error"]
    assert (error["param"], error["code"]) == ("max_tokens", "invalid_value")


@pytest.mark.parametrize("max_tokens", [0, 16])
async def test_a_stream_says_the_same_as_the_whole(client: httpx.AsyncClient, max_tokens: int) -> None:
    asked: dict[str, Any] = {"echo": True, "logprobs": 2, "n": 2, "max_tokens": max_tokens}
    whole = (await post(client, **asked)).json()
    streamed = await post(client, **asked, stream=True, stream_options={"include_usage": True})
    lines = streamed.text.strip().split("\n\n")
    assert lines.pop() == "data: [DONE]"
    events = [json.loads(line[6:]) for line in lines]
    assert events[-1]["usage"] == whole["usage"]
    for index, expected in enumerate(whole["choices"]):
        own = [c for e in events for c in e["choices"] if c["index"] == index]
        assert "".join(c["text"] for c in own) == expected["text"]
        assert own[-1]["finish_reason"] == expected["finish_reason"]
        for name, values in expected["logprobs"].items():
            assert [v for c in own for v in c["logprobs"][name]] == values


@pytest.mark.parametrize("prompt", ["abc", "a"])
async def test_what_a_lagging_reader_gets_in_one_piece_is_the_same(
    client: httpx.AsyncClient, backend: FakeBackend, prompt: str
) -> None:
    asked = {"prompt": prompt, "echo": True, "logprobs": 1, "n": 2}
    expected = (await post(client, **asked)).json()["choices"]
    backend.merges = True
    assert (await post(client, **asked)).json()["choices"] == expected
    first = json.loads((await post(client, **asked, stream=True)).text.split("\n\n")[0][6:])
    assert first["choices"] == expected[:1]


async def test_a_log_probability_of_zero_probability_is_finite(
    client: httpx.AsyncClient, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidemill.core.requests import PositionLogprobs, TokenLogprob

    never = PositionLogprobs(TokenLogprob(1, float("-inf"), "x", b"x"), ())
    monkeypatch.setattr(backend, "_logprobs", lambda *_: (never,))
    answer = await post(client, logprobs=0)
    assert answer.json()["choices"][0]["logprobs"]["token_logprobs"] == [-9999.0] * 4


async def test_best_of_is_taken_only_if_it_changes_nothing(client: httpx.AsyncClient) -> None:
    assert (await post(client, best_of=2, n=2)).status_code == 200
    answer = await post(client, best_of=3)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "best_of")
    assert (await post(client, suffix="x")).json()["error"]["code"] == "unsupported_field"
    for nothing in (None, ""):
        assert (await post(client, suffix=nothing)).status_code == 200


async def test_prompts_times_n_are_bounded(client: httpx.AsyncClient) -> None:
    answer = await post(client, prompt=["a"] * 129)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")


async def test_models_are_listed_under_every_name(client: httpx.AsyncClient) -> None:
    cards = (await client.get("/v1/models")).json()
    assert [card["id"] for card in cards["data"]] == ["tiny", "llama2"]
    card = (await client.get("/v1/models/llama2")).json()
    assert card == cards["data"][1]
    assert card["root"] == "tiny"
    assert (await client.get("/v1/models/org/other")).status_code == 404


async def test_before_the_engine_is_ready_nothing_is_found_missing(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    backend.state = BackendState.STARTING
    for answer in [await client.get("/v1/models"), await post(client)]:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
