"""Does `tidemill bench` see what a plain script sees, and for how much CPU? The same work by each, alternating.

The server is the simulated engine, so that its own times are known. `--script FILE` adds any script that
takes URL, MODEL, CONCURRENCY, REQUESTS, PROMPT_WORDS, OUTPUT_TOKENS and prints such a JSON object.
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import describe, write
from tests.fakes.live_server import live_server

FIGURES = ("output_tokens_per_second", "ttft_p50_ms", "ttft_p95_ms", "tpot_p50_ms", "itl_p99_ms")
CPU = "client_cpu_microseconds_per_token"


def call(*command: object) -> dict[str, Any]:
    """Run a command that prints JSON."""
    done = subprocess.run([sys.executable, *map(str, command)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def by_bench(url: str, what: "Case", prompt_tokens: float) -> dict[str, float]:
    """The same figures from `tidemill bench`."""
    words = ["-m", "tidemill", "bench", url, "--concurrency", what.users, "--requests", what.requests, "--json", "-"]
    words += ["--prompt-tokens", round(prompt_tokens), "--output-tokens", what.output_tokens]
    found = call(*words)
    summary = found["summary"]
    return {
        "prompt_tokens": summary["prompt_tokens"]["mean"],
        "output_tokens_per_second": summary["output_tokens_per_second"],
        "ttft_p50_ms": summary["ttft_ms"]["p50"],
        "ttft_p95_ms": summary["ttft_ms"]["p95"],
        "tpot_p50_ms": summary["tpot_ms"]["p50"],
        "itl_p99_ms": summary["itl_ms"]["p99"],
        CPU: found["client"]["cpu_seconds"] / summary["output_tokens"]["total"] * 1e6,
    }


@dataclass(frozen=True, slots=True)
class Case:
    """Users, how many requests they send, and how long those are."""

    users: int
    requests: int
    words: int
    output_tokens: int

    @property
    def flags(self) -> tuple[str, ...]:
        """The engine's: a lone user's times are its own settings. With others in the batch steps are of equal length,
        since a time that depends on who came first would differ run by run.
        """
        if self.users == 1:
            return ()
        return (
            *("--sim-seconds-per-token", "0.02", "--sim-seconds-per-sequence", "0", "--sim-ttft-seconds", "0"),
            *("--sim-seconds-per-prompt-token", "0", "--max-num-batched-tokens", "8192"),
        )


CASES = {
    f"{users} {'user' if users == 1 else 'users'}, {name}": Case(users, requests, words, output_tokens)
    for name, words, output_tokens, each in (("short", 80, 32, 30), ("long", 400, 96, 10))
    for users, requests in ((users, each * users) for users in (1, 4, 8))
}


def compare(case: str, options: argparse.Namespace, clients: list[str]) -> dict[str, Any]:
    """Medians of the rounds by contestant, their ratios, and how far the rounds of each lie apart."""
    what = CASES[case]
    rounds: dict[str, list[dict[str, float]]] = {}
    with live_server("--engine", "simulated", "--no-prefix-caching", *what.flags) as server:
        work = ["--concurrency", what.users, "--requests", what.requests, "--words", what.words]
        work += ["--output-tokens", what.output_tokens]
        for _ in range(options.rounds):
            for client in clients:
                plain = call("-m", "benchmarks.plain_load", server.url, "--client", client, *work)
                rounds.setdefault(f"plain {client}", []).append(plain)
            ours = by_bench(server.url, what, plain["prompt_tokens"])
            rounds.setdefault("tidemill bench", []).append(ours)
            if options.script:
                args = (what.users, what.requests, what.words, what.output_tokens)
                scripted = call(options.script, server.url, "minnow", *args)
                rounds.setdefault(options.script.name, []).append(scripted)
                ours = by_bench(server.url, what, scripted["prompt_tokens"])
                rounds.setdefault(f"tidemill bench, prompts as {options.script.name}", []).append(ours)
    medians = {
        name: {key: round(statistics.median(r[key] for r in found), 2) for key in found[0]}
        for name, found in rounds.items()
    }
    pairs = [("tidemill bench", "plain httpx")]
    if options.script:
        pairs.append((f"tidemill bench, prompts as {options.script.name}", options.script.name))
    return {
        "medians": medians,
        "ratios": {
            f"{a} / {b}": {key: round(medians[a][key] / medians[b][key], 3) for key in FIGURES} for a, b in pairs
        },
        "spread": {
            name: {key: round(max(r[key] for r in found) / min(r[key] for r in found), 3) for key in FIGURES}
            for name, found in rounds.items()
        },
    }


def main() -> None:
    """Measure some rounds and write the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", help="only cases whose name contains this", default="")
    parser.add_argument("--script", type=Path)
    parser.add_argument("--aiohttp", action="store_true", help="also compare the plain script over aiohttp")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    clients = ["httpx", "aiohttp"] if options.aiohttp else ["httpx"]
    chosen = {name: case for name, case in CASES.items() if options.case in name}
    write(
        {
            "what": "tidemill bench beside plain scripts on the simulated engine: medians of rounds, and their ratios",
            "machine": describe(),
            "config": {"rounds": options.rounds, "cases": {name: asdict(case) for name, case in chosen.items()}},
            "cases": {name: compare(name, options, clients) for name in chosen},
        },
        options.out,
    )


if __name__ == "__main__":
    main()
