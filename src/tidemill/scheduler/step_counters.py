"""Counts of one step, gathered while it is scheduled and closed, for `StepStats`."""

from dataclasses import dataclass

from tidemill.core.kv_cache import KVCacheGroup
from tidemill.core.stats import StepStats
from tidemill.cost.step_shape import StepShape


@dataclass(slots=True)
class StepCounters:
    """Mutable counts of the current step; each field is the one of `StepStats`."""

    step: int = 0
    num_rows: int = 0
    num_prompt_rows: int = 0
    num_output_tokens: int = 0
    num_kv_tokens_read: int = 0
    num_preemptions: int = 0
    num_prefix_queries: int = 0
    num_prefix_hits: int = 0
    num_sampled_rows: int = 0
    num_row_context_tokens: int = 0
    predicted_seconds: float | None = None
    turn_seconds: float | None = None
    prediction_error_ratio: float | None = None

    @property
    def shape(self) -> StepShape:
        """What of the step its time depends on."""
        return StepShape(self.num_rows, self.num_sampled_rows, self.num_kv_tokens_read, self.num_row_context_tokens)

    def count_rows(
        self, groups: tuple[KVCacheGroup, ...], start: int, num_tokens: int, *, num_prompt_tokens: int, samples: bool
    ) -> None:
        """Count a sequence that computes `num_tokens` positions from `start` on, and samples the last one or not."""
        self.num_rows += num_tokens
        self.num_sampled_rows += samples
        self.num_row_context_tokens += row_context_tokens(groups, start, num_tokens)
        if start < num_prompt_tokens:
            self.num_prompt_rows += min(num_tokens, num_prompt_tokens - start)
        self.num_kv_tokens_read += kv_tokens_read(groups, start, num_tokens)

    def stats(
        self,
        *,
        step_seconds: float,
        schedule_seconds: float,
        num_running: int,
        num_waiting: int,
        num_used_blocks: int,
        num_total_blocks: int,
        kv_waste_ratio: float,
    ) -> StepStats:
        """The counts with the gauges as they stand now."""
        return StepStats(
            step=self.step,
            step_seconds=step_seconds,
            schedule_seconds=schedule_seconds,
            num_rows=self.num_rows,
            num_prompt_rows=self.num_prompt_rows,
            num_output_tokens=self.num_output_tokens,
            num_kv_tokens_read=self.num_kv_tokens_read,
            num_running=num_running,
            num_waiting=num_waiting,
            num_used_blocks=num_used_blocks,
            num_total_blocks=num_total_blocks,
            num_preemptions=self.num_preemptions,
            num_prefix_queries=self.num_prefix_queries,
            num_prefix_hits=self.num_prefix_hits,
            kv_waste_ratio=kv_waste_ratio,
            num_sampled_rows=self.num_sampled_rows,
            num_row_context_tokens=self.num_row_context_tokens,
            predicted_seconds=self.predicted_seconds,
            turn_seconds=self.turn_seconds,
            prediction_error_ratio=self.prediction_error_ratio,
        )


def kv_tokens_read(groups: tuple[KVCacheGroup, ...], start: int, num_tokens: int) -> int:
    """Cached positions that a chunk looks at, averaged over groups: its whole context, or its windows' part of it."""
    context = start + num_tokens
    if len(groups) == 1 and groups[0].window is None:
        return context
    seen = (context if g.window is None else min(context, g.window + num_tokens - 1) for g in groups)
    return sum(seen) // len(groups)


def row_context_tokens(groups: tuple[KVCacheGroup, ...], start: int, num_tokens: int) -> int:
    """Sum over a chunk's rows of the positions each looks at, averaged over groups; row i of n sees start + i + 1."""
    seen = num_tokens * start + num_tokens * (num_tokens + 1) // 2
    if len(groups) == 1 and groups[0].window is None:
        return seen
    return sum(seen if g.window is None else min(seen, num_tokens * g.window) for g in groups) // len(groups)
