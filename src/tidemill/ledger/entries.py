"""What is written into the books for good: one entry a request, one an interval of the meter."""

from dataclasses import dataclass, field

from tidemill.core.footprint import Outcome
from tidemill.ledger.conversion import NO_IMPACT, Impact

WASTE_KINDS = ("aborted", "failed", "recomputed")


@dataclass(slots=True)
class RequestEntry:
    """One request, once nothing more will be charged to it. `impact` is that of all its joules, waste included.

    `stated_joules` is what its answer said, from average prices; 0 where it said nothing.
    """

    request_id: str
    model: str
    key: str
    num_prompt_tokens: int
    ended_unix_seconds: float = 0.0
    num_cached_tokens: int = 0
    num_output_tokens: int = 0
    outcome: Outcome = "finished"
    requests_joules: float = 0.0
    waste_joules: dict[str, float] = field(default_factory=lambda: dict.fromkeys(WASTE_KINDS, 0.0))
    avoided_joules: float = 0.0
    stated_joules: float = 0.0
    impact: Impact = NO_IMPACT

    @property
    def joules(self) -> float:
        """All of its joules."""
        return self.requests_joules + sum(self.waste_joules.values())


@dataclass(frozen=True, slots=True)
class IntervalEntry:
    """One interval of the meter: all of it, and what nobody asked for. `residual_joules` is |meter - model|."""

    closed_unix_seconds: float
    model: str
    method: str
    meter_joules: float
    idle_joules: float
    idle_impact: Impact
    residual_joules: float
    modelled_joules: float
    """The part of the meter that had been predicted at all: what residuals are a share of."""


Entry = RequestEntry | IntervalEntry
