"""Whether a request may come from where it says: a guard against web pages that drive a server on loopback.

A page of any site can send requests to 127.0.0.1, or rebind its own name to it (DNS rebinding). While the server is
bound to loopback, the Host header must name loopback, and an Origin, which only browsers send, must too.
"""

import ipaddress
from urllib.parse import urlsplit

from tidemill.core.errors import ForbiddenError


def is_loopback(host: str) -> bool:
    """Whether `host` is a name or an address of this machine's loopback."""
    name = host.strip().lower().removeprefix("[").removesuffix("]").rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    except ValueError:
        return False


class OriginGuard:
    """Refuses foreign Host and Origin headers while bound to loopback; beyond it the API key is the guard."""

    def __init__(self, bound_host: str) -> None:
        self._active = is_loopback(bound_host)

    def check(self, host: str | None, origin: str | None) -> None:
        """Raises `ForbiddenError` for a host name or an origin that is not loopback."""
        if not self._active:
            return
        if host is not None and not is_loopback(_host_name(f"//{host}")):
            raise ForbiddenError(
                "This server is bound to loopback and answers only under a loopback name.",
                param="Host",
                next_step="Use localhost or 127.0.0.1.",
            )
        if origin is not None and not is_loopback(_host_name(origin)):
            raise ForbiddenError("Web pages of other sites may not call this server.", param="Origin")


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
