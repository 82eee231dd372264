"""A server with OpenAI's interface whose every answer is scripted: pieces, refusals, and bytes that are wrong.

Speaks HTTP by hand over a socket, so that it can also break off, or say what no server should.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

EVENT_STREAM = {"Content-Type": "text/event-stream"}


@dataclass
class Call:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Reply:
    """Writes one answer."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.is_open = True

    async def document(self, status: int, document: object, **headers: str) -> None:
        """A whole JSON answer."""
        payload = document if isinstance(document, bytes) else json.dumps(document).encode()
        lines = {"Content-Type": "application/json", "Content-Length": str(len(payload)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._writer.write(f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode() + payload)
        await self._writer.drain()

    async def begin_stream(self, content_type: str = "text/event-stream") -> None:
        """The head of a chunked stream."""
        self._writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        await self._writer.drain()

    async def raw(self, data: bytes) -> None:
        """One chunk of the stream."""
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writer.drain()

    async def event(self, document: object) -> None:
        """One event."""
        await self.raw(b"data: " + json.dumps(document).encode() + b"\n\n")

    async def end_stream(self) -> None:
        """The end mark, and the end of the chunks."""
        await self.raw(b"data: [DONE]\n\n")
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def until_closed(self, *events: object) -> None:
        """A whole stream that ends with the connection: neither length nor chunks."""
        self._writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        for event in events:
            self._writer.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self._writer.write(b"data: [DONE]\n\n")
        await self._writer.drain()
        self.is_open = False

    def cut(self) -> None:
        """Drop the connection."""
        self.is_open = False
        self._writer.transport.abort()


Answer = Callable[[Call, Reply], Awaitable[None]]


def count_tokens(prompt: str) -> int:
    """The script's tokenizer: three tokens for two words, and one for the beginning."""
    return 1 + -(-3 * len(prompt.split()) // 2)


async def complete(call: Call, reply: Reply) -> None:
    """A completion of `max_tokens` pieces, at once; or a whole document if no stream is asked for."""
    usage = {"prompt_tokens": count_tokens(call.body["prompt"]), "completion_tokens": call.body["max_tokens"]}
    if not call.body.get("stream"):
        await reply.document(200, {"choices": [{"text": "a"}], "usage": usage})
        return
    await reply.begin_stream()
    for number in range(call.body["max_tokens"]):
        is_last = number == call.body["max_tokens"] - 1
        await reply.event({"choices": [{"text": " a", "finish_reason": "length" if is_last else None}]})
    await reply.event({"choices": [], "usage": usage})
    await reply.end_stream()


@dataclass
class ScriptedServer:
    """Answers `/v1/models` from `models` and everything else by `answer`. `calls` has all that came."""

    answer: Answer = complete
    models: object = field(default_factory=lambda: {"data": [{"id": "fake", "max_model_len": 4096}]})
    models_status: int = 200
    calls: list[Call] = field(default_factory=list)
    num_connections: int = 0
    url: str = ""
    _tasks: "set[asyncio.Task[object]]" = field(default_factory=set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        reply = Reply(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while reply.is_open:
                call = await _read(reader)
                self.calls.append(call)
                if call.path.endswith("/v1/models"):
                    await reply.document(self.models_status, self.models, Server="scripted")
                else:
                    await self.answer(call, reply)
        writer.close()
        self._tasks.discard(task)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["ScriptedServer"]:
        """Listen on a free port of loopback."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks)


async def _read(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Call(method, path, headers, json.loads(body) if body else {})
