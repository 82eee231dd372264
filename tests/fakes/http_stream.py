"""A client close enough to the wire to misbehave: reads a stream event by event, slowly, or cuts it in the middle."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any


def _request(port: int, path: str, body: dict[str, Any]) -> bytes:
    payload = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n".encode() + payload


async def sip(port: int, path: str, body: dict[str, Any], seconds: float, begun: asyncio.Semaphore) -> None:
    """Send `body` and take the answer a byte at a time, without a buffer; `begun` is released at the first."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, _request(port, path, body))
        await loop.sock_recv(sock, 1)
        begun.release()
        with contextlib.suppress(ConnectionError):
            while await loop.sock_recv(sock, 1):
                await asyncio.sleep(seconds)


class HttpStream:
    """One POST and its streamed answer over a socket of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int) -> None:
        self.reader, self.writer, self.status = reader, writer, status

    @classmethod
    async def post(cls, port: int, path: str, body: dict[str, Any]) -> "HttpStream":
        """Send `body` and read the head of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_request(port, path, body))
        await writer.drain()
        answer = await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer, int(answer.split(None, 2)[1]))

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The server-sent events until [DONE] or the end of the connection."""
        while line := await self.reader.readline():
            if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
                yield json.loads(line[6:])

    async def text(self) -> str:
        """All the text of a stream of completions; an error event fails."""
        pieces = []
        async for event in self.events():
            assert "error" not in event, event
            pieces += [choice["text"] for choice in event["choices"]]
        return "".join(pieces)

    async def cut(self) -> None:
        """Drop the connection without a word."""
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
