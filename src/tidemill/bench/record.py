"""What happened to one request: its times and counts. Owns no statistics over several."""

from array import array
from dataclasses import dataclass, field

from tidemill.core.stats import inter_token_latencies_seconds, time_per_output_token_seconds


@dataclass(slots=True)
class RequestRecord:
    """Times in seconds on the run's clock. `error` is the kind of failure as it is counted; None for success.

    `scheduled_seconds` is when the request was due: latencies count from there, so that a client or a server that
    falls behind cannot hide it (coordinated omission). In a closed loop it is when it was sent. `piece_seconds` are the
    times of the pieces of answer, each of one token or more; `last_seconds` also knows a finish that had no text.
    """

    index: int
    scheduled_seconds: float
    sent_seconds: float
    user: int | None = None
    is_first_of_user: bool = False
    piece_seconds: "array[float]" = field(default_factory=lambda: array("d"))
    last_seconds: float | None = None
    ended_seconds: float | None = None
    num_prompt_tokens: int | None = None
    num_cached_tokens: int | None = None
    num_output_tokens: int | None = None
    error: str | None = None
    detail: str = ""
    is_cancelled: bool = False
    retry_after_seconds: float | None = None
    """How long a server that refused it asked to be left alone; it is not kept in files."""

    @property
    def is_success(self) -> bool:
        """Whether a whole answer came."""
        return self.error is None and not self.is_cancelled and self.ended_seconds is not None

    @property
    def num_tokens(self) -> int:
        """Output tokens by the server's count, else the number of pieces."""
        return len(self.piece_seconds) if self.num_output_tokens is None else self.num_output_tokens

    @property
    def ttft_seconds(self) -> float | None:
        """First piece minus the scheduled arrival."""
        return self.piece_seconds[0] - self.scheduled_seconds if self.piece_seconds else None

    @property
    def tpot_seconds(self) -> float | None:
        """(last - first) / (tokens - 1); None with fewer than two tokens."""
        if not self.piece_seconds or self.last_seconds is None:
            return None
        return time_per_output_token_seconds(self.piece_seconds[0], self.last_seconds, self.num_tokens)

    @property
    def itl_seconds(self) -> list[float]:
        """The gaps between successive pieces."""
        return inter_token_latencies_seconds(list(self.piece_seconds))

    @property
    def e2e_seconds(self) -> float | None:
        """Last piece minus the scheduled arrival."""
        return None if self.last_seconds is None else self.last_seconds - self.scheduled_seconds
