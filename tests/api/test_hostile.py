"""Three hundred bodies that nobody should send, and as many as Hypothesis thinks of: every answer is a 4xx."""

import functools
import json
import random
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import client_of, make_app
from tests.fakes.backend import FakeBackend
from tidemill.api.body import json_depth
from tidemill.api.edge import Edge

CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
COMPLETION: dict[str, Any] = {"model": "tiny", "prompt": "Hi"}
GENERATE: dict[str, Any] = {"model": "tiny", "prompt": "Hi"}
TURN: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETION,
    "/api/generate": GENERATE,
    "/api/chat": TURN,
}

NOT_JSON = [
    b"",
    b" ",
    b"null",
    b"[]",
    b"1",
    b'"x"',
    b"{",
    b"}",
    b'{"model"',
    b'{"model":}',
    b"{'model': 'tiny'}",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b"\x00",
    b'{"model": "tiny"} {}',
    b'{"model": "\\ud800"}',
    b'{"model": "\xed\xa0\x80"}',
    b'{"model": NaN}',
    b'{"model": 1e999}',
    b"model=tiny&prompt=Hi",
    b"[" * 1000,
    b"[" * 100_000,
    b'{"messages":' * 5000,
    b"{" * 100_000,
    b'{"a":[' * 20 + b"]}" * 20,
    b'{"model": "tiny", "prompt": ' + b"[" * 200 + b"]" * 200 + b"}",
    b'"' + b"\\" * 99_999,
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x1f\x8b\x08\x00",
    b'{"' + b"x" * 50_000 + b'": 1}',
]

WRONG: list[Any] = [True, [], {}, [[]], {"a": {}}, "\x00", -(10**30), 10**400]
FIELDS = ["model", "stream", "prompt", "messages", "options", "n", "temperature", "stop", "seed", "logit_bias"]

VALUES: dict[str, list[Any]] = {
    "/v1/chat/completions": [
        {"messages": [{"role": "wizard", "content": "x"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"content": "x"}]},
        {"messages": [{"role": "user", "content": 3}]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc"}}]}]},
        {"messages": [{"role": "user", "content": "x", "tool_calls": [{"id": "a", "function": {}}]}]},
        {"messages": [{"role": "user", "content": "a\x00b"}]},
        {"messages": [{"role": "user", "content": "x", "name": "n" * 1000}]},
        {"messages": [{"role": "user", "content": "x"}] * 5000},
        {"messages": [None]},
        {"messages": {}},
        {"messages": []},
        {"temperature": -1},
        {"temperature": 2.1},
        {"temperature": "hot"},
        {"top_p": 0},
        {"top_p": 1.5},
        {"top_k": -2},
        {"min_p": -0.1},
        {"n": 0},
        {"n": -1},
        {"n": 129},
        {"n": 2**70},
        {"max_tokens": 0},
        {"max_tokens": -5},
        {"max_tokens": 2**40},
        {"max_tokens": 1.5},
        {"max_completion_tokens": 0},
        {"min_tokens": -1},
        {"min_tokens": 5, "max_tokens": 4},
        {"presence_penalty": 2.1},
        {"frequency_penalty": -2.1},
        {"repetition_penalty": 0},
        {"seed": 2**65},
        {"seed": 1.5},
        {"stop": ""},
        {"stop": [""]},
        {"stop": ["x"] * 17},
        {"stop": ["x" * 2000]},
        {"stop": [1]},
        {"stop_token_ids": [-1]},
        {"stop_token_ids": [10**6]},
        {"stop_token_ids": [1] * 129},
        {"logit_bias": {"x": 1}},
        {"logit_bias": {"-1": 1}},
        {"logit_bias": {"99999": 1}},
        {"logit_bias": {"1": 101}},
        {"logit_bias": {str(i): 1 for i in range(1025)}},
        {"logprobs": 5},
        {"logprobs": True, "top_logprobs": 21},
        {"top_logprobs": 2},
        {"stream": "yes"},
        {"stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": {"continuous_usage_stats": True}},
        {"stream": True, "stream_options": {"x": 1}},
        {"continue_final_message": True},
        {"tools": [{}]},
        {"response_format": {"type": "json_schema"}},
        {"modalities": ["audio"]},
        {"__proto__": {}},
        {"metadata": {"a": 1}},
        {"service_tier": "flex"},
    ],
    "/v1/completions": [
        {"prompt": None},
        {"prompt": []},
        {"prompt": [[], 1]},
        {"prompt": ["x"] * 200},
        {"prompt": {"text": "x"}},
        {"logprobs": -1},
        {"logprobs": 21},
        {"best_of": 2},
        {"echo": "yes"},
        {"suffix": "x"},
        {"prompt_logprobs": 1},
    ],
    "/api/generate": [
        {"options": []},
        {"options": {"temperature": 3}},
        {"options": {"num_predict": 1.5}},
        {"options": {"num_predict": -3}},
        {"options": {"top_k": -5}},
        {"options": {"repeat_penalty": -1}},
        {"options": {"mirostat": 2}},
        {"options": {"mirostat_tau": 5.0}},
        {"options": {"nonsense": 1}},
        {"options": {"num_gpu": 0}},
        {"format": "json"},
        {"format": {"type": "object"}},
        {"images": ["aGk="]},
        {"keep_alive": "forever"},
        {"keep_alive": 0},
        {"system": 5},
        {"raw": "x"},
        {"raw": True, "system": "x"},
        {"context": [1, 2]},
        {"top_logprobs": 3},
    ],
    "/api/chat": [
        {"messages": "x"},
        {"messages": [{"role": "developer", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x", "images": ["x"]}]},
        {"messages": [{"role": "user", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
        {"tools": [{}]},
        {"think": "high"},
    ],
}


def hostile_bodies() -> list[tuple[str, bytes]]:
    """At least three hundred pairs of a route and a body for it."""
    cases = [(path, body) for path in ROUTES for body in NOT_JSON]
    for path, base in ROUTES.items():
        cases += [(path, _dump({**base, **change})) for change in VALUES[path]]
        for field in FIELDS:
            cases += [
                (path, _dump({**base, field: wrong})) for wrong in WRONG[:3] if _is_wrong(base, path, field, wrong)
            ]
        for wrong in WRONG[4:]:
            cases.append((path, _dump({**base, "model": wrong})))
            cases.append((path, _dump({**base, "unknown": wrong})))
    return cases


def _is_wrong(base: dict[str, Any], path: str, field: str, value: object) -> bool:
    """Whether `value` is one that `field` does not take."""
    takes_boolean = field == "stream"
    takes_list = field in ("stop", "messages") and value == []
    takes_object = field in ("logit_bias", "options") and value == {}
    known = field in base or path.startswith("/v1") or field in ("stream", "options", "stop")
    return not known or not ((takes_boolean and value is True) or takes_list or takes_object)


def _dump(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def test_there_are_three_hundred() -> None:
    assert len(hostile_bodies()) >= 300


async def test_every_hostile_body_is_refused_and_an_innocent_one_is_not() -> None:
    backend = FakeBackend()
    async with client_of(make_app(backend)) as client:
        innocent = {**CHAT, "seed": 1, "temperature": 0}
        expected = (await client.post("/v1/chat/completions", json=innocent)).json()["choices"]
        document = (await client.get("/openapi.json")).json()
        for path, body in hostile_bodies():
            answer = await client.post(path, content=body, headers={"content-type": "application/json"})
            assert 400 <= answer.status_code < 500, (path, body[:200], answer.status_code)
            assert str(answer.status_code) in document["paths"][path]["post"]["responses"]
            error = answer.json()["error"]
            assert error if path.startswith("/api") else set(error) == {"message", "type", "param", "code"}
            assert len(answer.content) < 2000
        assert (await client.post("/v1/chat/completions", json=innocent)).json()["choices"] == expected


@functools.cache
def shared_app() -> Edge:
    return make_app(FakeBackend())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    path=st.sampled_from(sorted(ROUTES)),
    changes=st.dictionaries(st.sampled_from([*FIELDS, "top_k", "tools", "raw", "zzz"]), json_values, max_size=3),
)
async def test_no_body_makes_the_server_fail(path: str, changes: dict[str, Any]) -> None:
    async with client_of(shared_app()) as client:
        answer = await client.post(path, content=_dump({**ROUTES[path], **changes}))
    assert answer.status_code < 500, answer.text


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(sorted(ROUTES)), seed=st.integers(0, 2**32))
async def test_no_mutilated_body_makes_the_server_fail(path: str, seed: int) -> None:
    dice = random.Random(seed)
    body = bytearray(_dump({**ROUTES[path], "stream": False}))
    for _ in range(dice.randint(1, 4)):
        body[dice.randrange(len(body))] = dice.randrange(256)
    async with client_of(shared_app()) as client:
        answer = await client.post(path, content=bytes(body))
    assert answer.status_code < 500, answer.text


@given(json_values)
def test_depth_is_that_of_the_document(value: Any) -> None:
    def depth(node: Any) -> int:
        if isinstance(node, dict):
            node = list(node.values())
        return 1 + max(map(depth, node), default=0) if isinstance(node, list) else 0

    for ascii_only in (True, False):
        assert json_depth(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")) == depth(value)


def test_brackets_in_strings_are_no_depth() -> None:
    assert json_depth(rb'{"a\\": "[[[\"[[[", "b\"": "{{\\"}') == 1


async def test_bodies_at_the_caps(client: httpx.AsyncClient) -> None:
    async with client_of(make_app(FakeBackend(), max_body_bytes=1024, max_json_depth=4)) as small:
        fits = _dump(COMPLETION).ljust(1024)
        assert (await small.post("/v1/completions", content=fits)).status_code == 200
        over = await small.post("/v1/completions", content=fits + b" ")
        assert (over.status_code, over.json()["error"]["code"]) == (413, "request_too_large")
        assert over.headers["connection"] == "close"
        assert (await small.post("/v1/completions", content=b'{"a":[[[1]]]}')).json()["error"]["param"] == "a"
        deep = (await small.post("/v1/completions", content=b'{"a":[[[[1]]]]}')).json()["error"]
        assert "deeper than 4" in deep["message"]
    squeezed = await client.post("/v1/completions", content=b"x", headers={"content-encoding": "gzip"})
    assert squeezed.json()["error"]["param"] == "Content-Encoding"


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "x"])
async def test_the_content_type_does_not_matter(client: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    assert (await client.post("/v1/completions", content=_dump(COMPLETION), headers=headers)).status_code == 200
