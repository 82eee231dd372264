"""From the command to ready to the first answer on the bundled model, and what both processes hold in memory."""

import argparse
import statistics
import time
from pathlib import Path

import httpx
import psutil

from benchmarks.machine import describe, write
from tests.fakes.live_server import live_server


def once() -> dict[str, float]:
    """One start of a server: seconds to live, ready and answered, and bytes resident afterwards."""
    start = time.perf_counter()
    with live_server() as server:
        ready = time.perf_counter() - start
        body = {
            "model": "minnow",
            "messages": [{"role": "user", "content": "Hello! What can you do?"}],
            "temperature": 0,
        }
        httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60).raise_for_status()
        answered = time.perf_counter() - start
        memory = {"api": psutil.Process(server.process.pid), "engine": psutil.Process(server.engine_pid())}
        return {
            "ready_seconds": ready,
            "answered_seconds": answered,
            **{f"{name}_mib": process.memory_info().rss / 2**20 for name, process in memory.items()},
        }


def main() -> None:
    """Measure a few starts and write the median."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    once()
    rounds = [once() for _ in range(options.rounds)]
    median = {key: round(statistics.median(r[key] for r in rounds), 2) for key in rounds[0]}
    write(
        {"what": "start of the bundled model, warm caches", "machine": describe(), "median": median, "rounds": rounds},
        options.out,
    )


if __name__ == "__main__":
    main()
