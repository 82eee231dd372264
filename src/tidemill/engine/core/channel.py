"""The engine's end of the socket: frames in and out, blocking. Two threads write (loop and heartbeat), one reads."""

import select
import socket
import threading
from collections.abc import Sequence as Seq

from tidemill.engine.protocol import FrameReader, FromEngine, ToEngine, encode_frame

_READ_BYTES = 1024 * 1024


class PeerGoneError(Exception):
    """The client closed its end, or died: there is nobody left to work for."""


class SocketChannel:
    """A connected stream socket.

    Sending blocks without limit when the client does not read: the kernel's buffer is the only queue, and a client that
    is stopped stops its engine. A client that is gone ends a blocked send at once.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(None)
        self._sock = sock
        self._lock = threading.Lock()
        self._frames: FrameReader[ToEngine] = FrameReader(ToEngine)

    def send(self, frame: FromEngine) -> None:
        """Send a whole frame. Raises `PeerGoneError`."""
        data = encode_frame(frame)
        with self._lock:
            try:
                self._sock.sendall(data)
            except OSError as error:
                raise PeerGoneError(str(error)) from error

    def receive(self, timeout_seconds: float | None) -> Seq[ToEngine]:
        """The frames that are there; if there are none, those that come within the timeout (None: however long).

        Raises `PeerGoneError` at the end of the stream and `FrameError` on bytes that are not ours.
        """
        frames: list[ToEngine] = []
        while True:
            if not self._is_readable(0.0 if frames else timeout_seconds):
                return frames
            try:
                data = self._sock.recv(_READ_BYTES)
            except OSError as error:
                raise PeerGoneError(str(error)) from error
            if not data:
                raise PeerGoneError("end of stream")
            frames.extend(self._frames.feed(data))

    def _is_readable(self, timeout_seconds: float | None) -> bool:
        # poll, not select: a descriptor may be over 1023 in a process with many files.
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(None if timeout_seconds is None else timeout_seconds * 1000.0))
