"""The books in virtual time: the real scheduler, the real books, and a meter whose truth is known, request by request.

The truth is not of the form that is fitted: tiles of rows, a soft knee, powers, noise, a meter that counts in steps.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tidemill.config.settings import CacheSettings, LedgerSettings, SchedulerSettings, SimulationSettings
from tidemill.core.clock import VirtualClock
from tidemill.core.footprint import IntervalBooks, MeterKind
from tidemill.core.requests import FinishReason, SamplingParams
from tidemill.engine.core.simulated import SimulatedRunner, simulated_layout
from tidemill.ledger.accounts import Accounts
from tidemill.ledger.books import EnergyBooks
from tidemill.ledger.conversion import Conversion
from tidemill.ledger.entries import Entry
from tidemill.scheduler.batch import Batch
from tidemill.scheduler.scheduler import Scheduler
from tidemill.scheduler.sequence import SequenceRequest

IDLE_WATTS = 20.0


@dataclass(frozen=True)
class TrueEnergy:
    """Joules of a step, part by part."""

    static_joules: float = 0.25
    weights_joules: float = 0.60
    row_joules: float = 0.022
    kv_joules: float = 1.1e-4
    row_context_joules: float = 1.2e-6
    sample_joules: float = 0.01
    noise_ratio: float = 0.03

    def parts(self, batch: Batch) -> tuple[float, dict[int, float]]:
        """The constant part of a step, and what each sequence added, in joules: by Aumann and Shapley where the
        parts are powers of a sum, which is in proportion to what each one has in the sum.
        """
        rows = batch.num_rows
        tiled = -(-rows // 16) * 16
        dense = (self.weights_joules**3 + (tiled * self.row_joules) ** 3) ** (1.0 / 3.0)
        ends = sum(s.start + s.num_tokens for s in batch.sequences)
        reads = self.kv_joules * ends**1.02
        added = {}
        for s in batch.sequences:
            own = (dense - self.weights_joules) * s.num_tokens / rows + reads * (s.start + s.num_tokens) / ends
            own += self.row_context_joules * s.num_tokens * (s.start + (s.num_tokens + 1) / 2)
            added[s.sequence_id] = own + self.sample_joules * s.samples
        return self.static_joules + self.weights_joules, added


class TrueMeter:
    """Idle watts for the time between steps, and what steps truly took, in whole millijoules."""

    kind = MeterKind(method="nvml", boundary="a simulated board", low_ratio=0.95, high_ratio=1.05)

    def __init__(self) -> None:
        self.exact = 0.0

    def joules(self) -> float | None:
        return round(self.exact, 3)


@dataclass(frozen=True)
class Ask:
    """One request that comes at `seconds`, and is given up after `patience` tokens, if that is set."""

    seconds: float
    prompt: tuple[int, ...]
    num_output_tokens: int
    tenant: str = ""
    patience: int | None = None


@dataclass
class LedgerRig:
    """One engine, its books and the service's."""

    seed: int = 1
    kv_tokens: int = 16_384
    max_num_seqs: int = 32
    truth: TrueEnergy = field(default_factory=TrueEnergy)
    settings: LedgerSettings = field(default_factory=LedgerSettings)

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        simulation = SimulationSettings(
            sim_kv_tokens=self.kv_tokens,
            sim_ttft_seconds=0.0,
            sim_seconds_per_token=0.02,
            sim_seconds_per_prompt_token=0.0004,
            sim_seconds_per_sequence=0.001,
            sim_failure_rate=0.01,
        )
        layout = simulated_layout(simulation, CacheSettings())
        self.scheduler = Scheduler(
            SchedulerSettings(max_num_seqs=self.max_num_seqs, max_queue=1_000_000, max_num_batched_tokens=256),
            layout,
            prefix_caching=True,
            model_fingerprint=b"rig",
            max_model_len=1900,
            clock=self.clock,
        )
        self.runner = SimulatedRunner(simulation, tuple(range(10, 100)), clock=self.clock, sleep=self.clock.advance)
        self.meter = TrueMeter()
        self.books = EnergyBooks(self.meter, layout.groups, self.clock, self.scheduler.costs.times)
        self.intervals: list[IntervalBooks] = []
        self.entries: list[Entry] = []
        self.open_joules = 0.0
        self.true_joules: dict[int, float] = {}
        self.num_preemptions = 0
        self._rng = random.Random(self.seed)
        self._patience: dict[int, int] = {}
        self._num_tokens: dict[int, int] = {}
        self.accounts = Accounts(
            Conversion.of(self.settings),
            model="rig",
            key_labels={"tenant-a": "alice", "tenant-b": "bob"},
            on_entry=self.entries.append,
            on_open=self._note_open,
            wall_clock=lambda: 1_700_000_000.0 + self.clock(),
        )

    def _note_open(self, joules: float) -> None:
        self.open_joules = joules

    def serve(self, asks: Iterable[Ask]) -> None:
        """Serve all of them to the end, and close the books."""
        due = sorted(asks, key=lambda ask: -ask.seconds)
        while due or self.scheduler.has_work:
            if not self.scheduler.has_work:
                self._rest(due[-1].seconds)
            while due and due[-1].seconds <= self.clock():
                self._take(due.pop())
            self._step()
        self.clock.advance(1.0)
        self.meter.exact += IDLE_WATTS
        self._post(self.books.close())

    def _rest(self, until: float) -> None:
        """Time passes without work; the meter is read about every five seconds, as the engine does."""
        while self.clock() < until:
            seconds = min(5.0, until - self.clock())
            self.clock.advance(seconds)
            self.meter.exact += IDLE_WATTS * seconds
            self._post(self.books.close_if_due())

    def _take(self, ask: Ask) -> None:
        sequence_id = len(self.true_joules) + 1
        self.true_joules[sequence_id] = 0.0
        if ask.patience is not None:
            self._patience[sequence_id] = ask.patience
        self.accounts.opened(str(sequence_id), ask.tenant, sequence_id, [len(ask.prompt)], 1)
        self.scheduler.add(
            SequenceRequest(
                sequence_id=sequence_id,
                prompt_token_ids=ask.prompt,
                sampling=SamplingParams(seed=1, temperature=0.0, ignore_eos=True),
                max_new_tokens=ask.num_output_tokens,
                eos_token_ids=frozenset(),
                arrival=ask.seconds,
                tenant=ask.tenant,
            )
        )

    def _step(self) -> None:
        batch = self.scheduler.schedule()
        if batch is None:
            return
        started = self.clock()
        result = self.runner.launch(batch).result()
        seconds = self.clock() - started
        self._burn(batch)
        self.books.stepped(batch, seconds)
        for output in self.scheduler.update(batch, result):
            cached = output.start.num_cached_tokens if output.start is not None else None
            self.accounts.yielded(output.sequence_id, len(output.token_ids), cached)
            tokens = self._num_tokens.get(output.sequence_id, 0) + len(output.token_ids)
            self._num_tokens[output.sequence_id] = tokens
            if output.finish is not None:
                self.num_preemptions += output.finish.num_preemptions
                self.books.left(output.sequence_id)
                failed = output.finish.reason is FinishReason.ERROR
                self.accounts.ended(output.sequence_id, "failed" if failed else "finished")
            elif tokens >= self._patience.get(output.sequence_id, 1_000_000):
                self.accounts.ended(output.sequence_id, "aborted")
                assert self.scheduler.abort(output.sequence_id)
                self.books.left(output.sequence_id)
        self.scheduler.learn(seconds)
        self._post(self.books.close_if_due())

    def _burn(self, batch: Batch) -> None:
        constant, added = self.truth.parts(batch)
        factor = max(0.5, self._rng.gauss(1.0, self.truth.noise_ratio))
        self.meter.exact += factor * (constant + sum(added.values()))
        for sequence_id, joules in added.items():
            self.true_joules[sequence_id] += factor * (joules + constant / len(added))

    def _post(self, books: IntervalBooks | None) -> None:
        if books is not None:
            self.intervals.append(books)
            self.accounts.posted(books)


def mixed(num: int, rng: random.Random, *, prompt: float = 4.3, output: float = 3.6) -> Iterator[Ask]:
    """Requests of all lengths, some with a common beginning, some that are given up; waves of them, and pauses.

    `prompt` and `output` are logarithms of the median lengths.
    """
    common = tuple(rng.randrange(10, 100) for _ in range(96))
    seconds = 0.0
    for index in range(num):
        seconds += rng.expovariate(20.0 if index // 250 % 2 else 5.0)
        seconds += 60.0 if index % 1000 == 999 else 0.0
        length = min(1200, max(4, int(rng.lognormvariate(prompt, 1.0))))
        own = tuple(rng.randrange(10, 100) for _ in range(length))
        outputs = min(400, max(1, int(rng.lognormvariate(output, 0.9))))
        patience = rng.randrange(1, outputs + 1) if rng.random() < 0.08 else None
        tokens = common + own if rng.random() < 0.3 else own
        yield Ask(seconds, tokens, outputs, ("tenant-a", "tenant-b")[index % 2], patience)
