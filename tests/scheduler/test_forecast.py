"""The forecast of a long queue: what it costs, and how far it is from playing every prompt."""

import random
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scheduler.test_pacing import MODEL
from tidemill.cost.step_shape import StepShape
from tidemill.cost.step_times import StepTimes
from tidemill.scheduler import forecast as module
from tidemill.scheduler.ahead import CrowdAhead, PromptAhead, StepLimits, StreamAhead
from tidemill.scheduler.forecast import Forecast, head_size


class Counted(StepTimes):
    """Known times, and how often one was asked for. A step takes a constant, and something a row and a stream."""

    def __init__(self, constant: float, row: float, sample: float = 0.0) -> None:
        super().__init__()
        self.coefficients = [constant, row, 0.0, 0.0, 0.0, sample, 0.0, 0.0]
        self.num_asked = 0

    def seconds(self, shape: StepShape) -> float:
        self.num_asked += 1
        return super().seconds(shape)


@dataclass(frozen=True)
class Queue:
    """Prompts that wait, one that has just come, streams, and what steps take."""

    times: StepTimes
    limits: StepLimits
    streams: Seq[StreamAhead]
    waiting: Seq[PromptAhead]
    last: PromptAhead

    def plain(self) -> float:
        """Every prompt and every step played one by one."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "MAX_STEPS", 10**9)
            return self._forecast().complete([*self.waiting, self.last])

    def bounded(self) -> float:
        """As it is done for long queues."""
        size = head_size(self.limits.max_num_seqs)
        return self._forecast().complete(self.waiting[:size], crowd(self.waiting[size:]), [self.last])

    def _forecast(self) -> Forecast:
        return Forecast(self.times, self.limits, self.streams, num_others=0, num_other_places=0)


def crowd(prompts: Seq[PromptAhead]) -> list[CrowdAhead]:
    """`prompts` as a crowd, if there are any."""
    if not prompts:
        return []
    num = len(prompts)
    num_output_tokens = -(-sum(prompt.num_output_tokens for prompt in prompts) // num)
    sums = sum(prompt.num_tokens for prompt in prompts), sum(prompt.context for prompt in prompts)
    return [CrowdAhead(num, *sums, num_output_tokens, yields=prompts[0].yields)]


def queue(seed: int, num_waiting: int) -> Queue:
    """A machine, a promise and a load, of many kinds."""
    rng = random.Random(seed)
    places, num_outputs, varies = rng.choice((4, 16, 64)), rng.choice((1, 16, 64)), rng.random() < 0.5
    kind = rng.choice(("equal", "even", "few long ones"))
    keeps_promises = rng.random() < 0.5
    yields = keeps_promises and rng.random() < 0.3

    def outputs() -> int:
        return rng.randint(1, 2 * num_outputs) if varies else num_outputs

    def prompt() -> PromptAhead:
        num_tokens = {"equal": 200, "even": rng.randint(1, 600), "few long ones": rng.choice((10, 10, 10, 800))}[kind]
        return PromptAhead(num_tokens, 0, outputs(), has_place=False, yields=yields)

    return Queue(
        times=rng.choice((Counted(0.010, 0.001), Counted(0.0009, 4e-5, 2e-4), MODEL.times)),
        limits=StepLimits(
            max_num_batched_tokens=rng.choice((128, 512, 2048)),
            max_num_seqs=places,
            tpot_seconds=rng.choice((None, 0.1, 0.2)),
            richer_tpot_seconds=None,
            num_richer=0,
            ttft_seconds=rng.choice((None, 1.0)),
            keeps_promises=keeps_promises,
        ),
        streams=[StreamAhead(rng.randint(20, 800), outputs()) for _ in range(rng.choice((0, places // 2, places)))],
        waiting=[prompt() for _ in range(num_waiting)],
        last=prompt(),
    )


@given(st.integers(0, 2**32), st.integers(0, 64))
@settings(max_examples=60, deadline=None)
def test_a_short_queue_is_played_prompt_by_prompt(seed: int, num_waiting: int) -> None:
    short = queue(seed, num_waiting)
    forecast = Forecast(short.times, short.limits, short.streams, num_others=0, num_other_places=0)
    assert short.bounded() == forecast.complete([*short.waiting, short.last])


@given(st.integers(0, 2**32), st.integers(65, 1500))
@settings(max_examples=60, deadline=None)
def test_a_long_queue_is_never_far_from_what_playing_it_says(seed: int, num_waiting: int) -> None:
    long = queue(seed, num_waiting)
    assert 0.7 <= long.bounded() / long.plain() <= 1.7


def test_a_long_queue_is_mostly_within_a_tenth() -> None:
    queues = [queue(seed, 70 + 7 * seed) for seed in range(200)]
    ratios = sorted(long.bounded() / long.plain() for long in queues)
    assert 0.98 <= ratios[100] <= 1.02
    assert ratios[2] >= 0.95, "it hardly ever promises too much"
    assert ratios[189] <= 1.1


def test_alike_prompts_that_have_all_the_machine_are_reckoned_exactly() -> None:
    prompt = PromptAhead(100, 0, 1, has_place=False)
    limits = StepLimits(100, 8, None, None, 0, None, keeps_promises=False)
    long = Queue(Counted(0.010, 0.001), limits, (), [prompt] * 2000, prompt)
    assert long.bounded() == pytest.approx(long.plain(), rel=0.02)


@pytest.mark.parametrize("places", [4, 64, 256])
def test_what_a_forecast_costs_does_not_grow_with_the_queue(places: int) -> None:
    asked = {}
    for num_waiting in (1_000, 100_000):
        times = Counted(0.010, 0.001)
        waiting = [PromptAhead(50 + i % 100, 0, 8, has_place=False) for i in range(num_waiting)]
        limits = StepLimits(512, places, 0.2, None, 0, 1.0, keeps_promises=True)
        Queue(times, limits, [StreamAhead(100, 8)] * places, waiting, waiting[0]).bounded()
        asked[num_waiting] = times.num_asked
    assert asked[100_000] <= 1.2 * asked[1_000]
    assert asked[100_000] <= 8 * (2 * module.MAX_STEPS + 2 * head_size(places))
