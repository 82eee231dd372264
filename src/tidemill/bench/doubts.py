"""What the reader of a run's figures should know before believing them."""

from tidemill.bench.lengths import LogNormal
from tidemill.bench.summary import Summary
from tidemill.bench.workload import Workload

LATE_MS = 20.0


def doubts(summary: Summary, workload: Workload) -> list[str]:
    """One sentence each, none if all is well."""
    found = []
    if workload.num_clipped:
        found.append(
            f"{workload.num_clipped} requests were shortened to {workload.max_tokens} tokens, to fit the context."
        )
    if summary.num_failed:
        found.append(f"{summary.num_failed} of {summary.num_requests} requests failed.")
    if (summary.cached_tokens_ratio or 0.0) > workload.shared_prefix_ratio + 0.1:
        found.append(
            f"{summary.cached_tokens_ratio:.0%} of the prompts' tokens were in the server's prefix cache: had it seen "
            f"this --seed before?"
        )
    if summary.tokens_per_piece is not None and summary.tokens_per_piece > 1.1:
        found.append(
            f"A piece of the stream held {summary.tokens_per_piece:.2f} tokens on average: ITL is between pieces."
        )
    if summary.send_lag_ms is not None and summary.send_lag_ms.p99 > LATE_MS:
        found.append(f"Requests were sent up to {summary.send_lag_ms.p99:.0f} ms late (p99); latencies count that.")
    wanted = workload.prompt_tokens
    if summary.prompt_tokens and not workload.rows and not isinstance(wanted, LogNormal):
        longest = wanted.longest
        if longest and summary.prompt_tokens.mean > longest * 1.05 + 2:
            found.append(f"Prompts had {summary.prompt_tokens.mean:.0f} tokens on average, more than was asked for.")
    return found
