"""The facts an engine emits about a step, and the formulas of TTFT, TPOT and ITL, once."""

from itertools import pairwise

import msgspec

from tidemill.core.objectives import Objectives


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
    num_sampled_rows: int = 0
    """Rows whose logits were computed to sample from."""
    num_row_context_tokens: int = 0
    """Sum over rows of the cached positions each one looks at."""
    predicted_seconds: float | None = None
    """What the cost model expected of the step (all of the turn that made it); None while it knows nothing."""
    turn_seconds: float | None = None
    """What that turn took: scheduling, computing and taking in the result; None of a step that failed."""
    prediction_error_ratio: float | None = None
    """Running median of |turn / predicted - 1|."""
    tensors_seconds: float = 0.0
    """Of `step_seconds`: making the step's tensors."""
    sample_seconds: float = 0.0
    """Of `step_seconds`: logits and sampling."""
    update_seconds: float = 0.0
    """Of `step_seconds`: taking in the result."""
    report_seconds: float = 0.0
    """What it took to send the report before this one."""

    @property
    def forward_seconds(self) -> float:
        """The rest of `step_seconds`: the model's forward pass, and what was not told apart from it."""
        return max(0.0, self.step_seconds - self.tensors_seconds - self.sample_seconds - self.update_seconds)


class PromiseOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one sequence, or of one refused request, beside what it was promised. Seconds from its arrival.

    A sequence that nobody waited for until its first token is no outcome.
    """

    objectives: Objectives
    is_refused: bool = False
    is_failed: bool = False
    predicted_ttft_seconds: float | None = None
    """As it was predicted when it was taken; None if nothing was known yet."""
    p99_ttft_seconds: float | None = None
    """What 99 of 100 such predictions were to keep within."""
    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    """None with fewer than two tokens."""
    total_seconds: float | None = None


def time_per_output_token_seconds(first: float, last: float, num_tokens: int) -> float | None:
    """TPOT of a request: (last - first) / (tokens - 1); None with fewer than two tokens."""
    return (last - first) / (num_tokens - 1) if num_tokens > 1 else None


def inter_token_latencies_seconds(times: list[float]) -> list[float]:
    """ITL: the gaps between successive token times, in order."""
    return [later - earlier for earlier, later in pairwise(times)]
