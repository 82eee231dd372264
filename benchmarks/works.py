"""The works of the comparison: what is sent, and which figures count."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of work: flags of `tidemill bench`, the room it needs, and how its figures are read from the JSON."""

    name: str
    num_streams: int
    tokens_each: int
    arguments: tuple[str, ...]
    figures: Callable[[Figures], Figures]
    main_figure: tuple[str, bool]
    """The figure that is compared, and whether more of it is better."""
    needs_trace: bool = False


def latencies(result: Figures) -> Figures:
    """Throughput, and medians over requests."""
    summary = result["summary"]
    figures = {
        "output_tokens_per_second": summary["output_tokens_per_second"],
        "ttft_p50_ms": summary["ttft_ms"]["p50"],
        "ttft_p95_ms": summary["ttft_ms"]["p95"],
        "prompt_tokens_mean": summary["prompt_tokens"]["mean"],
        "num_failed": summary["num_failed"],
    }
    if summary["tpot_ms"]:
        figures |= {"tpot_p50_ms": summary["tpot_ms"]["p50"], "itl_p99_ms": summary["itl_ms"]["p99"]}
    return figures


def prefill(result: Figures) -> Figures:
    """Prompt tokens a second until the first token is out, and the time that takes."""
    figures = latencies(result)
    rate = figures["prompt_tokens_mean"] / figures["ttft_p50_ms"] * 1e3
    return {"prompt_tokens_per_second": rate, **figures}


def decode_only(result: Figures) -> Figures:
    """Tokens a second between the last first token and the first last one: nobody's prompt is computed then.

    A piece counts as the tokens that its request has a piece: one that completes no character is sent with the next.
    """
    answers = [(r["piece_seconds"], r["num_output_tokens"]) for r in result["requests"] if not r["error"]]
    pieces = [each for each, _ in answers]
    begin, end = max(each[0] for each in pieces), min(each[-1] for each in pieces)
    count = sum(tokens / len(each) * sum(begin < moment <= end for moment in each) for each, tokens in answers)
    took = max(end - begin, 1e-9)
    return {
        "decode_tokens_per_second": count / took if end > begin else 0.0,
        "step_ms": took / count * len(pieces) * 1e3 if count else 0.0,
        "window_seconds": end - begin,
        "num_streams": len(pieces),
    }


def best_load(result: Figures) -> Figures:
    """What the search found."""
    search = result["search"]
    return {"best": search["best"] or 0.0, "lowest_failed": search["lowest_failed"], "resolved": search["is_resolved"]}


def _closed(streams: int, requests: int, prompt: int, output: int) -> tuple[str, ...]:
    numbers = {"concurrency": streams, "requests": requests, "prompt-tokens": prompt, "output-tokens": output}
    return tuple(part for name, value in numbers.items() for part in (f"--{name}", str(value)))


def _users(words_per_minute: int) -> Work:
    return Work(
        f"users-{words_per_minute}",
        256,
        256,
        (
            "--find", "users", "--slo-ttft-ms", "150", "--slo-words-per-minute", str(words_per_minute),
            "--prompt-tokens", "32-64", "--output-tokens", "64", "--probe-requests", "20",
            "--resolution", "0.1", "--max-seconds", "150",
        ),
        best_load,
        ("best", True),
    )  # fmt: skip


THROUGHPUT = ("output_tokens_per_second", True)
WORKS = (
    Work("prefill", 1, 1024, _closed(1, 3, 842, 2), prefill, ("prompt_tokens_per_second", True)),
    Work("one-stream", 1, 512, _closed(1, 3, 128, 96), latencies, ("tpot_p50_ms", False)),
    Work("8-streams", 8, 512, _closed(8, 16, 210, 64), latencies, THROUGHPUT),
    Work("16-streams", 16, 256, _closed(16, 32, 83, 64), latencies, THROUGHPUT),
    Work(
        "32-streams-decode",
        32,
        2304,
        (*_closed(32, 32, 2000, 192), "--records", "--timeout", "1800"),
        decode_only,
        ("decode_tokens_per_second", True),
    ),
    Work(
        "rate",
        32,
        2048,
        (
            "--find", "rate", "--slo-ttft-ms", "1000", "--slo-tpot-ms", "100", "--probe-requests", "30",
            "--resolution", "0.15", "--max-probes", "8",
        ),
        best_load,
        ("best", True),
        needs_trace=True,
    ),
    _users(250),
    _users(1000),
    Work("start", 1, 512, (), latencies, ("command_to_first_token_seconds", False)),
    Work("memory", 8, 512, _closed(8, 16, 210, 64), latencies, ("resident_mib", False)),
)  # fmt: skip
