"""uvicorn without its signal handling and logging: it serves an application on a socket until it is told to stop."""

import contextlib
import math
import socket
from collections.abc import Generator

import uvicorn

from tidemill.api.edge import Edge
from tidemill.api.protocol import protocol_class
from tidemill.config.settings import ServerSettings

_GOODBYE_SECONDS = 5
"""Time for answers that are complete to reach their clients, once nothing new is taken."""


class HttpServer(uvicorn.Server):
    """One server on one socket."""

    def __init__(self, app: Edge, settings: ServerSettings, sock: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol_class(settings, app.refused_below),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=math.ceil(settings.keep_alive_seconds),
                timeout_graceful_shutdown=_GOODBYE_SECONDS,
            )
        )
        self._sock = sock

    async def run_until_stopped(self) -> None:
        """Serve until `stop`; then let answers under way reach their clients."""
        await self.serve(sockets=[self._sock])

    def stop(self, *, at_once: bool = False) -> None:
        """Take no more connections, and end; `at_once` without waiting for answers under way."""
        self.should_exit = True
        self.force_exit = self.force_exit or at_once

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Nothing: signals are the service's."""
        yield
