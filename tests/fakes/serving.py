"""An application on a real socket, in the event loop of the test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tidemill.api.edge import Edge
from tidemill.config.settings import ServerSettings
from tidemill.runtime.binding import bind, url_of
from tidemill.runtime.http_server import HttpServer


@dataclass(frozen=True)
class Serving:
    """Where the server is."""

    url: str
    host: str
    port: int

    async def raw(self, request: bytes) -> bytes:
        """Send bytes, and read until the server closes the connection."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(request)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            return await reader.read()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def serving(app: Edge, settings: ServerSettings) -> AsyncIterator[Serving]:
    """Serve `app` until the block ends."""
    with bind(settings) as sock:
        server = HttpServer(app, settings, sock)
        task = asyncio.create_task(server.run_until_stopped())
        try:
            yield Serving(url_of(sock, settings), *sock.getsockname()[:2])
        finally:
            server.stop()
            await task
