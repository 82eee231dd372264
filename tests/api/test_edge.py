"""What every request meets: ids, keys, origins, errors, the access log."""

import hmac
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.conftest import client_of, make_app
from tests.fakes.backend import FakeBackend
from tidemill.api.keys import ApiKeys
from tidemill.api.origin import is_loopback
from tidemill.core.backend import BackendState
from tidemill.core.errors import AuthenticationError, ConfigurationError, EngineFailedError, OverloadedError
from tidemill.core.objectives import Objectives

KEY, OTHER = "sk-first-key-123", "sk-second-key-45"
ROUTES = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/tiny"),
    ("POST", "/api/generate"),
    ("POST", "/api/chat"),
    ("GET", "/api/tags"),
    ("GET", "/api/ps"),
    ("POST", "/api/show"),
    ("GET", "/api/version"),
    ("GET", "/metrics"),
]
OPEN = [
    "/",
    "/live",
    "/ready",
    "/health",
    "/docs",
    "/docs/assets/start.js",
    "/docs/assets/swagger-ui.css",
    "/openapi.json",
]
BAD = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Bearer wrong-key-000",
    f"Bearer {KEY}x",
    f"Bearer {KEY[:-1]}",
    f"Basic {KEY}",
    KEY,
    f"bearer\t{KEY}",
    "Bearer \xff\xfe",
]


@pytest.mark.parametrize("authorization", BAD)
async def test_without_a_valid_key_nothing_but_the_open_routes_answers(authorization: str | None) -> None:
    backend = FakeBackend()
    raw = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
    async with client_of(make_app(backend, KEY, OTHER)) as client:
        for method, path in ROUTES:
            for verb in {method, "GET", "POST", "DELETE", "OPTIONS"}:
                answer = await client.request(verb, path, headers=raw, content=b"{}")
                assert answer.status_code == 401, (verb, path)
                assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await client.get("/v1/nothing", headers=raw)).status_code == 401
        for path in OPEN:
            assert (await client.get(path, headers=raw)).status_code == 200, path
    assert backend.requests == []


async def test_each_key_has_its_own_prefix_cache(caplog: pytest.LogCaptureFixture) -> None:
    backend = FakeBackend()
    body = {"model": "tiny", "prompt": "x"}
    with caplog.at_level(logging.INFO, "tidemill.access"):
        async with client_of(make_app(backend, KEY, OTHER)) as client:
            for key in (KEY, OTHER, KEY):
                headers = {"authorization": f"Bearer {key}"}
                assert (await client.post("/v1/completions", json=body, headers=headers)).status_code == 200
    first, second, third = (request.cache_salt for request in backend.requests)
    assert first == third != second
    assert "" not in (first, second)
    for record in caplog.records:
        told = str(vars(record))
        assert KEY not in told
        assert first not in told


def test_every_key_is_compared_in_constant_time_whatever_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keys = ApiKeys((KEY, OTHER))
    keys.authenticate(f"Bearer {KEY}")
    with pytest.raises(AuthenticationError):
        keys.authenticate("Bearer x")
    assert len(compared) == 4
    assert {len(each) for pair in compared for each in pair} == {32}


def test_a_key_file_is_read_with_care(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# ours\n{KEY}\n\n  {OTHER}  # the other\n{KEY}\n")
    keys = ApiKeys.load(path)
    assert keys.required
    assert keys.authenticate(f"Bearer {OTHER}").label != keys.authenticate(f"bearer {KEY}").label
    for content in ("", "# only a comment\n", "short\n", "schlüssel-schlüssel\n"):
        path.write_text(content)
        with pytest.raises(ConfigurationError):
            ApiKeys.load(path)
    with pytest.raises(ConfigurationError):
        ApiKeys.load(tmp_path / "none")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.8.9.1", "[::1]:8000", "x.localhost", "localhost."]
)
async def test_loopback_names_are_ours(host: str) -> None:
    async with client_of(make_app(FakeBackend())) as client:
        assert (await client.get("/v1/models", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8000"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "localhost.evil.example"},
        {"host": "10.0.0.1"},
        {"host": "0.0.0.0"},
        {"host": ""},
        {"host": "[::1"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "chrome-extension://abc"},
        {"host": "localhost", "origin": "http://evil.example:8000"},
    ],
)
async def test_a_page_of_another_site_cannot_drive_a_server_on_loopback(headers: dict[str, str]) -> None:
    backend = FakeBackend()
    async with client_of(make_app(backend)) as client:
        for method, path in [*ROUTES, ("GET", "/live"), ("GET", "/docs")]:
            answer = await client.request(method, path, headers=headers, content=b"{}")
            assert answer.status_code == 403, path
    assert backend.requests == []


async def test_pages_of_loopback_may_call_and_beyond_loopback_the_key_decides() -> None:
    async with client_of(make_app(FakeBackend())) as client:
        answer = await client.get("/v1/models", headers={"origin": "http://localhost:3000"})
        assert answer.status_code == 200
    async with client_of(make_app(FakeBackend(), KEY, host="0.0.0.0")) as client:
        headers = {"host": "models.example", "authorization": f"Bearer {KEY}"}
        assert (await client.get("/v1/models", headers=headers)).status_code == 200


def test_what_loopback_is() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "::1", "[::1]", "localhost", "::ffff:127.0.0.1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "", "example.org", "169.254.1.1", "127.1"]))


@pytest.mark.parametrize("given", ["abc-1", "a" * 128, "A.b:c/d+e=f@g_h"])
async def test_a_sane_request_id_is_kept(client: httpx.AsyncClient, given: str) -> None:
    assert (await client.get("/live", headers={"x-request-id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, "x\ty", "é", "<script>"])
async def test_any_other_gets_one_of_ours(client: httpx.AsyncClient, given: str) -> None:
    answers = [await client.get(p, headers=[(b"x-request-id", given.encode())]) for p in ("/live", "/nope", "/live")]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == 3
    assert given not in ids


async def test_the_access_log_tells_numbers_and_no_text(
    backend: FakeBackend, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tidemill.access"):
        body = {"model": "tiny", "prompt": "my-secret-prompt", "stream": True, "user": "my-secret-user"}
        await client.post("/v1/completions?my-secret-query=1", json=body, headers={"x-request-id": "r1"})
        await client.post("/v1/completions", json={**body, "model": "x"})
        await client.get("/live")
    good, bad = (vars(record)["fields"] for record in caplog.records)
    assert good["generation_id"].startswith("cmpl-")
    expected: dict[str, Any] = {
        "method": "POST",
        "path": "/v1/completions",
        "status": 200,
        "request_id": "r1",
        "model": "tiny",
        "num_prompt_tokens": 5,
        "num_cached_tokens": 2,
        "num_output_tokens": 4,
        "finish_reasons": "stop",
    }
    assert {key: good[key] for key in expected} == expected
    assert (bad["status"], bad["error"]) == (404, "ModelNotFoundError")
    assert not any("secret" in str(vars(r)) or "Hello" in str(vars(r)) for r in caplog.records)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nope", 404, None),
        ("GET", "/v1/models//", 404, None),
        ("GET", "/v1/chat/completions", 405, "POST"),
        ("POST", "/live", 405, "GET, HEAD"),
        ("OPTIONS", "/v1/models", 405, "GET, HEAD"),
        ("BREW", "/v1/models", 405, "GET, HEAD"),
        ("GET", "/docs/assets/../../etc/passwd", 404, None),
        ("GET", "/docs/assets/index.html", 404, None),
    ],
)
async def test_what_is_not_there_is_a_typed_error(
    client: httpx.AsyncClient, method: str, path: str, status: int, allow: str | None
) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.headers.get("allow") == allow


async def test_every_request_that_the_engine_never_took_is_counted_once(backend: FakeBackend) -> None:
    refused: list[str] = []
    body = {"model": "tiny", "prompt": "x"}
    async with client_of(make_app(backend, KEY, on_refusal=lambda error, _: refused.append(error))) as client:
        await client.post("/v1/completions", json=body)
        client.headers["authorization"] = f"Bearer {KEY}"
        await client.get("/nope")
        await client.get("/v1/completions")
        await client.post("/v1/completions", json={**body, "suffix": "x"})
        await client.post("/v1/completions", json={**body, "unknown": 1})
        await client.post("/v1/completions", json={**body, "model": "other"})
        await client.post("/api/generate", json={**body, "options": {"temperature": 9}})
        backend.refuse = OverloadedError("Full.")
        await client.post("/v1/completions", json=body)
        backend.state, backend.refuse = BackendState.STARTING, None
        await client.post("/v1/completions", json=body)
        assert (await client.get("/ready")).status_code == 503
    assert refused == [
        "AuthenticationError",
        "RouteNotFoundError",
        "MethodError",
        "UnsupportedFieldError",
        "InvalidRequestError",
        "ModelNotFoundError",
        "InvalidRequestError",
        "OverloadedError",
        "UnavailableError",
    ]


@pytest.mark.parametrize("stream", [True, False])
async def test_what_fails_after_it_was_taken_is_no_refusal(backend: FakeBackend, *, stream: bool) -> None:
    refused: list[str] = []
    ended: list[str | None] = []
    body = {"model": "tiny", "prompt": "x", "stream": stream}
    async with client_of(
        make_app(backend, on_refusal=lambda error, _: refused.append(error), on_end=ended.append)
    ) as client:
        await client.post("/v1/completions", json=body)
        backend.failure = EngineFailedError("Died.")
        await client.post("/v1/completions", json=body)
        await client.post("/v1/completions", json={**body, "prompt": 1})
    assert len(refused) == 1, "only the malformed one"
    assert ended == [None, "EngineFailedError"]


async def test_a_refusal_tells_what_was_asked_for_if_tokens_were(backend: FakeBackend) -> None:
    refused: list[tuple[str, Objectives | None]] = []
    hasty = {"x-slo-ttft-ms": "250"}
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "x"}]}
    backend.state = BackendState.STARTING
    async with client_of(make_app(backend, on_refusal=lambda *told: refused.append(told))) as client:
        await client.get("/v1/models", headers=hasty)
        await client.post("/api/show", json={"model": "tiny"})
        await client.post("/api/generate", json={"model": "tiny"})
        await client.post("/api/chat", json={"model": "tiny", "messages": []})
        assert [asked for _, asked in refused] == [None] * 4
        for path, body in (
            ("/v1/completions", {"model": "tiny", "prompt": "x"}),
            ("/v1/chat/completions", chat),
            ("/api/generate", {"model": "tiny", "prompt": "x"}),
            ("/api/chat", chat),
        ):
            assert (await client.post(path, json=body, headers=hasty)).status_code == 503
            assert refused[-1] == ("UnavailableError", Objectives(ttft_seconds=0.25)), path


async def test_ready_tells_the_state(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    assert (await client.get("/ready")).json()["state"] == "ready"
    for state in set(BackendState) - {BackendState.READY}:
        backend.state = state
        answer = await client.get("/ready")
        assert (answer.status_code, answer.json()["state"], answer.headers["retry-after"]) == (503, state.value, "1")
        assert (await client.get("/live")).status_code == 200


async def test_metrics_are_passed_on(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert answer.text == "up 1\n"
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
