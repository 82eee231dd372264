"""A lean HTTP/1.1 client: asyncio protocols over httptools, kept alive. Owns connections and bytes, knows no dialect.

Load is measured in what the client leaves of the machine: a general client costs several times as much a token.
"""

import asyncio
import ssl
from typing import Protocol, cast

import httptools

from tidemill.bench.address import Address
from tidemill.bench.exchange_failures import ExchangeFailedError, FailureKind
from tidemill.core.clock import Clock

MAX_HEADER_BYTES = 64 * 1024
CONNECT_SECONDS = 10.0


class Receiver(Protocol):
    """What takes an answer as it comes."""

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """Status and headers, names in lower case."""
        ...

    def body(self, now: float, data: bytes) -> None:
        """A piece of the body, and when it was read. Raises `ExchangeFailedError` to give up."""
        ...


class _Connection(asyncio.Protocol):
    """One connection, with at most one exchange on it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._receiver: Receiver | None = None
        self._done: asyncio.Future[None] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._num_header_bytes = 0
        self._ends_with_connection = False
        """Whether the answer has neither a length nor chunks, so that its end is the connection's (RFC 9112, 6.3)."""
        self.is_reusable = False
        self.is_lost = False
        self.has_answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has no such base class

    def data_received(self, data: bytes) -> None:
        self._now = self._clock()
        if self._parser is None or self._done is None or self._done.done():
            self.close()  # nobody asked for this
            return
        self.has_answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, ExchangeFailedError) else error)
        except httptools.HttpParserError as error:
            self._fail(ExchangeFailedError(FailureKind.PROTOCOL, f"The answer is not HTTP: {error}."))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost, self.is_reusable = True, False
        if self._done is not None and not self._done.done():
            if exc is None and self._ends_with_connection:
                self._done.set_result(None)
                return
            why = f": {exc}" if exc else ""
            self._fail(ExchangeFailedError(FailureKind.DISCONNECT, f"The connection ended amid an answer{why}."))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value
        self._num_header_bytes += len(name) + len(value)
        if self._num_header_bytes > MAX_HEADER_BYTES:
            raise ExchangeFailedError(FailureKind.PROTOCOL, f"The answer's headers are over {MAX_HEADER_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        assert self._receiver is not None
        self._ends_with_connection = not {b"content-length", b"transfer-encoding"} & self._headers.keys()
        self._receiver.head(self._parser.get_status_code(), self._headers)

    def on_body(self, body: bytes) -> None:
        assert self._receiver is not None
        self._receiver.body(self._now, body)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        self.is_reusable = self._parser.should_keep_alive() and not self.is_lost
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def exchange(self, request: bytes, receiver: Receiver) -> None:
        """Send a request and wait until its answer is complete."""
        assert self._transport is not None
        self._parser, self._receiver, self._headers = httptools.HttpResponseParser(self), receiver, {}
        self._num_header_bytes, self._ends_with_connection = 0, False
        self._done = asyncio.get_running_loop().create_future()
        self.is_reusable = self.has_answered = False
        self._transport.write(request)
        await self._done

    def close(self) -> None:
        """Drop the connection at once."""
        self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)
        self.close()


class HttpClient:
    """Exchanges with one server. As many connections as exchanges under way; the caller bounds those."""

    def __init__(
        self, address: Address, headers: dict[str, str], clock: Clock, *, connect_seconds: float = CONNECT_SECONDS
    ) -> None:
        lines = {"Host": address.host_header, "User-Agent": "tidemill-bench", **headers}
        self._address = address
        self._common = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode()
        self._clock = clock
        self._tls = ssl.create_default_context() if address.is_tls else None
        self._connect_seconds = connect_seconds
        self._idle: list[_Connection] = []

    async def exchange(
        self, method: str, path: str, body: bytes | None, receiver: Receiver, *, timeout_seconds: float
    ) -> None:
        """One request and its whole answer, given to `receiver`. Nothing is tried twice, but for one case: a kept
        connection that the server had given up (some do after a stream, without saying so) before it answered a byte.

        Raises `ExchangeFailedError`: connect, disconnect, timeout, protocol, or what the receiver raised.
        """
        request = f"{method} {self._address.base_path}{path} HTTP/1.1\r\n".encode() + self._common
        if body is not None:
            request += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        else:
            request += b"\r\n"
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(timeout_seconds):
                connection = self._take_idle()
                if connection is None or await self._is_given_up(connection, request, receiver):
                    connection = await self._connect()
                    await connection.exchange(request, receiver)
        except TimeoutError as error:
            raise ExchangeFailedError(
                FailureKind.TIMEOUT, f"There was no complete answer within {timeout_seconds:g} s."
            ) from error
        finally:
            if connection is not None:
                self._give_back(connection)

    def close(self) -> None:
        """Drop all idle connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _is_given_up(self, connection: _Connection, request: bytes, receiver: Receiver) -> bool:
        """Try an exchange on a kept connection; whether the server had dropped it and never saw the request."""
        try:
            await connection.exchange(request, receiver)
        except ExchangeFailedError as error:
            if error.kind == FailureKind.DISCONNECT and not connection.has_answered:
                return True
            raise
        return False

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable:
                return connection
        return None

    def _give_back(self, connection: _Connection) -> None:
        if connection.is_reusable:
            self._idle.append(connection)
        else:
            connection.close()

    async def _connect(self) -> _Connection:
        where = f"{self._address.host}:{self._address.port}"
        try:
            # TLS with a server that does not speak it may wait for ever; the outer timeout is for answers.
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(self._clock), self._address.host, self._address.port, ssl=self._tls
                )
        except TimeoutError as error:
            raise ExchangeFailedError(
                FailureKind.CONNECT, f"Cannot connect to {where} within {self._connect_seconds:g} s."
            ) from error
        except OSError as error:
            raise ExchangeFailedError(FailureKind.CONNECT, f"Cannot connect to {where}: {error}.") from error
        return connection
