"""Bodies that no well-meaning client sends, from a seed: broken JSON, wrong types, bombs of depth and size."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

MESSAGES = [{"role": "user", "content": "Hello"}]
VALID: dict[str, dict[str, Any]] = {
    "/v1/completions": {"model": "minnow", "prompt": "Hello", "max_tokens": 1},
    "/v1/chat/completions": {"model": "minnow", "messages": MESSAGES, "max_tokens": 1},
    "/api/generate": {"model": "minnow", "prompt": "Hello", "stream": False, "options": {"num_predict": 1}},
    "/api/chat": {"model": "minnow", "messages": MESSAGES, "stream": False, "options": {"num_predict": 1}},
}
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.1, -0.0, 1e308, 1e-320, "", "x",
    "\x00", "\ud800",
    "nan", [], {}, [[]], [None], [1, "a"], {"a": {"b": []}}, "é" * 500, "\U0001d4b3" * 50, [0] * 200,
    ["a"] * 50, "{{ 7 * 7 }}", "{% for x in range(10**9) %}", "<|end|>", "<|assistant|>", "../../etc/passwd",
    "'; drop table",
]  # fmt: skip
FIELDS = [
    "model", "prompt", "messages", "max_tokens", "temperature", "top_p", "top_k", "min_p", "n", "stop", "seed",
    "logprobs",
    "logit_bias", "stream", "stream_options", "presence_penalty", "frequency_penalty", "repetition_penalty",
    "min_tokens",
    "stop_token_ids", "echo", "best_of", "tools", "response_format", "options", "system", "context", "format",
    "keep_alive",
    "priority", "user", "images", "suffix", "__proto__", "ignore_eos", "top_logprobs",
]  # fmt: skip

Mutation = Callable[[random.Random, dict[str, Any]], bytes]


def _replaced(rng: random.Random, body: dict[str, Any]) -> bytes:
    for _ in range(rng.randint(1, 4)):
        body[rng.choice(FIELDS)] = rng.choice(ODD)
    return json.dumps(body).encode()


def _nested(rng: random.Random, body: dict[str, Any]) -> bytes:
    depth = rng.choice([65, 300, 5000, 100_000])
    key = json.dumps(rng.choice(FIELDS)).encode()
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    return json.dumps(body).encode()[:-1] + b"," + key + b":" + opening * depth + b"1" + closing * depth + b"}"


def _truncated(rng: random.Random, body: dict[str, Any]) -> bytes:
    data = json.dumps(body).encode()
    return data[: rng.randrange(len(data))]


def _scrambled(rng: random.Random, body: dict[str, Any]) -> bytes:
    data = bytearray(json.dumps(body).encode())
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def _noise(rng: random.Random, body: dict[str, Any]) -> bytes:
    del body
    return rng.randbytes(rng.randrange(400))


def _another_document(rng: random.Random, body: dict[str, Any]) -> bytes:
    return json.dumps(rng.choice([*ODD, [body], {"body": body}])).encode()


def _bad_messages(rng: random.Random, body: dict[str, Any]) -> bytes:
    body["messages"] = [
        {rng.choice(["role", "content", "name", "tool_calls", "images", "x"]): rng.choice(ODD) for _ in range(3)}
        for _ in range(rng.randint(0, 5))
    ]
    return json.dumps(body).encode()


def _not_numbers(rng: random.Random, body: dict[str, Any]) -> bytes:
    value = rng.choice([b"NaN", b"Infinity", b"-Infinity", b"1e999", b"01", b"+1", b"0x10", b"1_000"])
    return json.dumps(body).encode()[:-1] + b',"temperature":' + value + b"}"


def _too_long(rng: random.Random, body: dict[str, Any]) -> bytes:
    long = "word " * rng.choice([5_000, 50_000])
    if "messages" in body:
        body["messages"] = [{"role": "user", "content": long}]
    else:
        body["prompt"] = long
    return json.dumps(body).encode()


MUTATIONS: tuple[Mutation, ...] = (
    _replaced, _replaced, _replaced, _nested, _truncated, _scrambled, _noise, _another_document, _bad_messages,
    _not_numbers, _too_long,
)  # fmt: skip


NEVER_VALID: tuple[Mutation, ...] = (_nested, _truncated, _noise, _another_document, _not_numbers, _too_long)


def hostile_bodies(rng: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
    """`count` pairs of path and body, none of which is a valid request."""
    for _ in range(count):
        path = rng.choice(list(VALID))
        yield path, rng.choice(NEVER_VALID)(rng, json.loads(json.dumps(VALID[path])))


def fuzzed_bodies(rng: random.Random, count: int) -> Iterator[tuple[str, bytes]]:
    """`count` pairs of path and body. A few may happen to be valid requests for a token or so."""
    for _ in range(count):
        path = rng.choice(list(VALID))
        body = json.loads(json.dumps(VALID[path]))
        yield path, rng.choice(MUTATIONS)(rng, body)
