"""Synthetic steps that teach the cost model what this machine and this model do, before anybody waits for an answer.

They go through the runner like any other, over pages that no sequence has yet; what they write there is never read.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tidemill.core.clock import Clock
from tidemill.core.kv_cache import KVCacheLayout
from tidemill.core.requests import SamplingParams
from tidemill.cost.model import CostModel
from tidemill.cost.step_shape import StepShape
from tidemill.scheduler.batch import Batch, NewSequence, Runner, ScheduledSequence

_MAX_POSITIONS = 8192
"""Positions of the cache that are touched: pages of memory that nothing has touched are not there yet."""
_NUM_STREAMS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
_CONTEXTS = (32, 256, 1024)
_CHUNKS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 1024, 2048)
_REPEATS = 3
"""How often every step is made: the first time introduces its sequences, compiles and packs, and is not learnt from."""
_STRIDE = 5
"""Steps are made in strides, so that what there is time for is spread over all of them."""


@dataclass(frozen=True, slots=True)
class SyntheticStep:
    """`num_streams` sequences that compute one token at `context`, and a prompt's chunk behind `chunk_context`."""

    num_streams: int
    context: int
    chunk: int
    chunk_context: int

    @property
    def num_positions(self) -> int:
        """Cache positions it looks at or writes."""
        return self.num_streams * self.context + self.chunk_context + self.chunk


def synthetic_steps(*, max_num_seqs: int, max_num_batched_tokens: int, max_model_len: int) -> tuple[SyntheticStep, ...]:
    """A few dozen steps that cover what the limits allow: streams alone, prompts alone, and both."""
    streams = [n for n in _NUM_STREAMS if n <= min(max_num_seqs, max_num_batched_tokens)]
    contexts = [c for c in _CONTEXTS if c < max_model_len] or [max_model_len - 1]
    chunks = [c for c in _CHUNKS if c <= max_num_batched_tokens] or [max_num_batched_tokens]
    made = [SyntheticStep(n, c, 0, 0) for c in contexts for n in streams]
    made += [SyntheticStep(0, 0, chunk, start) for start in (0, contexts[-1]) for chunk in chunks]
    made += [SyntheticStep(n, contexts[0], chunk, 0) for n in streams[2::2] for chunk in chunks[::3]]
    possible = [
        step
        for step in made
        if step.num_positions <= _MAX_POSITIONS
        and step.num_streams + step.chunk <= max_num_batched_tokens
        and step.num_streams + (step.chunk > 0) <= max_num_seqs
        and step.chunk_context + step.chunk + _REPEATS <= max_model_len
        and step.context + _REPEATS <= max_model_len
    ]
    return tuple(step for start in range(_STRIDE) for step in possible[start::_STRIDE])


def calibrate(
    model: CostModel,
    runner: Runner,
    layout: KVCacheLayout,
    steps: tuple[SyntheticStep, ...],
    *,
    model_id: int,
    clock: Clock,
    budget_seconds: float,
    progress: Callable[[float], None],
) -> int:
    """Teach `model` with `steps`, until they are done or the time is up; how many steps were learnt from."""
    batches = _Batches(layout, model_id)
    ends = clock() + budget_seconds
    learnt: list[tuple[StepShape, float]] = []
    for index, step in enumerate(steps):
        if clock() > ends:
            break
        batch = batches.make(step)
        runner.launch(batch).result()
        for _ in range(_REPEATS - 1):
            batch = batches.after(batch)
            started = clock()
            runner.launch(batch).result()
            learnt.append((_shape(batch), clock() - started))
            model.observe(*learnt[-1])
        progress((index + 1) / len(steps))
    runner.launch(batches.forget()).result()
    if learnt:
        model.settle()
        model.judge_anew(learnt)
    return len(learnt)


def _shape(batch: Batch) -> StepShape:
    streams = [s for s in batch.sequences if s.samples]
    context = sum(s.start + 1 for s in streams)
    shape = StepShape(len(streams), len(streams), context, context)
    for prompt in batch.sequences:
        if not prompt.samples:
            shape = shape.with_prompt(prompt.num_tokens, prompt.start)
    return shape


class _Batches:
    """Makes batches of sequences that live for a few steps. Ids count down from -1: no client's are negative."""

    def __init__(self, layout: KVCacheLayout, model_id: int) -> None:
        self._layout = layout
        self._model_id = model_id
        self._ids = itertools.count(-1, -1)
        self._number = itertools.count(1)
        self._known: tuple[int, ...] = ()

    def make(self, step: SyntheticStep) -> Batch:
        """The batch of `step`, all its sequences new; those before are forgotten."""
        pages = itertools.cycle(range(1, self._layout.num_blocks))
        made = [self._sequence(pages, step.context - 1, 1, samples=True) for _ in range(step.num_streams)]
        if step.chunk:
            made.append(self._sequence(pages, step.chunk_context, step.chunk, samples=False))
        forgotten, self._known = self._known, tuple(new.sequence_id for new, _ in made)
        return self._batch(tuple(new for new, _ in made), tuple(scheduled for _, scheduled in made), forgotten)

    def after(self, batch: Batch) -> Batch:
        """The step that follows: streams are one token further, a prompt computes its chunk again."""
        sequences = tuple(replace(s, start=s.start + 1) if s.samples else s for s in batch.sequences)
        return self._batch((), sequences, ())

    def forget(self) -> Batch:
        """A batch that computes nothing, and lets the runner forget what it knows."""
        return self._batch((), (), self._known)

    def _batch(
        self, new: tuple[NewSequence, ...], sequences: tuple[ScheduledSequence, ...], forgotten: tuple[int, ...]
    ) -> Batch:
        return Batch(next(self._number), self._model_id, new, sequences, forgotten)

    def _sequence(
        self, pages: Iterator[int], start: int, num_tokens: int, *, samples: bool
    ) -> tuple[NewSequence, ScheduledSequence]:
        sequence_id = next(self._ids)
        num_tokens_known = start + num_tokens + (0 if samples else 1)
        num_blocks = -(-(start + num_tokens + _REPEATS) // self._layout.block_size)
        tables = tuple([next(pages) for _ in range(num_blocks)] for _ in self._layout.groups)
        new = NewSequence(
            sequence_id=sequence_id,
            model_id=self._model_id,
            prompt_token_ids=(0,) * num_tokens_known,
            sampling=SamplingParams(seed=0, temperature=0.0, ignore_eos=True),
            sampling_key=(0, 0, 0),
            eos_token_ids=frozenset(),
        )
        return new, ScheduledSequence(sequence_id, start, num_tokens, tables, samples=samples)
