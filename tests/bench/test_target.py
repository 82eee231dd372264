"""Looking at a server, and loading it, over real sockets."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.scripted_server import Call, Reply, ScriptedServer, complete, count_tokens
from tidemill.bench.address import parse_address
from tidemill.bench.dialect import Dialect
from tidemill.bench.http_client import HttpClient
from tidemill.bench.record import RequestRecord
from tidemill.bench.target import Target, TargetFacts
from tidemill.bench.words import VOCABULARY
from tidemill.bench.workload import PlannedRequest
from tidemill.core.clock import monotonic
from tidemill.core.errors import ConfigurationError, TargetError

DIALECT = Dialect("completions", "fake", 0.0, ignores_eos=True)


@contextlib.asynccontextmanager
async def target_of(url: str, *, timeout: float = 30.0, **headers: str) -> AsyncIterator[Target]:
    client = HttpClient(parse_address(url), headers, monotonic)
    yield Target(client, url, timeout_seconds=timeout)
    client.close()


async def look(url: str, model: str | None = None, api: Any = "completions") -> TargetFacts:
    async with target_of(url) as target:
        return await target.look(api, model, 0.0, ignore_eos=True)


async def send_one(server: ScriptedServer, *, timeout: float = 30.0, number: int = 1) -> list[RequestRecord]:
    records = []
    async with server.running(), target_of(server.url, timeout=timeout) as target:
        for index in range(number):
            record = RequestRecord(index, monotonic(), monotonic())
            await target.send(DIALECT, PlannedRequest(index, "some words", 2, 4), record)
            records.append(record)
    return records


async def test_a_server_is_found_out() -> None:
    async with ScriptedServer().running() as server:
        facts = await look(server.url)
    assert facts.dialect == DIALECT
    assert (facts.max_model_len, facts.server, facts.warnings) == (4096, "scripted", ())
    assert facts.calibration.tokens_per_word == pytest.approx(1.5, abs=0.01)
    assert facts.calibration.overhead_tokens == pytest.approx(1.0, abs=1.0)
    for wanted in (40, 200, 1000):
        prompt = " ".join(["word"] * facts.calibration.num_words(wanted))
        assert count_tokens(prompt) == pytest.approx(wanted, abs=2)


async def test_what_a_server_refuses_is_left_out() -> None:
    async def picky(call: Call, reply: Reply) -> None:
        for field in ("ignore_eos", "stream_options"):
            if field in call.body:
                await reply.document(400, {"error": {"message": f"unknown field {field}"}})
                return
        await complete(call, reply)

    async with ScriptedServer(answer=picky).running() as server:
        facts = await look(server.url)
    assert (facts.dialect.ignores_eos, facts.dialect.has_stream_usage) == (False, False)
    assert [warning.split(":")[0] for warning in facts.warnings] == [
        "The server refuses ignore_eos",
        "The server refuses stream_options",
    ]


async def test_a_short_context_is_calibrated_with_fewer_words() -> None:
    async def short(call: Call, reply: Reply) -> None:
        if count_tokens(call.body["prompt"]) > 150:
            await reply.document(400, {"error": {"message": "too long"}})
        else:
            await complete(call, reply)

    async with ScriptedServer(answer=short).running() as server:
        facts = await look(server.url)
        lengths = [len(call.body["prompt"].split()) for call in server.calls if "prompt" in call.body]
    assert facts.calibration.tokens_per_word == pytest.approx(1.5, abs=0.05)
    assert lengths == [1, len(VOCABULARY), len(VOCABULARY) // 4, len(VOCABULARY) // 4 * 2]


async def test_a_server_that_does_not_count_is_said_to() -> None:
    async def silent(call: Call, reply: Reply) -> None:
        if call.body.get("stream"):
            await complete(call, reply)
        else:
            await reply.document(200, {"choices": [{"text": "a"}]})

    async with ScriptedServer(answer=silent).running() as server:
        facts = await look(server.url)
    assert "does not count" in facts.warnings[0]


async def test_the_first_of_several_models_is_taken_and_named() -> None:
    models = {"data": [{"id": "one"}, {"id": "two"}]}
    async with ScriptedServer(models=models).running() as server:
        facts = await look(server.url)
        assert facts.dialect.model == "one"
        assert "2 models" in facts.warnings[0]
        assert (await look(server.url, "two")).warnings == ()


@pytest.mark.parametrize(
    ("status", "models", "message"),
    [
        (401, {"error": {"message": "no key"}}, "refuses access.*no key.*--api-key-file"),
        (403, b"<html>", "refuses access"),
        (404, {"detail": "Not Found"}, "does not speak OpenAI's interface.*Not Found"),
        (503, {"error": {"message": "loading"}}, "loading.*Wait until"),
        (200, b"<html>hello", "does not answer with a JSON object"),
        (200, b"[" * 100_000, "does not answer with a JSON object"),
        (200, {"models": []}, "has no list of models"),
        (200, {"data": [{"id": "tiny\x1b[2J"}]}, "its model's name cannot be shown"),
        (200, {"data": []}, "names no model.*--model"),
    ],
)
async def test_servers_that_cannot_be_used(status: int, models: object, message: str) -> None:
    server = ScriptedServer(models=models, models_status=status)
    async with server.running():
        with pytest.raises(TargetError, match=message):
            await look(server.url)


async def test_nobody_there() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(TargetError, match=r"Cannot connect.*Is the server running"):
            await look(f"http://127.0.0.1:{held.getsockname()[1]}")


async def test_tls_to_a_server_without_it() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    with pytest.raises(TargetError, match=r"Cannot connect.*http or https"):
        await look(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    server.close()


async def test_tls_to_a_server_that_waits() -> None:
    async with ScriptedServer().running() as server:
        address = parse_address(server.url.replace("http:", "https:"))
        target = Target(HttpClient(address, {}, monotonic, connect_seconds=0.05), "it", timeout_seconds=30.0)
        with pytest.raises(TargetError, match=r"Cannot connect to .* within"):
            await target.look("completions", None, 0.0, ignore_eos=True)


async def test_headers_without_an_end() -> None:
    async def endless(call: Call, reply: Reply) -> None:
        await reply.document(200, {}, **{f"X-{number}": "x" * 1000 for number in range(70)})

    records = await send_one(ScriptedServer(answer=endless))
    assert records[0].error == "protocol"
    assert "headers" in records[0].detail


async def test_a_key_is_sent_as_a_bearer() -> None:
    server = ScriptedServer()
    async with server.running(), target_of(f"{server.url}/base/v1/", Authorization="Bearer secret") as target:
        await target.look("completions", None, 0.0, ignore_eos=True)
    assert {call.headers["authorization"] for call in server.calls} == {"Bearer secret"}
    assert [call.path for call in server.calls][:2] == ["/base/v1/models", "/base/v1/completions"]


async def test_a_chat_is_asked_as_a_chat() -> None:
    async def chat(call: Call, reply: Reply) -> None:
        assert call.path == "/v1/chat/completions"
        prompt = call.body["messages"][0]["content"]
        await complete(Call(call.method, call.path, call.headers, {**call.body, "prompt": prompt}), reply)

    async with ScriptedServer(answer=chat).running() as server:
        assert (await look(server.url, api="chat")).dialect.api == "chat"


async def test_answers_follow_each_other_on_one_connection() -> None:
    server = ScriptedServer()
    records = await send_one(server, number=3)
    assert [record.error for record in records] == [None] * 3
    assert [(r.num_prompt_tokens, r.num_output_tokens, len(r.piece_seconds)) for r in records] == [(4, 4, 4)] * 3
    assert server.num_connections == 1
    assert server.calls[0].body["stream_options"] == {"include_usage": True}


async def test_a_kept_connection_that_the_server_gave_up_is_replaced_once() -> None:
    server = ScriptedServer()

    async def drops_the_second(call: Call, reply: Reply) -> None:
        # One connection serves one answer and goes, without saying so, when it is asked for another.
        if server.num_connections == 1 and len(server.calls) == 2:
            reply.cut()
        else:
            await complete(call, reply)

    server.answer = drops_the_second
    records = await send_one(server, number=3)
    assert [record.error for record in records] == [None] * 3
    assert [(r.num_output_tokens, len(r.piece_seconds)) for r in records] == [(4, 4)] * 3
    assert server.num_connections == 2
    assert [call.body["prompt"] for call in server.calls] == ["some words"] * 4


async def test_a_kept_connection_that_breaks_off_amid_the_answer_is_not_replaced() -> None:
    server = ScriptedServer()

    async def breaks_off_the_second(call: Call, reply: Reply) -> None:
        await (breaks_off if len(server.calls) == 2 else complete)(call, reply)

    server.answer = breaks_off_the_second
    records = await send_one(server, number=3)
    assert [record.error for record in records] == [None, "disconnect", None]
    assert len(server.calls) == 3


async def test_a_new_connection_that_is_dropped_is_a_failure() -> None:
    async def drops(call: Call, reply: Reply) -> None:
        reply.cut()

    server = ScriptedServer(answer=drops)
    assert [record.error for record in await send_one(server, number=2)] == ["disconnect"] * 2
    assert len(server.calls) == 2


async def test_an_answer_may_end_with_its_connection() -> None:
    async def closes(call: Call, reply: Reply) -> None:
        usage = {"prompt_tokens": 3, "completion_tokens": 1}
        await reply.until_closed(
            {"choices": [{"text": "a", "finish_reason": "length"}]}, {"choices": [], "usage": usage}
        )

    (record,) = await send_one(ScriptedServer(answer=closes))
    assert (record.error, record.num_output_tokens) == (None, 1)


async def breaks_off(call: Call, reply: Reply) -> None:
    await reply.begin_stream()
    await reply.event({"choices": [{"text": "a"}]})
    reply.cut()


async def hangs(call: Call, reply: Reply) -> None:
    await reply.begin_stream()


async def garbles(call: Call, reply: Reply) -> None:
    await reply.begin_stream()
    await reply.raw(b"data: {nonsense\n\n")


async def refuses(call: Call, reply: Reply) -> None:
    await reply.document(429, {"error": {"message": "full"}})


async def is_a_page(call: Call, reply: Reply) -> None:
    await reply.begin_stream("text/html")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (breaks_off, "disconnect"),
        (hangs, "timeout"),
        (garbles, "protocol"),
        (refuses, "status 429"),
        (is_a_page, "protocol"),
    ],
)
async def test_failures_go_into_the_record(answer: Any, error: str) -> None:
    records = await send_one(ScriptedServer(answer=answer), timeout=0.2 if error == "timeout" else 30.0, number=2)
    assert [record.error for record in records] == [error] * 2
    assert all(record.detail for record in records)


async def test_what_is_not_http() -> None:
    async def nonsense(call: Call, reply: Reply) -> None:
        reply._writer.write(b"SSH-2.0-hello\r\n")

    assert (await send_one(ScriptedServer(answer=nonsense)))[0].error == "protocol"


@pytest.mark.parametrize(
    ("url", "host", "port", "base", "is_loopback"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", 8000, "", True),
        ("localhost:80/v1/", "localhost", 80, "", True),
        ("https://api.example.com/x/v1", "api.example.com", 443, "/x", False),
        ("http://[::1]:9", "::1", 9, "", True),
    ],
)
def test_addresses(url: str, host: str, port: int, base: str, is_loopback: bool) -> None:
    found = parse_address(url)
    assert (found.host, found.port, found.base_path, found.is_loopback) == (host, port, base, is_loopback)


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "http://", "http://x:99999", "http://a b", "http://u:p@x", "http://x/?a"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_address(url)
