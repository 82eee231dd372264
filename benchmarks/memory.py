"""What a server holds in memory beyond its weights and its KV cache, in both processes: ready, and under eight streams.

Weights are the resident pages of the packed file. The cache is small, so that a first load touches all of it and its
whole budget can be taken off. Pages that processes share count in each, so the rest is the most it can be;
`proportional` shares them out. The peak is sampled during a second load.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx

from benchmarks.contestants.server import Running, started
from benchmarks.machine import describe, write
from tests.fakes.live_server import free_port

POLL_SECONDS = 0.2
AIM_BYTES = 700 * 10**6


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping of a process: what it maps, and its bytes."""

    name: str
    size: int
    resident: int
    proportional: int


def mappings(pid: int) -> list[Mapping]:
    """Those of a process, from /proc/PID/smaps."""
    found: list[Mapping] = []
    name, fields = "", {}
    for line in [*Path(f"/proc/{pid}/smaps").read_text().splitlines(), "end-0 "]:
        key, _, value = line.partition(":")
        if "-" in key.split(" ")[0]:
            if fields:
                found.append(Mapping(name, fields["Size"], fields["Rss"], fields["Pss"]))
            name, fields = line.split(maxsplit=5)[5] if len(line.split()) > 5 else "", {}
        elif value.endswith("kB"):
            fields[key] = int(value.split()[0]) * 1024
    return found


def held(pid: int) -> dict[str, int]:
    """Bytes of one process: in all, of the packed weights, and by what else they are."""
    parts = mappings(pid)
    weights = [part for part in parts if part.name.endswith((".packed", ".partial"))]
    others = [part for part in parts if part not in weights]
    return {
        "resident": sum(part.resident for part in parts),
        "proportional": sum(part.proportional for part in parts),
        "weights": sum(part.resident for part in weights),
        "code_and_files": sum(part.resident for part in others if part.name.startswith("/")),
        "heap_and_rest": sum(part.resident for part in others if not part.name.startswith("/")),
    }


def look(server: Running, kv_bytes: int) -> dict[str, dict[str, int]]:
    """Both processes (whatever the server has started counts as engine) and their sums.

    `kv_bytes` of the heap are the cache's; `rest` is all but them and the weights.
    """
    first, *children = [held(process.pid) for process in server.processes()]
    engine = {name: sum(child[name] for child in children) for name in first}
    both = {name: first[name] + engine[name] for name in first}
    both["rest"] = both["resident"] - both["weights"] - kv_bytes
    return {"api": first, "engine": engine, "both": both}


def under_load(server: Running, options: argparse.Namespace, kv_bytes: int, seed: int) -> dict[str, dict[str, int]]:
    """The sample with the largest rest while streams run."""
    command = [sys.executable, "-m", "tidemill", "bench", server.url, "--json", "-", "--seed", seed]
    command += ["--concurrency", options.streams, "--requests", options.requests]
    command += ["--prompt-tokens", options.prompt_tokens, "--output-tokens", options.output_tokens]
    peak = look(server, kv_bytes)
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL) as load:
        while load.poll() is None:
            peak = max(peak, look(server, kv_bytes), key=lambda each: each["both"]["rest"])
            time.sleep(POLL_SECONDS)
        if load.returncode:
            raise RuntimeError("the load failed")
    return peak


def main() -> None:
    """Serve, look, load, look, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(str(files("tidemill.bundled"))) / "minnow")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--kv-cache-mib", type=int, default=96)
    parser.add_argument("--max-model-len", type=int, default=512)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--requests", type=int, default=24)
    parser.add_argument("--prompt-tokens", type=int, default=210)
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--out", type=Path)
    parser.add_argument("serve", nargs="*", help="further flags of `tidemill serve`, after --")
    options = parser.parse_args()
    kv_bytes, port = options.kv_cache_mib * 2**20, free_port()
    command = [sys.executable, "-m", "tidemill", "serve", str(options.model), "--precision", options.precision]
    command += ["--kv-cache-memory", str(kv_bytes), "--port", str(port)]
    command += ["--max-model-len", str(options.max_model_len), *options.serve]
    with started(command, port, "/ready", {}, within_seconds=300) as server:
        ready = look(server, 0)  # nobody has touched the cache
        # Every block is touched when more has passed through the cache than it holds: then all of the budget is there.
        used = under_load(server, options, 0, seed=1)["both"]["resident"]
        peak = under_load(server, options, kv_bytes, seed=2)
        weight_bytes = httpx.get(f"{server.url}/api/tags", trust_env=False).json()["models"][0]["size"]
    if not ready["both"]["weights"]:
        raise SystemExit("The weights are not a packed file that can be told apart: give --precision int8 or int4.")
    result: dict[str, Any] = {
        "what": "bytes of both processes beyond weights and KV cache",
        "machine": describe(),
        "config": {**vars(options), "model": options.model.name, "out": None},
        "weight_bytes": weight_bytes,
        "ready": ready,
        "resident_after_first_load": used,
        "peak_under_load": peak,
        "aim_bytes": AIM_BYTES,
        "is_met": peak["both"]["rest"] <= AIM_BYTES,
    }
    write(result, options.out)


if __name__ == "__main__":
    main()
