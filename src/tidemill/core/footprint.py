"""What answers take, as it crosses boundaries: a request's footprint, an interval of the meter, what was charged.

Joules are of the machine within the meter's boundary; water, carbon and money are made of them elsewhere.
"""

from typing import Literal

import msgspec

Outcome = Literal["finished", "aborted", "failed"]
"""How a sequence ended for its client. An answer that a stop string ended is finished."""


class MeterKind(msgspec.Struct, frozen=True, kw_only=True):
    """How joules are known. `method` is nvml, rapl or model; the true figure is the given one times low to high."""

    method: str
    boundary: str
    low_ratio: float
    high_ratio: float

    @property
    def is_modelled(self) -> bool:
        """Whether nothing was measured."""
        return self.method == "model"


class PriceList(msgspec.Struct, frozen=True, kw_only=True):
    """Long averages of what tokens take, that say nothing about who else is here. Joules a token, and a context token.

    A row computes one token; its context tokens are the positions it looks at. `seconds_per_joule` is how long the
    machine was busy for a joule.
    """

    prompt_row_joules: float
    prompt_context_joules: float
    output_row_joules: float
    output_context_joules: float
    seconds_per_joule: float

    def request_joules(self, *, num_prompt_tokens: int, num_cached_tokens: int, num_output_tokens: int) -> float:
        """What a sequence of these lengths takes on average; the last token is never computed."""
        rows, context = num_prompt_tokens - num_cached_tokens, context_tokens(num_cached_tokens, num_prompt_tokens)
        joules = rows * self.prompt_row_joules + context * self.prompt_context_joules
        num_steps = max(0, num_output_tokens - 1)
        context = context_tokens(num_prompt_tokens, num_prompt_tokens + num_steps)
        return joules + num_steps * self.output_row_joules + context * self.output_context_joules

    def avoided_joules(self, num_cached_tokens: int) -> float:
        """What computing the first `num_cached_tokens` of a prompt would have taken."""
        context = context_tokens(0, num_cached_tokens)
        return num_cached_tokens * self.prompt_row_joules + context * self.prompt_context_joules


def context_tokens(start: int, end: int) -> int:
    """Sum over the rows of positions [start, end) of the positions each one looks at, its own included."""
    return (end * (end + 1) - start * (start + 1)) // 2


class Charge(msgspec.Struct, frozen=True, array_like=True):
    """One sequence's share of an interval. `redone_joules` went into positions that a preemption had thrown away.

    With `is_final` nothing more will be charged to it.
    """

    sequence_id: int
    joules: float
    redone_joules: float
    is_final: bool


class IntervalBooks(msgspec.Struct, frozen=True, kw_only=True):
    """One interval of the meter: `meter_joules` is `idle_joules` and the joules of all charges."""

    meter: MeterKind
    seconds: float
    idle_seconds: float
    meter_joules: float
    idle_joules: float
    charges: tuple[Charge, ...]
    residual_joules: float | None
    """|meter - model| before the shares were scaled to the meter; None of the very first interval."""
    prices: PriceList | None


class Footprint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an answer took, in the answer itself. Two significant digits. Water, carbon and money where they are known.

    It is made from the request's own tokens at average prices, so that it does not tell who else was served.
    """

    joules: float
    joules_low: float
    joules_high: float
    method: str
    boundary: str
    zone: str
    water_onsite_milliliters: float
    water_offsite_milliliters: float | None = None
    operational_grams_co2e: float | None = None
    embodied_grams_co2e: float | None = None
    cost: float | None = None
    currency: str | None = None
    avoided_joules: float = 0.0
    """What the prefix cache saved."""
