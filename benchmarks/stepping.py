"""The real runner, given its steps by hand: what a step costs, without scheduler, processes or HTTP."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.limits import kv_bytes_per_token
from tidemill.config.settings import CacheSettings, ModelSettings, SchedulerSettings
from tidemill.core.requests import SamplingParams
from tidemill.models.spec import load_spec
from tidemill.runner.loading import load_runner
from tidemill.scheduler.batch import Batch, NewSequence, ScheduledSequence

BLOCK_SIZE = CacheSettings().block_size
GREEDY = SamplingParams(seed=0, temperature=0.0, ignore_eos=True)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt of `num_tokens` in steps of at most `chunk`; the prompt's last row is sampled."""

    num_tokens: int
    chunk: int


@dataclass(frozen=True, slots=True)
class Decode:
    """Steps of one token for each of `num_sequences` that have `context` tokens already.

    The context's keys and values are whatever is in the cache: what a step takes does not depend on them, as long as
    something was written there. (Memory that never was is one page of zeros to the system, and is read from a cache.)
    """

    num_sequences: int
    context: int


class Stepper:
    """A loaded runner and the blocks it may use; a sequence lives for one measurement."""

    def __init__(self, folder: Path, model: ModelSettings, *, most_tokens: int, chunk: int = 512) -> None:
        """Load `folder`, with room for `most_tokens` in the cache and for steps of `chunk` rows."""
        self.spec = load_spec(folder)
        blocks = -(-most_tokens // BLOCK_SIZE) + 64
        per_block = BLOCK_SIZE * kv_bytes_per_token(self.spec, "fp32" if model.precision == "fp32" else "bf16")
        loaded = load_runner(
            folder,
            self.spec,
            model,
            CacheSettings(block_size=BLOCK_SIZE, kv_cache_memory=blocks * per_block),
            SchedulerSettings(max_num_batched_tokens=chunk),
            model_id=0,
            progress=lambda *_: None,
        )
        for part in (*loaded.kv.keys, *loaded.kv.values, *loaded.kv.key_scales, *loaded.kv.value_scales):
            part.fill_(1)
        self.info, self.layout, self.runner = loaded.info, loaded.layout, loaded.runner
        self._step = 0
        self._sequence = 0
        self._finished: tuple[int, ...] = ()

    def prompt_seconds(self, work: Prompt) -> float:
        """Seconds until the prompt's first token is sampled."""
        sequence = self._new([work.num_tokens])
        took = 0.0
        for start in range(0, work.num_tokens, work.chunk):
            count = min(work.chunk, work.num_tokens - start)
            took += self._run(sequence, [(0, start, count, start + count == work.num_tokens)], first=start == 0)
        self._finished = tuple(new.sequence_id for new in sequence)
        return took

    def decode_seconds(self, work: Decode, *, num_steps: int) -> float:
        """The median of `num_steps` decode steps."""
        sequences = self._new([work.context] * work.num_sequences)
        seconds = []
        for n in range(num_steps):
            rows = [(index, work.context - 1 + n, 1, True) for index in range(work.num_sequences)]
            seconds.append(self._run(sequences, rows, first=n == 0))
        self._finished = tuple(new.sequence_id for new in sequences)
        # The first step makes the sequences' states, which is no part of decoding.
        return statistics.median(seconds[1:])

    def _new(self, lengths: list[int]) -> tuple[NewSequence, ...]:
        new = []
        for length in lengths:
            prompt = tuple(300 + (7 * self._sequence + 13 * p) % 3000 for p in range(length))
            new.append(NewSequence(self._sequence, 0, prompt, GREEDY, (0, 0, 0), frozenset()))
            self._sequence += 1
        return tuple(new)

    def _run(self, sequences: tuple[NewSequence, ...], rows: list[tuple[int, int, int, bool]], *, first: bool) -> float:
        """One step of (index, start, count, samples) rows."""
        self._step += 1
        each = (self.layout.num_blocks - 1) // len(sequences)
        groups = range(len(self.layout.groups))
        assert len(groups) == 1, "models with windows need a table a group"
        scheduled = []
        for index, start, count, samples in rows:
            needed = -(-(start + count) // BLOCK_SIZE)
            assert needed <= each, "the cache is too small for this"
            # As of sequences that grew side by side, each of whose blocks lies among those of the others.
            table = range(1 + index, 1 + index + needed * len(sequences), len(sequences))
            scheduled.append(
                ScheduledSequence(sequences[index].sequence_id, start, count, (list(table),), samples=samples)
            )
        finished, self._finished = (self._finished, ()) if first else ((), self._finished)
        batch = Batch(self._step, 0, sequences if first else (), tuple(scheduled), finished)
        begin = time.perf_counter()
        result = self.runner.launch(batch).result()
        took = time.perf_counter() - begin
        assert all(each.error is None for each in result.sequences), result
        return took
