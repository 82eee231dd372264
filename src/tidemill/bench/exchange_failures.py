"""Why an exchange with the server failed: a closed set of kinds, so that errors can be counted."""

import enum


class FailureKind(enum.StrEnum):
    """What went wrong with one request; a status other than 200 is `status`, and its number is in the detail."""

    CONNECT = "connect"
    """No connection came about."""
    DISCONNECT = "disconnect"
    """The connection ended before the answer did."""
    TIMEOUT = "timeout"
    """The answer was not complete in time."""
    STATUS = "status"
    """A status other than 200."""
    STREAM_ERROR = "stream_error"
    """An error event inside a stream that had begun well."""
    PROTOCOL = "protocol"
    """Not HTTP, not server-sent events, or not the documents of this interface."""
    INCOMPLETE = "incomplete"
    """The stream ended in order, but without a token or without a finish."""
    NOT_SENT = "not_sent"
    """This client had as many requests under way as it may."""


class ExchangeFailedError(Exception):
    """One exchange failed. `status` is the HTTP status if one came."""

    def __init__(self, kind: FailureKind, detail: str, *, status: int | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.status = status

    @property
    def label(self) -> str:
        """The kind as it is counted: with the number for a status."""
        return f"status {self.status}" if self.kind is FailureKind.STATUS else self.kind.value
