"""The objectives a request is held to, and which of them it missed."""

from dataclasses import dataclass

from tidemill.bench.percentiles import percentile
from tidemill.bench.record import RequestRecord


@dataclass(frozen=True, slots=True)
class Objectives:
    """Upper bounds for one request, in seconds; None is no objective. `itl_p99` is of the gaps within a request."""

    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    itl_p99_seconds: float | None = None
    e2e_seconds: float | None = None

    @property
    def any(self) -> bool:
        """Whether there is one at all."""
        return any(bound is not None for bound in self.bounds().values())

    def bounds(self) -> dict[str, float | None]:
        """Every objective by name."""
        return {
            "ttft": self.ttft_seconds,
            "tpot": self.tpot_seconds,
            "itl_p99": self.itl_p99_seconds,
            "e2e": self.e2e_seconds,
        }

    def missed(self, record: RequestRecord) -> list[str]:
        """What this request missed; a failed one missed 'success'. With one token there is no TPOT to miss."""
        if not record.is_success:
            return ["success"]
        gaps = record.itl_seconds if self.itl_p99_seconds is not None else []
        seen = {
            "ttft": record.ttft_seconds,
            "tpot": record.tpot_seconds,
            "itl_p99": percentile(sorted(gaps), 0.99) if gaps else None,
            "e2e": record.e2e_seconds,
        }
        over = []
        for name, bound in self.bounds().items():
            value = seen[name]
            if bound is not None and value is not None and value > bound:
                over.append(name)
        return over


def tpot_of_reading_speed(words_per_minute: float, words_per_token: float) -> float:
    """The TPOT, in seconds, at which text comes as fast as somebody reads it."""
    return 60.0 * words_per_token / words_per_minute
