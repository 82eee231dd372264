"""Schedulers small enough to see through: over a checking runner, with a drive to the end that asserts as it goes; and
by hand, over steps whose times are known.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.fakes.kv_runner import CheckingRunner, NextTokens, hashed_token
from tidemill.config.settings import CacheSettings, SchedulerSettings, SimulationSettings
from tidemill.core.clock import VirtualClock
from tidemill.core.kv_cache import KVCacheGroup, KVCacheLayout
from tidemill.core.objectives import Objectives
from tidemill.core.requests import SamplingParams
from tidemill.core.stats import StepStats
from tidemill.cost.model import CostModel
from tidemill.engine.core.simulated import simulated_layout
from tidemill.scheduler.batch import Batch, RawLogprobs, SequenceResult, StepResult
from tidemill.scheduler.outputs import SequenceFinish
from tidemill.scheduler.scheduler import Scheduler
from tidemill.scheduler.sequence import Sequence, SequenceRequest

FULL = KVCacheGroup(layers=(0,), window=None)


def window(positions: int) -> KVCacheGroup:
    """A group of one layer that looks `positions` back."""
    return KVCacheGroup(layers=(1,), window=positions)


def request(
    sequence_id: int,
    prompt: tuple[int, ...] | int = 5,
    max_new_tokens: int = 4,
    *,
    priority: int = 0,
    salt: str = "",
    arrival: float = 0.0,
    eos: frozenset[int] = frozenset(),
    **sampling: object,
) -> SequenceRequest:
    """A greedy request; a prompt given by its length is made of tokens that no other id has."""
    tokens = prompt if isinstance(prompt, tuple) else tuple(1000 * (sequence_id + 1) + i for i in range(prompt))
    parameters = {"seed": 0, "temperature": 0.0, **sampling}
    return SequenceRequest(
        sequence_id=sequence_id,
        prompt_token_ids=tokens,
        sampling=SamplingParams(**parameters),  # type: ignore[arg-type]
        max_new_tokens=max_new_tokens,
        eos_token_ids=eos,
        arrival=arrival,
        priority=priority,
        cache_salt=salt,
    )


@dataclass
class Bench:
    """Scheduler, runner and everything that came out."""

    scheduler: Scheduler
    runner: CheckingRunner
    clock: VirtualClock
    tokens: dict[int, list[int]] = field(default_factory=dict)
    logprobs: dict[int, list[RawLogprobs]] = field(default_factory=dict)
    prompt_logprobs: dict[int, list[RawLogprobs]] = field(default_factory=dict)
    finishes: dict[int, SequenceFinish] = field(default_factory=dict)
    stats: list[StepStats] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    def add(self, *requests: SequenceRequest) -> None:
        for one in requests:
            self.scheduler.add(one)

    def step(self, *, meanwhile: Callable[[], object] | None = None) -> Batch | None:
        """One step; `meanwhile` is called while it is under way."""
        batch = self.scheduler.schedule()
        if batch is None:
            return None
        self.batches.append(batch)
        result = self.runner.run(batch)
        if meanwhile is not None:
            meanwhile()
        for output in self.scheduler.update(batch, result):
            assert output.token_ids or output.prompt_logprobs or output.finish
            assert output.sequence_id not in self.finishes
            self.tokens.setdefault(output.sequence_id, []).extend(output.token_ids)
            self.logprobs.setdefault(output.sequence_id, []).extend(output.logprobs)
            self.prompt_logprobs.setdefault(output.sequence_id, []).extend(output.prompt_logprobs)
            if output.finish is not None:
                self.finishes[output.sequence_id] = output.finish
        self.stats.append(self.scheduler.stats(step_seconds=0.0, schedule_seconds=0.0))
        return batch

    def drain(self, *, max_steps: int = 100_000) -> None:
        """Step until nothing is left."""
        for _ in range(max_steps):
            if self.step() is None:
                break
        assert not self.scheduler.has_work
        assert self.stats[-1].num_used_blocks == 0

    @property
    def num_preemptions(self) -> int:
        return sum(stats.num_preemptions for stats in self.stats)


def make_bench(
    *,
    num_blocks: int = 1000,
    block_size: int = 4,
    groups: tuple[KVCacheGroup, ...] = (FULL,),
    max_num_seqs: int = 8,
    max_num_batched_tokens: int = 24,
    max_queue: int = 1000,
    max_preemptions: int = 3,
    prefix_caching: bool = True,
    max_model_len: int = 80,
    next_tokens: NextTokens | None = None,
) -> Bench:
    """A bench with `num_blocks` usable pages."""
    clock = VirtualClock()
    layout = KVCacheLayout(num_blocks=num_blocks + 1, block_size=block_size, block_bytes=1, groups=groups)
    settings = SchedulerSettings(
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        max_queue=max_queue,
        max_preemptions=max_preemptions,
    )
    scheduler = Scheduler(
        settings,
        layout,
        prefix_caching=prefix_caching,
        model_fingerprint=b"model",
        max_model_len=max_model_len,
        clock=clock,
    )
    runner = CheckingRunner(layout, max_num_seqs, max_num_batched_tokens, next_tokens or hashed_token())
    return Bench(scheduler, runner, clock)


def check_books(bench: Bench) -> None:
    """References, reservations and shares are what the running sequences' tables say; nothing is held in advance."""
    kv = bench.scheduler._kv
    running = list(bench.scheduler._running)
    assert len(running) <= bench.runner.max_num_seqs
    held = Counter(page for s in running for table in s.blocks.tables for page in table if page)
    assert all(kv._pool.references(page) == count for page, count in held.items())
    assert kv.num_used == len(held)
    assert kv._num_reserved == sum(s.blocks.num_reserved or 0 for s in running)
    windowed = Counter(page for s in running for g in kv._window_groups for page in s.blocks.tables[g] if page)
    assert kv._num_shared == sum(count - 1 for count in windowed.values())
    assert kv.num_available >= 0
    for sequence in running:
        num_blocks = -(-sequence.num_computed // kv.block_size)
        assert all(len(table) == num_blocks for table in sequence.blocks.tables)


def unpressed(asked: SequenceRequest, next_tokens: NextTokens | None = None) -> list[int]:
    """The tokens `asked` gets from a runner of its own, if nothing but their number ends it."""
    following = next_tokens or hashed_token()
    tokens = asked.prompt_token_ids
    while len(tokens) - len(asked.prompt_token_ids) < asked.max_new_tokens:
        tokens += following(asked, tokens)  # type: ignore[arg-type]
    return list(tokens[len(asked.prompt_token_ids) :])


CONSTANT, ROW = 0.010, 0.001


class Known(CostModel):
    """Ten milliseconds a step, and one a row."""

    def __init__(self) -> None:
        super().__init__()
        self.times.coefficients[:2] = CONSTANT, ROW

    @property
    def is_calibrated(self) -> bool:
        return True


def known_scheduler(clock: VirtualClock | None = None, *, keeps_promises: bool = True, **limits: int) -> Scheduler:
    """One that knows what steps cost."""
    return Scheduler(
        SchedulerSettings(**{"max_num_seqs": 32, "max_num_batched_tokens": 512, **limits}),
        simulated_layout(SimulationSettings(), CacheSettings()),
        prefix_caching=False,
        model_fingerprint=b"",
        max_model_len=4096,
        clock=clock or VirtualClock(),
        costs=Known(),
        keeps_promises=keeps_promises,
    )


class Stage:
    """A scheduler by hand: every sequence yields a token once it is complete, and steps take what one says."""

    def __init__(self, *, keeps_promises: bool = True, max_num_seqs: int = 32) -> None:
        self.clock = VirtualClock()
        self.scheduler = known_scheduler(
            self.clock, keeps_promises=keeps_promises, max_num_seqs=max_num_seqs, max_num_batched_tokens=256
        )
        self._number = 0

    def add(
        self,
        tenant: str,
        num_tokens: int,
        tpot: float | None = 0.5,
        *,
        ttft: float | None = None,
        priority: int = 0,
        max_new_tokens: int = 200,
    ) -> int:
        self._number += 1
        one = request(self._number, num_tokens, max_new_tokens, priority=priority, arrival=self.clock())
        objectives = Objectives(tpot_seconds=tpot, ttft_seconds=ttft)
        self.scheduler.add(dataclasses.replace(one, tenant=tenant, objectives=objectives))
        return self._number

    def step(self, seconds: float | None = 0.01) -> dict[int, int]:
        """Rows by sequence of a step that takes `seconds`, or what it costs if None."""
        batch = self.scheduler.schedule()
        assert isinstance(batch, Batch)
        self.clock.advance(CONSTANT + ROW * batch.num_rows if seconds is None else seconds)
        results = tuple(SequenceResult(s.sequence_id, token_ids=(7,) if s.samples else ()) for s in batch.sequences)
        self.scheduler.update(batch, StepResult(batch.step, results))
        return {s.sequence_id: s.num_tokens for s in batch.sequences}

    def knows(self, tenant: str) -> None:
        """`tenant` was here before, and has the credit of one that comes back."""
        self.scheduler._shares.join(tenant, self.clock())
        self.scheduler._shares.leave(tenant, self.clock())

    def flood(self, num: int, tpot: float | None = 0.5, *, ttft: float | None = None) -> set[int]:
        """`num` streams of a tenant that has had far more than anybody else."""
        ids = {self.add("flood", 10, tpot, ttft=ttft) for _ in range(num)}
        while any(self.sequence(sequence_id).first_token_at is None for sequence_id in ids):
            self.step()
        self.scheduler._shares.charge("flood", 50_000)
        return ids

    def sequence(self, sequence_id: int) -> Sequence:
        """What the scheduler knows of it."""
        return self.scheduler._sequences[sequence_id]
