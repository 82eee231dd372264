"""The socket a server listens on, and the rule of who may reach it."""

import errno
import socket

from tidemill.api.keys import ApiKeys
from tidemill.api.origin import is_loopback
from tidemill.config.settings import ServerSettings
from tidemill.core.errors import ConfigurationError

_BACKLOG = 2048


def check_exposure(settings: ServerSettings, keys: ApiKeys) -> None:
    """Raises `ConfigurationError` if the server could be reached from other machines by anybody."""
    if not keys.required and not is_loopback(settings.host):
        raise ConfigurationError(
            f"Binding {settings.host} would let other machines use this server without an API key.",
            next_step="Give it keys with --api-key-file, or bind 127.0.0.1.",
        )


def bind(settings: ServerSettings) -> socket.socket:
    """A listening socket. Raises `ConfigurationError` if the address is taken, unknown or not allowed."""
    where = f"{settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigurationError(f"The host {settings.host} has no address: {error}.") from error
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. Left to itself the system takes in megabytes for a client that does not read.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.max_stream_buffer_bytes)
        sock.bind(address)
        # At once: two sockets may be bound to one address as long as neither listens.
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"Another program listens on {where}.", next_step="Stop it, or choose another port with --port."
            ) from error
        raise ConfigurationError(f"{where} cannot be bound: {error.strerror}.") from error
    sock.settimeout(0.0)
    return sock


def url_of(sock: socket.socket, settings: ServerSettings) -> str:
    """The URL under which a program on this machine reaches `sock`."""
    port = sock.getsockname()[1]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{port}"
