"""HTTP/1.1 on a socket: uvicorn's protocol with the limits it lacks.

A request's head has a cap in bytes, a whole request a time in which to arrive, and a client that stops reading is cut
off once nothing has moved for the keep-alive time. Parsing and the ASGI exchange stay uvicorn's.
"""

import asyncio
import collections
from collections.abc import Callable
from typing import Any, cast

import httptools
from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tidemill.api.errors import BadHttpError, error_body
from tidemill.config.settings import ServerSettings

Refused = Callable[[BadHttpError, int, Scope | None, str | None], str]
"""Told a refusal: the error, its status, the scope of a request that the application serves, and the client's address;
gives the request id for the answer."""

_LINGER_SECONDS = 1.0


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self, settings: ServerSettings, refused: Refused, config: Config, server_state: ServerState, **rest: Any
    ) -> None:
        super().__init__(config, server_state, **rest)
        self.url = b""
        self._limits = settings
        self._refused = refused
        self._in_head = True
        self._head_bytes = 0
        self._in_request = False
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._is_refused = False
        self._is_resuming = False
        self._unanswered: collections.deque[RequestResponseCycle] = collections.deque()

    # -- the connection ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected: its first request has until the deadline."""
        super().connection_made(transport)
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_deadline()
        self._stop_stall()
        # uvicorn tells only the last request of a pipeline.
        self._disconnect_all()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, the head of a request never beyond its cap."""
        if self._is_refused:
            return
        while data and not (self._is_refused or self.transport.is_closing()):
            size = len(data)
            if self._in_head:
                size = min(size, self._limits.max_header_bytes - self._head_bytes)
                if size == 0:
                    self._refuse(431, f"The request's head is over {self._limits.max_header_bytes} bytes.")
                    return
                self._head_bytes += size
            piece, data = data[:size], data[size:]
            self._parse(piece)
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if self._deadline is None and (self._in_request or not is_answering):
            self._start_deadline()

    def _parse(self, piece: bytes) -> None:
        self._unset_keepalive_if_required()
        while piece:
            try:
                self.parser.feed_data(piece)
                return
            except httptools.HttpParserUpgrade as stop:
                piece = piece[stop.args[0] :]
                self._decline_upgrade()
            except httptools.HttpParserError:
                self.send_400_response("")
                return

    def _decline_upgrade(self) -> None:
        """Go on in HTTP/1.1 with a request that offered another protocol, as some clients do with every first one.

        The parser takes what follows such a head for that protocol, so a new one takes over from the head's end on.
        """
        framing = [(name, value) for name, value in self.headers if name in (b"content-length", b"transfer-encoding")]
        self.parser = httptools.HttpRequestParser(self)
        self._is_resuming = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + b"".join(b"%s: %s\r\n" % line for line in framing) + b"\r\n")
        self._is_resuming = False

    # -- parser callbacks ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request has begun."""
        if self._is_resuming:
            return
        if not self._in_head:
            # The rest of this piece of data is not counted: where in it the head began is not known.
            self._head_bytes = 0
        self._in_head = True
        self._in_request = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A request's head is complete: the application starts."""
        if self._is_resuming:
            return
        self._in_head = False
        super().on_headers_complete()
        self._answering()
        self._unanswered.append(self.cycle)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line. After the head it is a trailer, of which none means anything here, and none is kept."""
        if self._in_head:
            super().on_header(name, value)

    def on_url(self, url: bytes) -> None:
        """The target of the request line, or a part of it."""
        if not self._is_resuming:
            super().on_url(url)

    def on_message_complete(self) -> None:
        """A request is complete, unless the parser only thinks so because what follows is of another protocol."""
        if self.parser.should_upgrade():
            return
        self._in_request = False
        self._head_bytes = 0
        self._stop_deadline()
        super().on_message_complete()

    # -- limits --------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The client does not read: it has the keep-alive time to go on."""
        super().pause_writing()
        self._stop_stall()
        self._stall = self.loop.call_later(self._limits.keep_alive_seconds, self._on_stall)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._stop_stall()
        super().resume_writing()

    def _on_stall(self) -> None:
        self._stall = None
        self.transport.abort()

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _start_deadline(self) -> None:
        self._deadline = self.loop.call_later(self._limits.header_timeout_seconds, self._on_deadline)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self) -> None:
        self._deadline = None
        if self._in_request and not self._is_refused:
            seconds = self._limits.header_timeout_seconds
            self._refuse(408, f"The request did not arrive within {seconds:g} seconds.")
        elif not self.transport.is_closing():
            self.transport.close()

    def send_400_response(self, _: str) -> None:
        """What was sent is not HTTP."""
        self._refuse(400, "What was sent is not an HTTP/1.1 request.")

    def _answering(self) -> RequestResponseCycle | None:
        """The exchange whose answer is due: of requests sent in a row, the first that is not complete."""
        while self._unanswered and self._unanswered[0].response_complete:
            self._unanswered.popleft()
        return self._unanswered[0] if self._unanswered else None

    def _disconnect_all(self) -> None:
        for cycle in self._unanswered:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def _refuse(self, status: int, message: str) -> None:
        """Answer below the application, and end the connection; if an answer is under way, only end it."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        arriving = self.cycle if self._in_request and not self._in_head else None
        if arriving is not None and arriving.response_complete:
            # It has its answer, and does without the rest of its body.
            self.transport.close()
            return
        cycle = self._answering()
        error = BadHttpError(message)
        scope = cast(Scope, arriving.scope) if arriving is not None and arriving is cycle else None
        request_id = self._refused(error, status, scope, self.client[0] if self.client else None)
        if cycle is not None and (cycle.response_started or len(self._unanswered) > 1):
            self.transport.abort()
            return
        # The application waits for the rest of the body: it is told that the client is gone.
        self._disconnect_all()
        body = error_body(error, self.url.decode("latin-1"))
        head = (
            STATUS_LINE[status] + b"content-type: application/json\r\nconnection: close\r\n"
            b"x-request-id: " + request_id.encode() + b"\r\n"
            b"content-length: " + str(len(body)).encode() + b"\r\n\r\n"
        )
        self.transport.write(head + body)
        # Closing over unread data resets the connection, and the client would lose the answer: what it still sends is
        # thrown away for a moment.
        self.transport.write_eof()
        self._stop_deadline()
        self._deadline = self.loop.call_later(_LINGER_SECONDS, self.transport.close)


def protocol_class(settings: ServerSettings, refused: Refused) -> type[asyncio.Protocol]:
    """A protocol for uvicorn's `http` option that knows `settings`, and tells `refused` whom it turned away."""

    class Bound(GuardedProtocol):
        def __init__(self, config: Config, server_state: ServerState, **rest: Any) -> None:
            super().__init__(settings, refused, config, server_state, **rest)

    return cast(type[asyncio.Protocol], Bound)
