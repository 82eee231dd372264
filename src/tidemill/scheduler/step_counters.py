"""Counts of one step, gathered while it is scheduled and closed, for `StepStats`."""

from dataclasses import dataclass

from tidemill.core.kv_cache import KVCacheGroup
from tidemill.core.stats import StepStats


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

    def count_rows(
        self, groups: tuple[KVCacheGroup, ...], start: int, num_tokens: int, *, num_prompt_tokens: int
    ) -> None:
        """Count a sequence that computes `num_tokens` positions from `start` on."""
        self.num_rows += num_tokens
        if start < num_prompt_tokens:
            self.num_prompt_rows += min(num_tokens, num_prompt_tokens - start)
        self.num_kv_tokens_read += _kv_tokens_read(groups, start, num_tokens)

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
        )


def _kv_tokens_read(groups: tuple[KVCacheGroup, ...], start: int, num_tokens: int) -> int:
    """Cached positions that a chunk looks at, averaged over groups: its whole context, or its windows' part of it."""
    context = start + num_tokens
    if len(groups) == 1 and groups[0].window is None:
        return context
    seen = (context if g.window is None else min(context, g.window + num_tokens - 1) for g in groups)
    return sum(seen) // len(groups)
