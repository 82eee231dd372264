"""What a server costs that has nothing to do: CPU time of both processes over an idle window, after some work."""

import argparse
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.machine import describe, write
from tests.fakes.live_server import live_server

SETTLE_SECONDS = 3.0
"""After the last answer, before the window begins."""


def main() -> None:
    """Serve, answer once, wait, and say what the waiting cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with live_server("--threads", str(options.threads)) as server:
        body = {"model": "minnow", "prompt": "The river", "max_tokens": 200, "temperature": 0}
        httpx.post(f"{server.url}/v1/completions", json=body, timeout=60).raise_for_status()
        time.sleep(SETTLE_SECONDS)
        processes = {"api": psutil.Process(server.process.pid), "engine": psutil.Process(server.engine_pid())}
        before = {name: sum(process.cpu_times()[:2]) for name, process in processes.items()}
        time.sleep(options.seconds)
        share: dict[str, Any] = {
            name: round((sum(process.cpu_times()[:2]) - before[name]) / options.seconds, 4)
            for name, process in processes.items()
        }
    result = {"what": "an idle server", "machine": describe(), "window_seconds": options.seconds, "cores_used": share}
    write(result, options.out)


if __name__ == "__main__":
    main()
