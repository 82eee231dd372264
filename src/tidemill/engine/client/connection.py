"""The client's end of the socket: bytes to frames and back, on the event loop. It knows no frame's meaning."""

import asyncio
import socket
from collections.abc import Callable

from tidemill.engine.protocol import FrameReader, FromEngine, ToEngine, encode_frame

_READ_BYTES = 256 * 1024
MAX_UNSENT_BYTES = 128 * 1024 * 1024


class Connection:
    """One engine's socket.

    Reading: frames are handled one after the other, synchronously; while that happens the kernel's buffer fills and the
    engine waits. Writing: what the engine has not read yet is held here; callers look at `is_congested` before they
    submit more, so it stays under `MAX_UNSENT_BYTES` plus one request.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames: FrameReader[FromEngine] = FrameReader(FromEngine)

    @classmethod
    async def open(cls, sock: socket.socket) -> "Connection":
        """Take over a connected socket."""
        reader, writer = await asyncio.open_connection(sock=sock)
        return cls(reader, writer)

    def send(self, frame: ToEngine) -> None:
        """Queue a frame; a frame for an engine that is gone is dropped, since its death is reported by `read_all`."""
        if not self._writer.is_closing():
            self._writer.write(encode_frame(frame))

    @property
    def is_congested(self) -> bool:
        """Whether the engine has left so much unread that nothing should be added."""
        return self._writer.transport.get_write_buffer_size() > MAX_UNSENT_BYTES

    async def read_all(self, handle: Callable[[FromEngine], None]) -> None:
        """Hand every frame to `handle` until the engine closes its end. Raises `FrameError` on bytes not ours."""
        while True:
            try:
                data = await self._reader.read(_READ_BYTES)
            except ConnectionError:
                return
            if not data:
                return
            for frame in self._frames.feed(data):
                handle(frame)

    def close(self) -> None:
        """Close at once; what was not sent is dropped."""
        self._writer.transport.abort()
