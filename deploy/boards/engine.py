"""The board of the engine: what it does, how full it is, and where a step's time goes."""

from deploy.boards.choice import CHOSEN, SERVER, VARIABLES, WINDOW, chosen, latencies, quantile, rates
from deploy.grafana_board import Board, Panel, Query, Threshold
from deploy.promql import quotient, selector


def board() -> Board:
    """The board."""
    may_run = f"sum({chosen('tidemill_max_sequences', place='running')})"
    running, waiting = (f"sum({chosen(f'vllm:num_requests_{place}')})" for place in ("running", "waiting"))
    parts = selector("tidemill_engine_step_part_seconds_total", WINDOW, **CHOSEN)
    return Board(
        "engine",
        "Tidemill: engine",
        says="Work, room, the time of steps, and how well it is foreseen.",
        variables=VARIABLES,
        rows={
            "Work": (
                Panel(
                    "Tokens",
                    "Of prompts, and generated.",
                    "none",
                    [
                        Query(rates("vllm:prompt_tokens_total"), "prompt tokens/s"),
                        Query(rates("vllm:generation_tokens_total"), "generated tokens/s"),
                    ],
                ),
                Panel(
                    "Sequences",
                    "Running and waiting, and how many may run.",
                    "none",
                    [
                        Query(running, "running"),
                        Query(waiting, "waiting"),
                        Query(may_run, "may run", is_limit=True),
                    ],
                ),
                latencies("Time in the queue", "Before a sequence first runs.", "vllm:request_queue_time_seconds"),
                Panel(
                    "Sequences, of those that may be",
                    "Running and waiting together, of what may run and wait; at 1 requests are refused.",
                    "percentunit",
                    [
                        Query(
                            f"({running} + {waiting}) / sum({chosen('tidemill_max_sequences')})", "running and waiting"
                        )
                    ],
                    thresholds=(Threshold(None, "transparent"), Threshold(0.8, "red")),
                    most=1.0,
                ),
            ),
            "Room": (
                Panel(
                    "KV cache",
                    "Share of blocks in use, and of their positions that hold no token.",
                    "percentunit",
                    [
                        Query(chosen("vllm:kv_cache_usage_perc"), "in use {{instance}}"),
                        Query(chosen("tidemill_kv_waste_ratio"), "of it without a token {{instance}}"),
                    ],
                    thresholds=(Threshold(None, "transparent"), Threshold(0.95, "red")),
                    most=1.0,
                ),
                Panel(
                    "Prefix cache",
                    "Share of prompt tokens that were found there.",
                    "percentunit",
                    [
                        Query(
                            quotient(rates("vllm:prefix_cache_hits_total"), rates("vllm:prefix_cache_queries_total")),
                            "found",
                        )
                    ],
                    most=1.0,
                ),
                Panel(
                    "Preemptions",
                    "Sequences that gave up their blocks, to be computed again.",
                    "none",
                    [Query(rates("vllm:num_preemptions_total"), "a second")],
                ),
                Panel(
                    "Memory",
                    "Resident, of both processes.",
                    "bytes",
                    [Query(selector("tidemill_process_resident_memory_bytes", **SERVER), "{{process}} {{instance}}")],
                ),
            ),
            "Steps": (
                Panel(
                    "Time of a step",
                    "Mean.",
                    "s",
                    [
                        Query(
                            quotient(rates("tidemill_engine_step_seconds_total"), rates("tidemill_engine_steps_total")),
                            "a step",
                        )
                    ],
                ),
                Panel(
                    "Where the engine's time goes",
                    "Share of wall time by part of a turn, the mean of the servers; what is missing to 1 is idle.",
                    "percentunit",
                    [Query(f"avg by (part) (rate({parts}))", "{{part}}")],
                    is_stacked=True,
                ),
                Panel(
                    "Error of predicted steps",
                    "Running median of |step / predicted - 1|.",
                    "percentunit",
                    [Query(chosen("tidemill_step_prediction_error_ratio"), "{{instance}}")],
                    thresholds=(Threshold(None, "transparent"), Threshold(0.2, "red")),
                ),
                Panel(
                    "First tokens within their predicted 99th percentile",
                    "98 to 99.9 % is what the prediction aims at.",
                    "percentunit",
                    [
                        Query(
                            quotient(
                                rates("tidemill_ttft_predictions_total", within_p99="true"),
                                rates("tidemill_ttft_predictions_total"),
                            ),
                            "within",
                        )
                    ],
                    most=1.0,
                ),
                Panel(
                    "Time to the first token over its prediction",
                    "1 is as predicted.",
                    "none",
                    [Query(quantile(q, "tidemill_ttft_prediction_ratio"), f"p{q * 100:g}") for q in (0.05, 0.5, 0.95)],
                ),
            ),
            "Life": (
                Panel(
                    "Engine processes that died",
                    "And were to be started again, in the last hour.",
                    "none",
                    [Query(f"increase({selector('tidemill_engine_restarts_total', '1h', **CHOSEN)})", "{{instance}}")],
                ),
                Panel(
                    "Engine",
                    "What it is.",
                    "none",
                    [
                        Query(
                            chosen("tidemill_engine_info"), "{{architecture}}, {{precision}}, {{device}}, {{instance}}"
                        ),
                        Query(selector("tidemill_build_info", **SERVER), "version {{version}}, {{instance}}"),
                    ],
                    kind="stat",
                ),
            ),
        },
    )
