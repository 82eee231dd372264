"""What happens on the socket: caps below HTTP, clients that leave, clients that do not read."""

import asyncio
import contextlib
import json
import logging
import socket

import httpx
import pytest
import uvloop

from tests.api.conftest import Serve
from tests.fakes.backend import FakeBackend
from tests.fakes.serving import Serving


@pytest.fixture(
    scope="module", params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"]
)
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\n"


def request(**changes: object) -> bytes:
    body = json.dumps({"model": "tiny", "prompt": "x", **changes}).encode()
    return HEAD + b"content-length: %d\r\n\r\n" % len(body) + body


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_a_head_beyond_its_cap_is_431(serve: Serve) -> None:
    async with serve(max_header_bytes=2048) as server:
        many = b"".join(b"x-%d: y\r\n" % i for i in range(1000))
        for block in (b"x: " + b"y" * 5000 + b"\r\n", many, b"x: " + b"y" * 3_000_000):
            answer = await server.raw(HEAD + block + b"\r\n")
            assert status_of(answer) == 431
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_http_request"
        long_line = await server.raw(b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert status_of(long_line) == 431


async def test_a_head_below_its_cap_with_a_body_beyond_it_is_served(serve: Serve) -> None:
    async with serve(max_header_bytes=1024) as server:
        close = b"POST /v1/completions HTTP/1.1\r\nconnection: close\r\nhost: localhost\r\n"
        body = json.dumps({"model": "tiny", "prompt": "x", "user": "u" * 100_000}).encode()
        answer = await server.raw(close + b"content-length: %d\r\n\r\n" % len(body) + body)
        assert status_of(answer) == 200


async def test_a_chunked_body_beyond_its_cap_is_413(serve: Serve) -> None:
    async with serve(max_body_bytes=4096) as server:
        chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
        for chunks in (chunk * 3 + b"0\r\n\r\n", chunk * 10):
            answer = await server.raw(HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks)
            assert status_of(answer) == 413
        for declared in (b"5000\r\nexpect: 100-continue", b"99999999999999999999999"):
            answer = await server.raw(HEAD + b"content-length: " + declared + b"\r\n\r\n")
            assert status_of(answer) in (400, 413)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n",
        b"GET / HT",
        b"\r\n",
        HEAD + b"content-length: 100\r\n\r\nxx",
    ],
)
async def test_a_request_that_does_not_arrive_in_time_is_given_up(
    serve: Serve, backend: FakeBackend, sent: bytes
) -> None:
    async with serve(header_timeout_seconds=0.1) as server:
        answer = await server.raw(sent)
        assert answer == b"" or status_of(answer) == 408
    assert backend.requests == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HELLO\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x80 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_not_http_is_400(serve: Serve, backend: FakeBackend, garbage: bytes) -> None:
    async with serve() as server:
        assert status_of(await server.raw(garbage)) == 400
    assert backend.requests == []


async def test_a_client_that_leaves_closes_its_generator(serve: Serve, backend: FakeBackend) -> None:
    gate = asyncio.Event()
    backend.gate = lambda position: asyncio.ensure_future(gate.wait() if position == 2 else asyncio.sleep(0))
    async with serve() as server:
        for stream in (True, False):
            backend.started.clear()
            backend.closed.clear()
            _, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(request(stream=stream))
            await backend.started.wait()
            writer.close()
            await asyncio.wait_for(backend.closed.wait(), 5)
        assert backend.num_closed == backend.num_started == 2


async def test_a_client_that_leaves_before_it_is_accepted_closes_its_generator(
    serve: Serve, backend: FakeBackend
) -> None:
    backend.wait_before_accepting = asyncio.Event()
    async with serve() as server:
        _, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(request(stream=True))
        await backend.started.wait()
        writer.close()
        await asyncio.wait_for(backend.closed.wait(), 5)
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.get("/live")).status_code == 200


async def test_a_client_that_does_not_read_stops_the_pull_and_is_cut_off(serve: Serve, backend: FakeBackend) -> None:
    backend.words = ["x" * 1000] * 20_000
    async with serve(keep_alive_seconds=0.3) as server:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(0.0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (server.host, server.port))
        await loop.sock_sendall(sock, request(stream=True))
        await asyncio.wait_for(backend.closed.wait(), 10)
        # What the kernel and the server hold between them is far from the 20 MB there are.
        assert backend.num_deltas < 8_000
        sock.close()


async def test_headers_go_out_before_the_first_token(serve: Serve, backend: FakeBackend) -> None:
    gate = asyncio.Event()
    backend.gate = lambda position: asyncio.ensure_future(gate.wait())
    async with (
        serve() as server,
        httpx.AsyncClient(base_url=server.url) as client,
        client.stream(
            "POST",
            "/v1/chat/completions",
            json={"model": "tiny", "messages": [{"role": "user", "content": "x"}], "stream": True},
        ) as answer,
    ):
        lines = answer.aiter_lines()
        assert '"role":"assistant"' in await anext(lines)
        gate.set()
        assert [line async for line in lines if line][-1] == "data: [DONE]"


async def test_a_connection_is_kept_and_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    async with serve() as server:
        two = b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n" + request(max_tokens=1)
        last = b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        answer = await server.raw(two + last)
        assert answer.count(b"HTTP/1.1 200 OK") == 3
        assert answer.index(b"alive") < answer.index(b"text_completion") < answer.index(b'"ready":true')


async def test_two_hundred_streams_cut_at_random_leave_nothing(serve: Serve, backend: FakeBackend) -> None:
    import random

    dice = random.Random(3)
    backend.words = ["word "] * 50
    backend.gate = lambda _: asyncio.ensure_future(asyncio.sleep(0))

    async def cut(url: str, client: httpx.AsyncClient) -> None:
        body = {"model": "tiny", "prompt": "x", "stream": True}
        async with client.stream("POST", f"{url}/v1/completions", json=body) as answer:
            count = dice.randrange(20)
            with contextlib.suppress(StopAsyncIteration):
                lines = answer.aiter_lines()
                for _ in range(count):
                    await anext(lines)

    async with serve() as server:
        async with httpx.AsyncClient() as client:
            for _ in range(10):
                await asyncio.gather(*(cut(server.url, client) for _ in range(20)))
        while backend.num_closed < 200:
            backend.closed.clear()
            await asyncio.wait_for(backend.closed.wait(), 5)
    assert backend.num_started == backend.num_closed == 200


async def test_an_offer_to_upgrade_is_answered_as_if_it_were_not_there(serve: Serve) -> None:
    async with serve() as server:
        upgrade = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
        answer = await server.raw(b"GET /live HTTP/1.0\r\nhost: localhost\r\n" + upgrade + b"\r\n")
        assert status_of(answer) == 200
        websocket = (
            b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\nsec-websocket-version: 13\r\n"
        )
        answer = await server.raw(b"GET /live HTTP/1.0\r\nhost: localhost\r\n" + websocket + b"\r\n")
        assert status_of(answer) == 200


async def test_five_hundred_slow_clients_do_not_keep_a_probe_waiting(serve: Serve) -> None:
    async with serve() as server:
        opened = await asyncio.gather(*(asyncio.open_connection(server.host, server.port) for _ in range(500)))
        for index, (_, writer) in enumerate(opened):
            writer.write([b"", b"GET / HT", HEAD, HEAD + b"content-length: 9\r\n\r\nx"][index % 4])
        async with httpx.AsyncClient(base_url=server.url, timeout=5) as client:
            for _ in range(20):
                assert (await client.get("/live")).status_code == 200
        for _, writer in opened:
            writer.close()


async def test_a_request_that_offers_another_protocol_is_served_in_this_one(serve: Serve) -> None:
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
    body = json.dumps({"model": "tiny", "prompt": "x"}).encode()
    with_length = HEAD + offer + b"content-length: %d\r\n\r\n" % len(body) + body
    chunked = HEAD + offer + b"transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    bare = b"GET /live HTTP/1.1\r\nhost: localhost\r\n" + offer + b"\r\n"
    last = b"GET /live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    async with serve() as server:
        for first in (with_length, chunked, bare):
            answer = await server.raw(first + last)
            assert answer.count(b"HTTP/1.1 200 OK") == 2, answer


async def test_trailers_are_dropped_as_they_come(serve: Serve) -> None:
    body = json.dumps({"model": "tiny", "prompt": "x"}).encode()
    chunked = b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n" % (len(body), body)
    async with serve(max_header_bytes=1024) as server:
        answer = await server.raw(HEAD + chunked + b"content-encoding: gzip\r\n" * 10_000 + b"\r\n")
        assert status_of(answer) == 200


async def test_nonsense_behind_a_request_never_lands_in_its_answer(serve: Serve, backend: FakeBackend) -> None:
    gate = asyncio.Event()
    backend.gate = lambda position: asyncio.ensure_future(gate.wait() if position == 2 else asyncio.sleep(0))
    async with serve() as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(request(stream=True) + HEAD + b"content-length: 9\r\n\r\n{")
        await reader.readuntil(b"data: ")
        writer.write(b"}        nonsense\r\n\r\n")
        gate.set()
        # The answer may go on to its end, or be cut off; what it may not hold is another answer.
        rest = b""
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                rest += piece
        assert b"400 Bad Request" not in rest.partition(b"data: [DONE]")[0]
        writer.close()


async def test_every_request_of_a_pipeline_learns_that_its_client_has_left(
    serve: Serve, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    gate = asyncio.Event()
    backend.words = ["x" * 100_000] * 100
    backend.gate = lambda position: asyncio.ensure_future(gate.wait() if position == 2 else asyncio.sleep(0))
    async with serve() as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(request(stream=True) + b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        await reader.readuntil(b"data: ")
        writer.close()
        gate.set()
        await asyncio.wait_for(backend.closed.wait(), 5)
    assert backend.num_deltas < len(backend.words)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


LATE = HEAD + b"x-request-id: mine-1\r\ncontent-length: 100\r\n\r\nxx"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (LATE, 408),
        (b"GET / HT", 408),
        (b"HELLO\r\n\r\n", 400),
        (LATE.replace(b"content-length: 100", b"transfer-encoding: chunked"), 400),
        (HEAD + b"x: " + b"y" * 5000 + b"\r\n\r\n", 431),
    ],
)
async def test_a_refusal_below_the_application_has_an_id_one_log_line_and_one_count(
    serve: Serve, caplog: pytest.LogCaptureFixture, sent: bytes, status: int
) -> None:
    refused: list[str] = []
    with caplog.at_level(logging.DEBUG, "tidemill.access"):
        async with serve(
            on_refusal=lambda error, _: refused.append(error), header_timeout_seconds=0.1, max_header_bytes=2048
        ) as server:
            head, _, body = (await server.raw(sent)).partition(b"\r\n\r\n")
    assert status_of(head) == status
    assert json.loads(body)["error"]["code"] == "bad_http_request"
    (request_id,) = [line[14:].decode() for line in head.split(b"\r\n") if line.startswith(b"x-request-id: ")]
    assert request_id
    (record,) = (r for r in caplog.records if r.name == "tidemill.access")
    fields = vars(record)["fields"]
    assert (fields["status"], fields["error"], fields["request_id"]) == (status, "BadHttpError", request_id)
    assert "disconnected" not in fields
    if b"mine-1" in sent:
        assert request_id == "mine-1"
        assert fields["path"] == "/v1/completions"
    assert refused == ["BadHttpError"]


async def test_a_refusal_below_the_application_has_the_form_of_the_route(serve: Serve) -> None:
    async with serve(max_header_bytes=2048) as server:
        for head in (b"x: " + b"y" * 5000, b"transfer-encoding: chunked\r\n\r\nxx", b"no colon"):
            answer = await server.raw(b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\n" + head + b"\r\n\r\n")
            assert status_of(answer) in (400, 431)
            assert isinstance(json.loads(answer.partition(b"\r\n\r\n")[2])["error"], str)


async def test_two_hosts_are_one_too_many(serve: Serve) -> None:
    async with serve() as server:
        for second in (b"localhost", b"evil.example"):
            answer = await server.raw(
                b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nhost: " + second + b"\r\n\r\n"
            )
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"'Host' is there 2 times" in answer


async def test_a_host_is_asked_for_in_the_version_that_has_one(serve: Serve) -> None:
    async with serve() as server:
        answer = await server.raw(b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n")
        assert status_of(answer) == 400
        assert b"'Host' is there 0 times" in answer
        assert status_of(await server.raw(b"GET /v1/models HTTP/1.0\r\n\r\n")) == 200


async def test_a_request_that_has_its_answer_gets_no_second_one(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    refused: list[str] = []
    late = LATE.replace(b"/v1/completions", b"/nope")
    with caplog.at_level(logging.DEBUG, "tidemill.access"):
        async with serve(on_refusal=lambda error, _: refused.append(error), header_timeout_seconds=0.1) as server:
            answer = await server.raw(late)
    assert status_of(answer) == 404
    assert answer.count(b"HTTP/1.1") == 1
    assert len([r for r in caplog.records if r.name == "tidemill.access"]) == 1
    assert refused == ["RouteNotFoundError"]


async def test_a_refused_request_behind_one_under_way_has_a_line_of_its_own(
    serve: Serve, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.gate = lambda _: asyncio.ensure_future(asyncio.Event().wait())
    with caplog.at_level(logging.DEBUG, "tidemill.access"):
        async with serve(header_timeout_seconds=0.1) as server:
            await _until_cut(server, request(stream=True) + LATE)
    statuses = sorted(vars(r)["fields"]["status"] for r in caplog.records if r.name == "tidemill.access")
    assert statuses == [408, 499]


async def _until_cut(server: Serving, sent: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        await server.raw(sent)
