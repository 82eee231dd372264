"""The promise in virtual time: the real scheduler, the real admission, and a machine whose steps take what it likes."""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from tidemill.config.settings import CacheSettings, SchedulerSettings, Settings, SimulationSettings, SloSettings
from tidemill.core.clock import VirtualClock
from tidemill.core.errors import OverloadedError
from tidemill.core.kv_cache import KVCacheLayout
from tidemill.core.objectives import Objectives
from tidemill.core.requests import SamplingParams
from tidemill.core.stats import PromiseOutcome
from tidemill.cost.model import CostModel
from tidemill.cost.store import CostStore
from tidemill.engine.client.offer import Offer, OfferedPrompt
from tidemill.engine.client.promise import Promise
from tidemill.engine.core.calibration import calibrate, synthetic_steps
from tidemill.engine.core.cost_keeper import CostKeeper
from tidemill.engine.core.simulated import SimulatedRunner, simulated_layout
from tidemill.engine.core.wire import to_request, to_wire
from tidemill.engine.protocol import StepOutput, Submit
from tidemill.scheduler.batch import Batch
from tidemill.scheduler.scheduler import Scheduler


@dataclass(frozen=True)
class Truth:
    """What steps really take; not of the form that is fitted: tiles, a soft knee, powers, noise and rare outliers."""

    weights_seconds: float = 0.020
    row_seconds: float = 0.0011
    kv_token_seconds: float = 4e-7
    row_context_seconds: float = 1.5e-8
    sample_seconds: float = 6e-5
    turn_seconds: float = 4e-4
    noise_ratio: float = 0.03
    outlier_rate: float = 0.003
    bad: tuple[float, float] = (0.0, 0.0)
    """From when to when, on the engine's clock, some steps are held up by something else on the machine."""
    hiccup_rate: float = 0.02
    hiccup_seconds: float = 0.12

    def seconds(self, batch: Batch, rng: random.Random) -> float:
        rows = batch.num_rows
        tiled = -(-rows // 16) * 16
        dense = (self.weights_seconds**4 + (tiled * self.row_seconds) ** 4) ** 0.25
        ends = [s.start + s.num_tokens for s in batch.sequences]
        attention = self.kv_token_seconds * sum(ends) ** 1.03 + self.row_context_seconds * sum(
            s.num_tokens * (s.start + s.num_tokens / 2) for s in batch.sequences
        )
        mean = dense + attention + self.sample_seconds * sum(s.samples for s in batch.sequences) + self.turn_seconds
        factor = math.exp(rng.gauss(0.0, self.noise_ratio))
        return mean * factor * (1.8 if rng.random() < self.outlier_rate else 1.0)


class TrueRunner(SimulatedRunner):
    """Steps take what `truth` says."""

    def __init__(self, truth: Truth, clock: VirtualClock, seed: int) -> None:
        super().__init__(SimulationSettings(), tuple(range(10, 100)), clock=clock, sleep=clock.advance)
        self._truth = truth
        self._rng = random.Random(seed)

    def step_seconds(self, batch: Batch) -> float:
        truth, seconds = self._truth, self._truth.seconds(batch, self._rng)
        is_held_up = truth.bad[0] <= self._clock() < truth.bad[1] and self._rng.random() < truth.hiccup_rate
        return seconds + (truth.hiccup_seconds * self._rng.uniform(0.6, 1.4) if is_held_up else 0.0)


@dataclass(frozen=True)
class Arrival:
    """One request that comes at `seconds`."""

    seconds: float
    num_prompt_tokens: int
    num_output_tokens: int
    tenant: str = ""
    priority: int = 0
    objectives: Objectives = field(default_factory=Objectives)


@dataclass
class Answer:
    """What became of an arrival: refused, or its tokens' times."""

    arrival: Arrival
    is_refused: bool = False
    predicted_seconds: float | None = None
    p99_seconds: float | None = None
    token_seconds: list[float] = field(default_factory=list)

    @property
    def ttft_seconds(self) -> float:
        return self.token_seconds[0] - self.arrival.seconds

    @property
    def gaps(self) -> list[float]:
        return [b - a for a, b in zip(self.token_seconds, self.token_seconds[1:], strict=False)]


class _ClientClock:
    """What the service's clock says: arrivals are met while a step is under way."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class PromiseRig:
    """One engine and its client side."""

    def __init__(
        self,
        *,
        truth: Truth | None = None,
        slo: SloSettings | None = None,
        scheduling: SchedulerSettings | None = None,
        seed: int = 1,
        kv_tokens: int = 262_144,
    ) -> None:
        self.clock = VirtualClock()
        self._client_clock = _ClientClock()
        self.settings = Settings(slo=slo or SloSettings(), scheduler=scheduling or SchedulerSettings())
        self.layout: KVCacheLayout = simulated_layout(SimulationSettings(sim_kv_tokens=kv_tokens), CacheSettings())
        self.runner = TrueRunner(truth or Truth(), self.clock, seed)
        self.costs = CostModel()
        limits = self.settings.scheduler
        steps = synthetic_steps(
            max_num_seqs=limits.max_num_seqs, max_num_batched_tokens=limits.max_num_batched_tokens, max_model_len=8192
        )
        before = VirtualClock()
        calibrate(
            self.costs, TrueRunner(truth or Truth(), before, seed + 1), self.layout, steps, model_id=0, clock=before,
            budget_seconds=1e9, progress=lambda _fraction: None,
        )  # fmt: skip
        self.scheduler = Scheduler(
            limits,
            self.layout,
            prefix_caching=False,
            model_fingerprint=b"rig",
            max_model_len=8192,
            clock=self.clock,
            costs=self.costs,
            keeps_promises=True,
        )
        self.outcomes: list[PromiseOutcome] = []
        self.promise = Promise(self.settings, self._client_clock, self.outcomes.append)
        self.promise.learnt(self.costs.parameters())
        self._keeper = CostKeeper(self.costs, CostStore(None, ""), self.clock)
        self._answers: dict[int, Answer] = {}
        self.num_rows: list[int] = []
        self.errors: list[float] = []

    def serve(self, arrivals: Iterable[Arrival]) -> list[Answer]:
        """Serve all of them to the end."""
        due = sorted(arrivals, key=lambda a: -a.seconds)
        while due or self.scheduler.has_work:
            if not self.scheduler.has_work:
                self.clock.advance(max(0.0, due[-1].seconds - self.clock()))
                self._meet(due, self.clock())
            batch = self.scheduler.schedule()
            if batch is None:
                continue
            started = self.clock()
            step = self.runner.launch(batch)
            self._meet(due, step.ends)
            outputs = self.scheduler.update(batch, step.result())
            self.num_rows.append(batch.num_rows)
            self.scheduler.learn(self.clock() - started)
            stats = self.scheduler.stats(step_seconds=self.clock() - started, schedule_seconds=0.0)
            assert stats.predicted_seconds is not None
            self.errors.append(abs(self.clock() - started - stats.predicted_seconds) / stats.predicted_seconds)
            self._client_clock.now = self.clock()
            progress = tuple((s.sequence_id, s.start + s.num_tokens) for s in batch.sequences if not s.samples)
            frame = StepOutput(
                epoch=1,
                outputs=tuple(to_wire(output) for output in outputs),
                stats=stats,
                progress=progress,
                costs=self._keeper.news(),
            )
            self.promise.stepped(frame)
            for output in outputs:
                self._answers[output.sequence_id].token_seconds.extend([self.clock()] * len(output.token_ids))
        return list(self._answers.values())

    def _meet(self, due: list[Arrival], until: float) -> None:
        while due and due[-1].seconds <= until:
            arrival = due.pop()
            self._client_clock.now = arrival.seconds
            self._take(arrival)

    def _take(self, arrival: Arrival) -> None:
        sequence_id = len(self._answers) + 1
        answer = self._answers[sequence_id] = Answer(arrival)
        prompt = OfferedPrompt(arrival.num_prompt_tokens, num_cached=0, chain=None)
        offer = Offer(
            prompts=(prompt,),
            max_new_tokens=arrival.num_output_tokens,
            is_length_asked=True,
            is_length_known=False,
            priority=arrival.priority,
            tenant=arrival.tenant,
            objectives=arrival.objectives.or_else(self.promise._defaults),
            asked=arrival.objectives,
            arrival=arrival.seconds,
        )
        try:
            prediction = self.promise.admit(offer)
        except OverloadedError:
            answer.is_refused = True
            return
        submit = Submit(
            sequence_id=sequence_id,
            prompt_token_ids=tuple(range(arrival.num_prompt_tokens)),
            sampling=SamplingParams(seed=0, temperature=0.0, ignore_eos=True),
            max_new_tokens=arrival.num_output_tokens,
            prompt_index=0,
            sample_index=0,
            priority=arrival.priority,
            cache_salt="",
            tenant=arrival.tenant,
            objectives=offer.objectives,
            arrival=arrival.seconds,
        )
        if prediction is not None:
            answer.predicted_seconds, answer.p99_seconds = prediction.ttft_seconds, prediction.p99_ttft_seconds
        self.promise.submitted(submit, prompt, offer, prediction)
        self.scheduler.add(to_request(submit, frozenset()))


def percentile(values: Iterable[float], share: float) -> float:
    """The value that `share` of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def poisson(rate: float, seconds: float, rng: random.Random) -> list[float]:
    """Times of arrivals at `rate` a second, for `seconds`."""
    times, now = [], rng.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += rng.expovariate(rate)
    return times
