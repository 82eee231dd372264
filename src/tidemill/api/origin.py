"""Whether a request may come from where it says: a guard against web pages that drive a server on loopback.

A page of any site can send requests to 127.0.0.1, or rebind its own name to it (DNS rebinding). While the server is
bound to loopback, the Host header must name loopback, and an Origin, which only browsers send, must too.
"""

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from tidemill.core.errors import ForbiddenError, InvalidRequestError


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
    """Refuses foreign Host and Origin headers while bound to loopback; beyond it the API key is the guard.

    Two Host headers, and none in HTTP/1.1, are refused anywhere, as RFC 9112 (3.2) has it: a proxy may have believed
    the other one.
    """

    def __init__(self, bound_host: str) -> None:
        self._active = is_loopback(bound_host)

    def check(self, hosts: Sequence[str], origins: Sequence[str], *, http_version: str) -> None:
        """Raises `ForbiddenError` for a host name or an origin that is not loopback, `InvalidRequestError` unless there
        is one host name.
        """
        if len(hosts) > 1 or (not hosts and http_version == "1.1"):
            raise InvalidRequestError(f"The header 'Host' is there {len(hosts)} times; send it once.", param="Host")
        if not self._active:
            return
        if not all(is_loopback(_host_name(f"//{host}")) for host in hosts):
            raise ForbiddenError(
                "This server is bound to loopback and answers only under a loopback name.",
                param="Host",
                next_step="Use localhost or 127.0.0.1.",
            )
        if not all(is_loopback(_host_name(origin)) for origin in origins):
            raise ForbiddenError("Web pages of other sites may not call this server.", param="Origin")


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
