"""Where a step's time goes: the engine process's own loop, its parts timed, with everything in it but the process.

    python -m benchmarks.step_profile --model CHECKPOINT --precision int8 --streams 1 8 32 --context 256

Prints milliseconds a step and the share of each part: the products by shape, attention, norms and quantization, rotary,
SiLU, sampling, building tensors, scheduling, frames, and what is left in the Python between them. Layers that are
computed in one call are one part; with --layer-by-layer they are computed one kernel after another, as large steps are.
"""

import argparse
import contextlib
import itertools
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import peaks
from benchmarks.machine import SHAPES, busy_cores, describe, make_checkpoint, write
from benchmarks.part_clock import PartClock
from tidemill.config.settings import CacheSettings, ModelSettings, SchedulerSettings, Settings
from tidemill.core.clock import monotonic
from tidemill.core.requests import SamplingParams
from tidemill.engine.core.assembly import assemble
from tidemill.engine.core.channel import SocketChannel
from tidemill.engine.core.heartbeat import Pulse
from tidemill.engine.core.loop import EngineLoop
from tidemill.engine.protocol import Abort, Boot, Submit, encode_frame
from tidemill.scheduler.batch import Batch, Runner, ScheduledSequence, StepHandle

GREEDY = SamplingParams(seed=0, temperature=0.0, ignore_eos=True)
SAMPLED = SamplingParams(temperature=0.8, top_p=0.95, top_k=50, seed=1, ignore_eos=True)


def time_parts(clock: PartClock) -> None:
    """Have every part timed. The loop's classes are public; that they call these is what this file knows of them."""
    from tidemill.engine.core.loop import EngineLoop
    from tidemill.kernels.cpu.backend import NumbaBackend
    from tidemill.kernels.cpu.layer_stack import CpuLayerStack
    from tidemill.models.layers.linear import Linear
    from tidemill.runner import logit_rows, runner
    from tidemill.scheduler.scheduler import Scheduler

    clock.wrap(Linear, "__call__", lambda self, _: f"product {self.weight.in_features} x {self.weight.out_features}")
    clock.wrap(CpuLayerStack, "run", "layers in one call")
    for name, part in {
        "attention": "attention",
        "rotate_and_write": "rotary, cache write",
        "rms_norm": "norms, quantize",
        "add_rms_norm": "norms, quantize",
        "quantize": "norms, quantize",
        "silu_mul": "silu, quantize",
        "plan": "batch tensors",
    }.items():
        clock.wrap(NumbaBackend, name, part)
    clock.wrap(runner, "build_batch_tensors", "batch tensors")
    clock.wrap(logit_rows, "sample", "sampling")
    clock.wrap(logit_rows.LogitRows, "results", "logit rows")
    clock.wrap(runner.ModelRunner, "launch", "Python between kernels")
    clock.wrap(Scheduler, "schedule", "schedule")
    clock.wrap(Scheduler, "update", "schedule")
    clock.wrap(Scheduler, "stats", "schedule")
    clock.wrap(SocketChannel, "send", "frames")
    clock.wrap(SocketChannel, "receive", "frames")
    clock.wrap(EngineLoop, "turn", "loop")


def take_no_layers_together() -> None:
    """Have every decoder computed one kernel after another."""
    from tidemill.kernels.cpu.backend import NumbaBackend

    def refuse(*_: object) -> None:
        return None

    setattr(NumbaBackend, "stack", refuse)  # noqa: B010


FRAMES_AT_ONCE = 8


class Watched:
    """A runner that remembers which sequences were in its last step."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.last: Sequence[ScheduledSequence] = ()

    def launch(self, batch: Batch) -> StepHandle:
        """As the runner's."""
        self.last = batch.sequences
        return self._runner.launch(batch)


class Engine:
    """The engine's loop on one end of a socket pair, ourselves on the other, turn by turn."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(0.0)
        self._socket = ours
        boot = Boot(epoch=1, settings=settings, model_folder=str(folder), eos_token_ids=())
        engine = assemble(boot, lambda *_: None, monotonic, on_layer=lambda: None)
        self.info = engine.info
        self._runner = Watched(engine.runner)
        self._loop = EngineLoop(
            engine.scheduler, self._runner, SocketChannel(theirs), epoch=1, eos_token_ids=frozenset(),
            pulse=Pulse(monotonic), clock=monotonic,
        )  # fmt: skip
        self._ids = itertools.count()

    def submit(self, num_streams: int, context: int, num_output: int, sampling: SamplingParams) -> list[int]:
        """Start sequences of `context` prompt tokens; all different. The socket holds only some: turns make room."""
        ids = [next(self._ids) for _ in range(num_streams)]
        for sequence in ids:
            prompt = tuple(300 + (7 * sequence + 13 * position) % 3000 for position in range(context))
            frame = Submit(
                sequence_id=sequence, prompt_token_ids=prompt, sampling=sampling, max_new_tokens=num_output,
                prompt_index=0, sample_index=0, priority=0, cache_salt="", arrival=monotonic(),
            )  # fmt: skip
            self._socket.send(encode_frame(frame))
            if sequence % FRAMES_AT_ONCE == 0:
                self.turn()
        return ids

    def turn(self) -> float:
        """One turn of the loop; what it sent is thrown away."""
        start = time.perf_counter()
        self._loop.turn()
        took = time.perf_counter() - start
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(1 << 20):
                pass
        return took

    def decode_only(self, num_streams: int) -> float:
        """Turn until a step holds a token of each of `num_streams` and no prompt; the mean context they have then."""
        while len(self._runner.last) < num_streams or any(each.num_tokens > 1 for each in self._runner.last):
            self.turn()
        return statistics.mean(each.start + 1 for each in self._runner.last)

    def abort(self, ids: list[int]) -> None:
        """End the sequences."""
        self._socket.send(encode_frame(Abort(sequence_ids=tuple(ids))))
        self.turn()
        self._runner.last = ()


def profile(
    engine: Engine, clock: PartClock, gauge: peaks.Gauge, num_streams: int, context: int, steps: int, *, sampled: bool
) -> Any:
    """Milliseconds by part of a decode step."""
    # Those whose prompts are first go on while the others' are computed.
    most_turns = 2 * -(-num_streams * context // 512) + num_streams
    ids = engine.submit(num_streams, context, most_turns + steps + 8, SAMPLED if sampled else GREEDY)
    mean_context = engine.decode_only(num_streams)
    reads_before = gauge.bytes_per_second()
    clock.clear()
    seconds = [engine.turn() for _ in range(steps)]
    parts = {name: value / steps * 1e3 for name, value in clock.seconds.items()}
    engine.abort(ids)
    total = sum(parts.values())
    kernels = ("product", "attention", "norms", "rotary", "silu", "layers")
    return {
        "mean_context": round(mean_context),
        "step_ms_median": round(statistics.median(seconds) * 1e3, 3),
        "step_ms_mean": round(total, 3),
        "machine_read_gb_per_second": [round(reads_before / 1e9, 1), round(gauge.bytes_per_second() / 1e9, 1)],
        "outside_kernels_ms": round(sum(v for n, v in parts.items() if not n.startswith(kernels)), 3),
        "parts_ms": {n: round(v, 3) for n, v in sorted(parts.items(), key=lambda item: -item[1])},
        "parts_share": {n: round(v / total, 3) for n, v in sorted(parts.items(), key=lambda item: -item[1])},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a checkpoint's folder, or a shape to make: " + ", ".join(SHAPES), default="1B")
    parser.add_argument("--precision", default="int8", help="as of `tidemill serve`")
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--sampled", action="store_true", help="sample with top-k and top-p instead of greedily")
    parser.add_argument("--layer-by-layer", action="store_true", help="take no layers together, to see their parts")
    parser.add_argument("--checkpoints", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = make_checkpoint(options.checkpoints, options.model) if options.model in SHAPES else Path(options.model)
    busy = busy_cores(0.5)
    clock = PartClock()
    time_parts(clock)
    if options.layer_by_layer:
        take_no_layers_together()
    engine = Engine(
        folder,
        Settings(
            model=ModelSettings(model=str(folder), precision=options.precision),
            cache=CacheSettings(kv_cache_memory=2**31),
            scheduler=SchedulerSettings(max_num_seqs=max(64, *options.streams)),
        ),
    )
    peaks.use_threads(engine.info.num_threads)
    gauge = peaks.Gauge(peaks.aligned_bytes(2**28))
    table = {
        f"{streams} streams at context {options.context}": profile(
            engine, clock, gauge, streams, options.context, options.steps, sampled=options.sampled
        )
        for streams in options.streams
    }
    what = "milliseconds of a decode step by part, in the engine's loop"
    config = {"busy_cores_before": busy} | {
        k: v for k, v in vars(options).items() if k not in ("out", "checkpoints", "model")
    }
    model = {"parameters": engine.info.num_parameters, "precision": engine.info.precision}
    write({"what": what, "machine": describe(), "config": config, "model": model, "steps": table}, options.out)


if __name__ == "__main__":
    main()
