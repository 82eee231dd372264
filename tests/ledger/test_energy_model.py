"""What an energy model says of a load that it has hardly seen, and of a machine that is slower at times."""

import random
from operator import mul

import pytest

from tidemill.cost.step_shape import NUM_FEATURES, StepShape, features, streams_shape
from tidemill.ledger.energy_model import EnergyModel

CHAT_STEP, WIDE_STEP = streams_shape(4, 600).with_prompt(40, 0), StepShape(257, 4, 300, 9_000)
DOCUMENT_STEP = streams_shape(2, 2_000).with_prompt(1_000, 0)


def joules_of(shape: StepShape) -> float:
    """The truth: a step's time by its rows and what they look at, at 6 watts."""
    return 6.0 * (2.5e-4 + 5e-5 * shape.num_rows + 6e-8 * shape.num_kv_tokens + 2e-8 * shape.row_context)


def residual_of_second(model: EnergyModel, rng: random.Random, steps: list[StepShape]) -> float:
    """Let it meet a second full of `steps`; how far off it was, as a share of what the meter counts."""
    totals = [0.0] * NUM_FEATURES
    for shape in steps:
        totals = [a + b for a, b in zip(totals, features(shape), strict=True)]
    metered = (3.0 + sum(map(joules_of, steps))) * rng.gauss(1.0, 0.03)
    residual = model.observe(1.0, 1.0, totals, metered)
    return 0.0 if residual is None else residual / metered


@pytest.mark.parametrize("seed", range(8))
def test_a_step_that_was_a_little_wide_does_not_price_the_next_load(seed: int) -> None:
    """One row beyond the last knee among thousands of steps: what is left over of that second is not its price."""
    model, rng = EnergyModel(), random.Random(seed)
    for second in range(60):
        steps = [CHAT_STEP] * rng.randint(100, 200) + [WIDE_STEP] * (second in (20, 50))
        residual_of_second(model, rng, steps)
    documents = [residual_of_second(model, rng, [DOCUMENT_STEP] * rng.randint(5, 20)) for _ in range(20)]
    assert sum(documents) / len(documents) < 0.1
    assert max(documents) < 0.8


def second_at(pace: float, rng: random.Random) -> tuple[float, float, list[float]]:
    """Idle and busy seconds, and features, of what is done of chats in a second in which steps take `pace` times."""
    busy, totals = 0.0, [0.0] * NUM_FEATURES
    while busy < 0.9:
        shape = streams_shape(rng.randint(1, 8), 900).with_prompt(rng.choice((0, 0, 0, 40)), 0)
        busy += pace * joules_of(shape) / 6.0
        totals = [a + b for a, b in zip(totals, features(shape), strict=True)]
    return max(0.0, 1.0 - busy), busy, totals


def test_a_machine_that_others_slow_down_draws_by_the_second() -> None:
    model, rng = EnergyModel(), random.Random(4)
    late = 0.0
    for second in range(200):
        idle, busy, totals = second_at(1.75 if second // 20 % 2 else 1.0, rng)
        metered = (2.0 * idle + 9.0 * busy) * rng.gauss(1.0, 0.01)
        residual = model.observe(idle, busy, totals, metered)
        late += residual / metered if residual is not None and second >= 50 else 0.0
    assert late / 150 < 0.03


@pytest.mark.parametrize("pace", [1.0, 1.75])
def test_what_is_drawn_by_the_second_is_shared_as_steps_take_their_seconds(pace: float) -> None:
    model, rng = EnergyModel(), random.Random(5)
    model.observe(5.0, 0.0, [0.0] * NUM_FEATURES, 10.0)
    for _ in range(100):
        idle, busy, totals = second_at(rng.uniform(1.0, 2.0), rng)
        model.observe(idle, busy, totals, 2.0 * idle + 9.0 * busy)
    idle, busy, totals = second_at(pace, rng)
    seconds = [2.5e-4, 5e-5, 0.0, 0.0, 0.0, 0.0, 6e-8, 2e-8]  # as `joules_of` has them
    worth = model.feature_joules(busy, totals, seconds)
    assert sum(map(mul, worth, totals)) == pytest.approx(9.0 * busy, rel=0.05)
    assert worth[:2] == pytest.approx([9.0 * pace * each for each in seconds[:2]], rel=0.05)


def test_the_first_requests_of_a_server_that_never_rested_bear_their_seconds() -> None:
    model, rng = EnergyModel(), random.Random(6)
    _, busy, totals = second_at(1.0, rng)
    model.observe(0.9 * busy, busy, totals, 3.0)
    worth = model.feature_joules(busy, totals, [1.0, *[0.0] * (NUM_FEATURES - 1)])
    assert sum(map(mul, worth, totals)) == pytest.approx(3.0 / 1.9, rel=0.1)
    model.observe(5.0, 0.0, [0.0] * NUM_FEATURES, 1.0)
    for _ in range(8):
        model.observe(0.9 * busy, busy, totals, 3.0)
    assert model.idle_watts == pytest.approx(0.2, rel=0.05), "once it has rested, what that takes is known"


@pytest.mark.parametrize("late", [0.5, 1e-3, 1e-9, 5e-324, 0.0])
def test_a_reading_that_came_late_is_soon_made_up_for(late: float) -> None:
    model, rng = EnergyModel(), random.Random(7)

    def learn(num: int) -> tuple[float, float, list[float]]:
        for _ in range(num):
            idle, busy, totals = second_at(rng.uniform(1.0, 1.5), rng)
            model.observe(idle, busy, totals, 2.0 * idle + 9.0 * busy)
        return idle, busy, totals

    model.observe(5.0, 0.0, [0.0] * NUM_FEATURES, 10.0)
    idle, busy, totals = learn(60)
    model.observe(idle, busy, totals, late)
    learn(30)
    assert model.joules(idle, busy, totals) == pytest.approx(2.0 * idle + 9.0 * busy, rel=0.15)


def test_before_anything_is_known_of_seconds_nothing_is_lost() -> None:
    model, held = EnergyModel(), [4.0, 16.0, *[0.0] * (NUM_FEATURES - 2)]
    model.observe(1.0, 0.0, [0.0] * NUM_FEATURES, 2.0)
    model.observe(1.0, 1.0, held, 11.0)
    worth = model.feature_joules(1.0, held, [0.0] * NUM_FEATURES)
    assert sum(map(mul, worth, held)) == pytest.approx(9.0, rel=0.01)
