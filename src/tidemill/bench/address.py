"""Where a server is: its URL taken apart, once."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from tidemill.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Address:
    """A server's host and port, whether it speaks TLS, and the path before `/v1`."""

    host: str
    port: int
    is_tls: bool
    base_path: str

    @property
    def host_header(self) -> str:
        """The value of the header `Host`."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == (443 if self.is_tls else 80) else f"{name}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine, so that client and server share its cores."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")


def parse_address(url: str) -> Address:
    """`http://host:port`, with or without a path and `/v1`. Raises `ConfigurationError`."""
    text = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.username or not text.isascii():
        raise ConfigurationError(f"'{url}' is not the URL of a server.", next_step="Try: http://127.0.0.1:8000")
    is_tls = parts.scheme == "https"
    base_path = parts.path.rstrip("/").removesuffix("/v1")
    if any(char <= " " for char in host + base_path):
        raise ConfigurationError(f"'{url}' has spaces in it.")
    return Address(host, port or (443 if is_tls else 80), is_tls, base_path)
