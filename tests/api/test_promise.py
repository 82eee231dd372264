"""What a request may ask to be promised: headers, priority, and the bounds in the key file."""

from pathlib import Path

import httpx
import pytest

from tests.api.conftest import client_of, make_app
from tests.fakes.backend import FakeBackend
from tidemill.api.keys import ApiKeys
from tidemill.api.limits import parse_milliseconds
from tidemill.core.errors import (
    ConfigurationError,
    KeyLimitError,
    OverloadedError,
    PromiseRefusedError,
    PromiseUnkeepableError,
)
from tidemill.core.objectives import Objectives

BODY = {"model": "tiny", "prompt": "x"}
KEY = "a-long-enough-key"


async def ask(client: httpx.AsyncClient, path: str = "/v1/completions", **headers: str) -> httpx.Response:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "x"}]} if "chat" in path else BODY
    return await client.post(
        path, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/api/chat", "/api/generate"])
async def test_headers_become_objectives_in_every_dialect(
    path: str, client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    answer = await ask(client, path, x_slo_ttft_ms="150", x_slo_tpot_ms="45.5", x_slo_deadline_ms="2000")
    assert answer.status_code == 200
    assert backend.requests[0].objectives == Objectives(ttft_seconds=0.15, tpot_seconds=0.0455, deadline_seconds=2.0)


async def test_without_headers_nothing_is_asked(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    await ask(client)
    assert not backend.requests[0].objectives.are_any
    assert backend.requests[0].tenant == ""


@pytest.mark.parametrize("value", ["", "0", "-5", "1e3", "nan", "inf", "1.2.3", "86400001", "9" * 40, "٣", "5 ms"])
async def test_a_header_that_is_no_number_of_milliseconds_is_named(value: str, client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/completions", json=BODY, headers={b"x-slo-ttft-ms": value.encode()})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "x-slo-ttft-ms"


async def test_nobody_asks_for_less_than_the_server_allows(backend: FakeBackend) -> None:
    async with client_of(make_app(backend)) as client:
        for header, value in (("x_slo_ttft_ms", "9.9"), ("x_slo_tpot_ms", "0.0000001")):
            answer = await ask(client, **{header: value})
            assert answer.status_code == 400
            assert "no less than" in answer.json()["error"]["message"]
    async with client_of(make_app(backend, shortest_tpot_seconds=0.001)) as client:
        assert (await ask(client, x_slo_tpot_ms="1")).status_code == 200


async def test_a_promise_is_asked_for_once(client: httpx.AsyncClient) -> None:
    twice = [("x-slo-ttft-ms", "5000"), ("x-slo-ttft-ms", "100")]
    answer = await client.post("/v1/completions", json=BODY, headers=twice)
    assert answer.status_code == 400
    assert "2 times" in answer.json()["error"]["message"]


async def test_a_promise_that_there_is_not_is_no_promise(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    answer = await client.post("/v1/completions", json=BODY, headers={"X-SLO-TTFT": "100"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "x-slo-ttft"
    assert "x-slo-ttft-ms" in answer.json()["error"]["message"]
    assert not backend.requests


async def test_nobody_is_more_urgent_than_the_server_allows(backend: FakeBackend) -> None:
    async with client_of(make_app(backend)) as client:
        refused = await client.post("/v1/completions", json=BODY | {"priority": -1})
        taken = await client.post("/v1/completions", json=BODY | {"priority": 3})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "priority")
    assert taken.status_code == 200
    async with client_of(make_app(backend, most_urgent_priority=-5)) as client:
        assert (await client.post("/v1/completions", json=BODY | {"priority": -5})).status_code == 200


async def test_a_key_may_ask_for_what_its_line_says(tmp_path: Path, backend: FakeBackend) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{KEY} name=quiet max-priority=-2 min-ttft-ms=100 min-tpot-ms=20 min-deadline-ms=500  # mine\n")
    app = make_app(backend)
    app._keys = ApiKeys.load(path)
    async with client_of(app) as client:
        client.headers["authorization"] = f"Bearer {KEY}"
        for header, value in (("x_slo_ttft_ms", "99"), ("x_slo_tpot_ms", "19"), ("x_slo_deadline_ms", "499")):
            answer = await ask(client, **{header: value})
            assert answer.status_code == 400, header
            assert "no less than" in answer.json()["error"]["message"]
        answer = await ask(client, x_slo_ttft_ms="100", x_slo_tpot_ms="20", x_slo_deadline_ms="500")
        assert answer.status_code == 200
        assert (await client.post("/v1/completions", json=BODY | {"priority": -2})).status_code == 200
        assert (await client.post("/v1/completions", json=BODY | {"priority": -3})).status_code == 400
    assert len(backend.requests[0].tenant) == 16
    assert KEY not in backend.requests[0].tenant


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/api/chat", "/api/generate"])
@pytest.mark.parametrize(("most_urgent", "given"), [(5, 5), (0, 0), (-2, 0)])
async def test_who_asks_for_no_priority_gets_one_that_its_key_may_have(
    most_urgent: int, given: int, path: str, tmp_path: Path, backend: FakeBackend
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY} max-priority={most_urgent}\n")
    app = make_app(backend)
    app._keys = ApiKeys.load(keys)
    async with client_of(app) as client:
        answer = await ask(client, path, authorization=f"Bearer {KEY}")
    assert answer.status_code == 200
    assert backend.requests[0].priority == given


def test_a_key_file_without_options_reads_as_before(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# keys\n\n{KEY}\nanother-long-key name=second\n{KEY}\n")
    keys = ApiKeys.load(path)
    plain, named = keys.authenticate(f"Bearer {KEY}"), keys.authenticate("Bearer another-long-key")
    assert named.label == "second"
    assert plain.label is not None
    assert len(plain.label) == 8
    assert plain.tenant != named.tenant
    assert plain.limits.most_urgent_priority is None


def test_one_key_with_two_kinds_of_options_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{KEY} name=first\n{KEY} min-ttft-ms=10\n")
    with pytest.raises(ConfigurationError, match=r"Line 2 .* other options"):
        ApiKeys.load(path)


def test_one_name_for_two_keys_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"{KEY} name=first\n{KEY} name=first\n")
    assert ApiKeys.load(path).required, "the same line twice is no second key"
    path.write_text(f"{KEY} name=first\nanother-long-key name=first\n")
    with pytest.raises(ConfigurationError, match=r"Line 2 .* the name first to a second key"):
        ApiKeys.load(path)


@pytest.mark.parametrize(
    ("prometheus", "client", "expected"),
    [("", "", (200, 200)), ("metrics=yes", "", (200, 403)), ("metrics=no", "", (403, 200)),
     ("metrics=yes", "metrics=yes", (200, 200))],
)  # fmt: skip
async def test_metrics_are_for_the_keys_that_are_named_for_them(
    prometheus: str, client: str, expected: tuple[int, int], tmp_path: Path, backend: FakeBackend
) -> None:
    path = tmp_path / "keys"
    path.write_text(f"key-of-prometheus {prometheus}\nkey-of-a-client {client}\n")
    app = make_app(backend)
    app._keys = ApiKeys.load(path)
    async with client_of(app) as caller:
        answers = [
            await caller.get("/metrics", headers={"authorization": f"Bearer {key}"})
            for key in ("key-of-prometheus", "key-of-a-client")
        ]
    assert tuple(answer.status_code for answer in answers) == expected
    for answer in answers:
        if answer.status_code == 403:
            assert "metrics=yes" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "options",
    ["metrics=maybe", "nonsense", "max-priority=x", "max-priority=99999999999999", "min-ttft-ms=0", "min-ttft-ms=-3",
     "name=", "name=a b=c", "name=<x>", "min-ttft-ms=5 min-ttft-ms=6", "min-tpot-ms=1e2", "max-priority=4294967296"],
)  # fmt: skip
def test_an_option_that_means_nothing_is_said_with_its_line(options: str, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"other-long-key\n{KEY} {options}\n")
    with pytest.raises(ConfigurationError, match="Line 2"):
        ApiKeys.load(path)


async def test_a_refusal_says_how_long_it_would_take(backend: FakeBackend) -> None:
    backend.refuse = OverloadedError("0.80 s are expected, and 0.15 s are promised.", retry_after_seconds=3.0)
    async with client_of(make_app(backend)) as client:
        answer, ollama = await ask(client), await ask(client, "/api/chat")
    assert (answer.status_code, ollama.status_code) == (429, 429)
    assert answer.headers["retry-after"] == "3"
    assert "0.80 s are expected" in answer.json()["error"]["message"]
    assert "0.80 s are expected" in ollama.json()["error"]


@pytest.mark.parametrize(
    ("error", "code", "comes_back"),
    [
        (PromiseRefusedError("Busy.", retry_after_seconds=3.0), "promise_refused", True),
        (PromiseUnkeepableError("Never."), "promise_unkeepable", False),
        (KeyLimitError("Yours.", retry_after_seconds=1.0), "key_limit_exceeded", True),
    ],
)
async def test_a_program_can_tell_refusals_apart(
    error: OverloadedError, code: str, comes_back: bool, backend: FakeBackend
) -> None:
    backend.refuse = error
    async with client_of(make_app(backend)) as client:
        answer = await ask(client)
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == code
    assert ("retry-after" in answer.headers) == comes_back
    assert (answer.headers.get("x-should-retry") == "false") != comes_back


def test_milliseconds() -> None:
    assert parse_milliseconds("150") == 0.15
    assert parse_milliseconds("0.5") == 0.0005
