"""Tidemill beside the servers one would use instead, over HTTP, on the same checkpoint, by turns.

    python -m benchmarks.peers --model 1B --work one-stream,8-streams --rounds 3 \\
        --llama-server PATH/llama-server --openvino-python PATH/python --gguf-python PATH/python --out result.json

One server runs at a time, all of them one after the other for each work, in the other order every other round; each
work is warmed up; the load generator is `tidemill bench`. A peer that is not given (flag or environment variable) is
skipped and named. How to install them is in docs/performance.md. Absolute figures belong to a machine and a moment: the
ratios are what is quoted, and only those of figures between which the machine's memory read equally fast.

Works: prefill (a prompt of 842 tokens), one-stream, 8-streams (210 in, 64 out), 16-streams (83 in, 64 out),
32-streams-decode (2,000 tokens of context, from the last first token to the first last one), rate (highest Poisson
rate, 95 % within 1 s and 100 ms a token, lengths of --trace / 4), users-250 and users-1000 (most users within 150 ms
and that many words a minute), start (command to first token), memory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import peaks
from benchmarks.contestants.roster import Capacity, Contestant, Installed, roster
from benchmarks.contestants.server import Running, first_token_seconds, folder_bytes, started
from benchmarks.machine import SHAPES, busy_cores, describe, keep, make_checkpoint, write
from benchmarks.works import WORKS, Work
from tests.fakes.live_server import free_port

GAUGE_BYTES = 2**28
AGREE = 0.12
"""Readings of memory that are closer than this are of one state of the machine."""
FIRST_PROMPT = "The harbour is quiet in the morning, and the boats"


class Bench:
    """Runs `tidemill bench` against a server and picks a work's figures from its JSON."""

    def __init__(self, trace: Path | None, length_scale: float, folder: Path) -> None:
        self._trace, self._length_scale = trace, length_scale
        self._out = folder / "bench.json"
        self.command_lines: dict[str, str] = {}

    def figures(self, work: Work, running: Running, model: str) -> dict[str, Any]:
        """The figures of one run."""
        arguments = list(work.arguments)
        if work.needs_trace:
            assert self._trace is not None
            arguments += ["--trace", str(self._trace), "--length-scale", str(self._length_scale)]
        command = [
            sys.executable, "-m", "tidemill", "bench", running.url, "--model", model, "--no-progress",
            "--json", str(self._out), *arguments,
        ]  # fmt: skip
        self.command_lines[work.name] = "tidemill bench URL " + shown(arguments)
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            return {"failed": (ran.stderr + ran.stdout)[-2000:]}
        return work.figures(json.loads(self._out.read_text()))


class Comparison:
    """Collects the figures of every contestant, work and round."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._gauge = peaks.Gauge(peaks.aligned_bytes(GAUGE_BYTES))
        self.runs: list[dict[str, Any]] = []
        self.command_lines: dict[str, str] = {}

    def go_on_from(self, earlier: dict[str, Any]) -> None:
        """Take in what an earlier run of this script has kept."""
        self.runs += earlier["runs"]
        self.command_lines |= earlier["command_lines"]

    def meet(self, contestant: Contestant, work: Work, turn: int) -> None:
        """Start the contestant anew (its places and its cache are the work's), and measure."""
        port = free_port()
        command = contestant.command(port, Capacity(work.num_streams, work.tokens_each))
        self.command_lines[f"{contestant.name}, {work.name}"] = shown(command).replace(str(port), "PORT")
        row: dict[str, Any] = {"work": work.name, "contestant": contestant.name, "round": turn}
        row["busy_cores_before"] = busy_cores(0.3)
        row["read_gb_per_second_before"] = self._read()
        within = contestant.within_seconds
        try:
            with started(
                command, port, contestant.ready_path, contestant.environment, within_seconds=within
            ) as running:
                row |= self._measure(contestant, work, running)
        except RuntimeError as error:
            row["failed"] = str(error)
        row["read_gb_per_second_after"] = self._read()
        self.runs.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)

    def _measure(self, contestant: Contestant, work: Work, running: Running) -> dict[str, Any]:
        if work.name == "start":
            first = first_token_seconds(running.url, contestant.model, FIRST_PROMPT)
            ready = running.ready_seconds
            return {
                "ready_seconds": ready,
                "first_token_seconds": first,
                "command_to_first_token_seconds": ready + first,
            }
        figures = self._bench.figures(work, running, contestant.model)
        if work.name == "memory":
            held = running.memory_bytes()
            figures |= {f"{name}_mib": value / 2**20 for name, value in held.items()}
            figures["weight_file_mib"] = folder_bytes(contestant.weights) / 2**20
        return figures

    def _read(self) -> float:
        return round(self._gauge.bytes_per_second(0.15) / 1e9, 1)


def shown(command: list[str]) -> str:
    """A command line without the folders that only one machine has."""
    return " ".join(Path(part).name if part.startswith("/") else part for part in command)


def medians(runs: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """By work and contestant, the median over rounds of each figure."""
    table: dict[str, dict[str, dict[str, list[float]]]] = {}
    for run in runs:
        figures = table.setdefault(run["work"], {}).setdefault(run["contestant"], {})
        for name, value in run.items():
            if isinstance(value, int | float) and name != "round":
                figures.setdefault(name, []).append(value)
    return {
        work: {who: {n: round(statistics.median(v), 3) for n, v in figures.items()} for who, figures in rows.items()}
        for work, rows in table.items()
    }


def held_still(run: dict[str, Any]) -> bool:
    """Whether the machine read as fast after the run as before it."""
    low, high = sorted((run["read_gb_per_second_before"], run["read_gb_per_second_after"]))
    return bool(high <= low * (1 + AGREE))


def pairs(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """The figures of ours and theirs that were measured while the machine was in one state."""

    def reading(run: dict[str, Any]) -> float:
        return float(run["read_gb_per_second_before"] + run["read_gb_per_second_after"]) / 2

    return [
        (mine[key], other[key])
        for mine in ours
        for other in theirs
        if mine.get(key)
        and other.get(key)
        and max(reading(mine), reading(other)) <= min(reading(mine), reading(other)) * (1 + AGREE)
    ]


def ratios(runs: list[dict[str, Any]], contestants: list[Contestant]) -> dict[str, Any]:
    """How many times as good as each peer ours is (the median over pairs), and the peer that leaves the least."""
    result: dict[str, Any] = {}
    still = [run for run in runs if "failed" not in run and held_still(run)]
    for work in WORKS:
        key, is_larger_better = work.main_figure
        by_name = {
            c.name: [run for run in still if run["work"] == work.name and run["contestant"] == c.name]
            for c in contestants
        }
        for ours in (c for c in contestants if c.is_ours):
            found = {}
            for peer in (c for c in contestants if not c.is_ours):
                both = pairs(by_name[ours.name], by_name[peer.name], key)
                if both:
                    values = [mine / other if is_larger_better else other / mine for mine, other in both]
                    found[peer] = round(statistics.median(values), 2)
            if not found:
                continue
            at_its_bits = {peer: ratio for peer, ratio in found.items() if peer.bits >= ours.bits}
            told: dict[str, Any] = {"over": {peer.name: ratio for peer, ratio in found.items()}}
            told["over the best peer"] = min(found.values())
            if at_its_bits:
                told["over the best peer at its bits"] = min(at_its_bits.values())
            result.setdefault(work.name, {})[ours.name] = told
    return result


def main() -> None:
    options = arguments()
    checkpoint = make_checkpoint(options.models, options.model) if options.model in SHAPES else Path(options.model)
    num_threads = len(os.sched_getaffinity(0))
    peaks.use_threads(num_threads)
    installed = Installed(options.llama_server, options.openvino_python, options.vllm_python, options.gguf_python)
    found, absent = roster(
        checkpoint,
        options.models,
        installed,
        options.precision.split(","),
        options.serve_arguments.split(),
        num_threads,
    )
    wanted = options.contestant.split(",") if options.contestant else [c.name for c in found]
    assert set(wanted) <= {c.name for c in found}, f"there are {[c.name for c in found]}; absent: {absent}"
    playing = [c for c in found if c.name in wanted]
    names = options.work.split(",")
    works = [work for work in WORKS if work.name in names]
    assert len(works) == len(names), f"works are {[work.name for work in WORKS]}"
    if any(work.needs_trace for work in works):
        assert options.trace, "the work 'rate' needs --trace"
    assert options.out or not options.add, "--add needs --out"
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.trace, options.length_scale, Path(folder))
        comparison = Comparison(bench)
        if options.add:
            comparison.go_on_from(json.loads(options.out.read_text()))
        model = options.model if options.model in SHAPES else checkpoint.name
        for turn in range(options.rounds):
            for work in works:
                for contestant in playing if turn % 2 == 0 else reversed(playing):
                    comparison.meet(contestant, work, turn)
                    if options.out:
                        keep(outcome(comparison, bench, model, found, absent), options.out)
        write(outcome(comparison, bench, model, found, absent), options.out)


def outcome(
    comparison: Comparison, bench: Bench, model: str, found: list[Contestant], absent: dict[str, str]
) -> dict[str, Any]:
    """All that is known after the runs until now: kept after each, as a search may take longer than one waits."""
    return {
        "what": "Tidemill beside its peers over HTTP, one server at a time, by turns",
        "machine": describe() | {"versions": {c.name: c.version for c in found}},
        "model": model,
        "absent": absent,
        "medians": medians(comparison.runs),
        "ratios": ratios(comparison.runs, found),
        "runs": comparison.runs,
        "command_lines": comparison.command_lines | {f"load, {k}": v for k, v in bench.command_lines.items()},
    }


def arguments() -> argparse.Namespace:
    def path(name: str) -> Path | None:
        return Path(os.environ[name]) if os.environ.get(name) else None

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="1B", help="a checkpoint's folder, or a shape to make: " + ", ".join(SHAPES))
    parser.add_argument("--work", default="prefill,one-stream,8-streams,16-streams", help="by comma")
    parser.add_argument("--contestant", default="", help="by comma; left out, all there are")
    parser.add_argument("--precision", default="int8,int4", help="of ours, by comma")
    parser.add_argument("--serve-arguments", default="", help="more flags for `tidemill serve`")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--trace", type=Path, help="CSV of the Azure LLM inference trace")
    parser.add_argument("--length-scale", type=float, default=0.25, help="of the trace's lengths")
    parser.add_argument("--llama-server", type=Path, default=path("LLAMA_SERVER"))
    parser.add_argument("--openvino-python", type=Path, default=path("OPENVINO_PYTHON"))
    parser.add_argument("--vllm-python", type=Path, default=path("VLLM_PYTHON"))
    parser.add_argument("--gguf-python", type=Path, default=path("GGUF_PYTHON"))
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()), help="where checkpoints are kept")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--add", action="store_true", help="to the runs that --out has: by turns, but not at a stretch")
    return parser.parse_args()


if __name__ == "__main__":
    main()
