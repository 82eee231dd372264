"""The facts an engine emits about a step, and the formulas of TTFT, TPOT and ITL, once."""

from itertools import pairwise

import msgspec


class StepStats(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an engine. Counts are of this step, gauges are as they stand after it."""

    step: int
    step_seconds: float
    schedule_seconds: float
    num_rows: int
    """Tokens computed, padding not counted."""
    num_prompt_rows: int
    num_output_tokens: int
    num_kv_tokens_read: int
    num_running: int
    num_waiting: int
    num_used_blocks: int
    num_total_blocks: int
    num_preemptions: int
    num_prefix_queries: int
    """Prompt tokens looked up in the prefix cache."""
    num_prefix_hits: int
    """Prompt tokens found there."""
    kv_waste_ratio: float
    """Share of the allocated KV positions that hold no token."""


def time_per_output_token_seconds(first: float, last: float, num_tokens: int) -> float | None:
    """TPOT of a request: (last - first) / (tokens - 1); None with fewer than two tokens."""
    return (last - first) / (num_tokens - 1) if num_tokens > 1 else None


def inter_token_latencies_seconds(times: list[float]) -> list[float]:
    """ITL: the gaps between successive token times, in order."""
    return [later - earlier for earlier, later in pairwise(times)]
