"""What a decode step costs besides the model: the real loop, runner, sampler, frames and text around a free decoder.

Both ends of the socket are in one process, so that parts add up and nothing overlaps.
"""

import argparse
import asyncio
import socket
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe, write
from tests.fakes.byte_model import make_byte_model
from tidemill.config.settings import SchedulerSettings
from tidemill.core.clock import monotonic
from tidemill.core.kv_cache import KVCacheGroup, KVCacheLayout
from tidemill.core.requests import SamplingParams
from tidemill.engine.client.delta_buffer import DeltaBuffer
from tidemill.engine.client.generation import Generation
from tidemill.engine.client.sequence_stream import SequencePlan, SequenceStream
from tidemill.engine.core.channel import SocketChannel
from tidemill.engine.core.heartbeat import Pulse
from tidemill.engine.core.loop import EngineLoop
from tidemill.engine.protocol import FrameReader, FromEngine, StepOutput, Submit, encode_frame
from tidemill.kernels.backend import choose_backend
from tidemill.kernels.kv_tensors import KVTensors
from tidemill.kernels.linear import DEFAULT_ROW_TILE
from tidemill.runner import runner as runner_module
from tidemill.runner.compiled_draw import choose_draw
from tidemill.runner.runner import ModelRunner
from tidemill.scheduler.scheduler import Scheduler
from tidemill.text.tokenizer import Tokenizer

PROMPT_TOKENS, MAX_LEN, BLOCK_SIZE, WARM_UP_STEPS = 200, 4096, 16, 30
GREEDY = SamplingParams(seed=0, temperature=0.0, ignore_eos=True)
FULL = SamplingParams(
    seed=0, temperature=0.8, top_k=50, top_p=0.95, repetition_penalty=1.1, presence_penalty=0.2, frequency_penalty=0.2,
    ignore_eos=True,
)  # fmt: skip
WARM = SamplingParams(seed=0, temperature=0.8, ignore_eos=True)
NUCLEUS = SamplingParams(seed=0, temperature=0.8, top_p=0.95, ignore_eos=True)
ROWS = {
    "greedy, vocabulary of 16k": (GREEDY, 16_000),
    "greedy, vocabulary of 128k": (GREEDY, 128_000),
    "temperature, vocabulary of 128k": (WARM, 128_000),
    "top-p, vocabulary of 128k": (NUCLEUS, 128_000),
    "temperature, top-k, top-p, penalties, vocabulary of 128k": (FULL, 128_000),
}


class FreeDecoder:
    """A model that returns the same tensors every time; its likely tokens are letters."""

    def __init__(self, vocab_size: int) -> None:
        random = torch.Generator().manual_seed(0)
        self._hidden = torch.zeros(256, 8)
        # As sharp as a real model's: a few tokens hold nearly all of the probability.
        self._logits = torch.randn(64, vocab_size, generator=random) * 2
        self._logits[:, ord("a") : ord("z")] += 16

    def forward(self, token_ids: torch.Tensor, *_: Any) -> torch.Tensor:
        """Hidden rows that mean nothing."""
        if token_ids.shape[0] > self._hidden.shape[0]:
            self._hidden = torch.zeros(token_ids.shape[0], 8)
        return self._hidden[: token_ids.shape[0]]

    def logits(self, hidden_rows: torch.Tensor) -> torch.Tensor:
        """The same logits for every step."""
        return self._logits[: hidden_rows.shape[0]]


class Stopwatch:
    """Seconds by part, for one step after the other. A part inside another is taken off it."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self._inside = 0.0

    def begin(self) -> None:
        """A new step."""
        self.steps.append(defaultdict(float))

    def wrap(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its time counted as `part`."""

        def timed(*arguments: Any, **options: Any) -> Any:
            outside, self._inside = self._inside, 0.0
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                took = time.perf_counter() - start
                if self.steps:
                    self.steps[-1][part] += took - self._inside
                self._inside = outside + took

        return timed

    def medians(self) -> dict[str, float]:
        """Microseconds of each part in the median step."""
        steps = self.steps[WARM_UP_STEPS:]
        return {
            part: round(1e6 * statistics.median(step[part] for step in steps), 1)
            for part in sorted({part for step in steps for part in step})
        }


class Rig:
    """An engine loop, its client's side, and the socket between them."""

    def __init__(self, folder: Path, vocab_size: int, watch: Stopwatch) -> None:
        self._watch = watch
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock = ours
        self._frames: FrameReader[FromEngine] = FrameReader(FromEngine)
        self._tokenizer = Tokenizer.load(folder)
        self._streams: dict[int, Generation] = {}
        self._buffers: list[DeltaBuffer] = []
        layout = KVCacheLayout(8192, BLOCK_SIZE, 2 * 8 * BLOCK_SIZE * 4, (KVCacheGroup((0,), None),))
        cpu = torch.device("cpu")
        kv = KVTensors.allocate(layout, num_kv_heads=1, head_dim=8, dtype=torch.float32, device=cpu)
        scheduler = Scheduler(
            SchedulerSettings(max_num_seqs=64), layout, prefix_caching=True, model_fingerprint=b"", clock=monotonic,
            max_model_len=MAX_LEN,
        )  # fmt: skip
        runner = ModelRunner(
            FreeDecoder(vocab_size), kv, layout, model_id=0, vocab_size=vocab_size, row_tile=DEFAULT_ROW_TILE,
            device=cpu, draw=choose_draw(choose_backend(cpu), vocab_size),
        )  # fmt: skip
        channel = SocketChannel(theirs)
        self.loop = EngineLoop(
            scheduler, runner, channel, epoch=1, eos_token_ids=frozenset({256}), pulse=Pulse(monotonic), clock=monotonic
        )
        self._time_parts(scheduler, runner, channel)

    def _time_parts(self, scheduler: Any, runner: Any, channel: Any) -> None:
        wrap = self._watch.wrap
        for name in ("schedule", "update", "learn", "stats"):
            setattr(scheduler, name, wrap("schedule and update", getattr(scheduler, name)))
        runner_module.build_batch_tensors = wrap("batch tensors", runner_module.build_batch_tensors)
        rows = runner._logit_rows  # noqa: SLF001 - a stopwatch, not a caller
        rows.results = wrap("pick rows and sample", rows.results)
        channel.send = wrap("frame and send", channel.send)
        channel.receive = wrap("look for frames", channel.receive)
        self.loop.turn = wrap("the loop and runner themselves", self.loop.turn)  # type: ignore[method-assign]
        self.read = wrap("read, detokenize, hand over", self._read)

    def submit(self, sequence_id: int, sampling: SamplingParams) -> None:
        """Send a request of one sequence."""
        submit = Submit(
            sequence_id=sequence_id, prompt_token_ids=tuple((sequence_id + i) % 90 + 33 for i in range(PROMPT_TOKENS)),
            sampling=sampling, max_new_tokens=MAX_LEN - PROMPT_TOKENS, prompt_index=0, sample_index=0, priority=0,
            cache_salt="", arrival=monotonic(),
        )  # fmt: skip
        self._sock.sendall(encode_frame(submit))
        plan = SequencePlan(
            index=0, sequence_id=sequence_id, num_prompt_tokens=PROMPT_TOKENS, sampling=sampling, echo_text=None,
            continues_text=False, arrival=monotonic(),
        )  # fmt: skip
        buffer = DeltaBuffer(1 << 20)
        stream = SequenceStream(plan, self._tokenizer, monotonic)
        self._streams[sequence_id] = Generation((stream,), buffer, lambda *_, **__: None)
        self._buffers.append(buffer)

    async def _take(self) -> None:
        for buffer in self._buffers:
            await buffer.get()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        frames: list[FromEngine] = []
        while not frames:
            frames.extend(self._frames.feed(self._sock.recv(1 << 20)))
        for frame in frames:
            assert isinstance(frame, StepOutput)
            for output in frame.outputs:
                self._streams[output.sequence_id].advance(output)
            if len(frame.outputs) == len(self._buffers):
                loop.run_until_complete(self._take())


def measure(sampling: SamplingParams, vocab_size: int, *, num_sequences: int, num_steps: int) -> dict[str, Any]:
    """One row: microseconds a step, in all and by part."""
    watch, whole = Stopwatch(), []
    original = runner_module.build_batch_tensors
    events = asyncio.new_event_loop()
    try:
        with tempfile.TemporaryDirectory() as folder:
            rig = Rig(make_byte_model(Path(folder)), vocab_size, watch)
        for sequence_id in range(num_sequences):
            rig.submit(sequence_id, sampling)
        rig.loop.turn()
        rig.read(events)
        for _ in range(num_steps + WARM_UP_STEPS):
            watch.begin()
            start = time.perf_counter()
            rig.loop.turn()
            rig.read(events)
            whole.append(time.perf_counter() - start)
    finally:
        runner_module.build_batch_tensors = original
        events.close()
    whole = whole[WARM_UP_STEPS:]
    return {
        "sequences": num_sequences,
        "step_microseconds": round(1e6 * statistics.median(whole), 1),
        "step_microseconds_p95": round(1e6 * statistics.quantiles(whole, n=20)[-1], 1),
        "parts_microseconds": watch.medians(),
    }


def main() -> None:
    """Measure every row and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--sequences", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        {"row": name, **measure(sampling, vocab_size, num_sequences=count, num_steps=options.steps)}
        for name, (sampling, vocab_size) in ROWS.items()
        for count in options.sequences
    ]
    write({"what": "a decode step without its model", "machine": describe(), "rows": rows}, options.out)


if __name__ == "__main__":
    main()
