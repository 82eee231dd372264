"""The cost model on steps whose truth is not of the form it fits: how wrong it is, and how sure."""

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.cost.model import CostModel
from tidemill.cost.non_negative_fit import NonNegativeFit
from tidemill.cost.step_shape import NUM_FEATURES, StepShape, cell_of, features, streams_shape
from tidemill.cost.step_times import StepTimes

Step = tuple[StepShape, float]


def truth(shape: StepShape) -> float:
    """Tiles of rows, a soft knee between two limits, powers that are no whole numbers."""
    tiled = -(-shape.num_rows // 16) * 16
    dense = (0.02**3 + (tiled * 0.0009) ** 3) ** (1 / 3)
    return 5e-4 + dense + 3e-7 * shape.num_kv_tokens**1.05 + 2e-8 * shape.row_context**0.98 + 5e-5 * shape.num_samples


def noisy(shape: StepShape, rng: random.Random) -> float:
    """Noise of 4 %, and one step in 300 that something else gets in the way of."""
    factor = math.exp(rng.gauss(0.0, 0.04))
    return truth(shape) * factor * (2.5 if rng.random() < 1 / 300 else 1.0)


def chat(rng: random.Random) -> StepShape:
    """Few to many streams of short contexts, now and then a short prompt."""
    num = rng.randint(1, 24)
    shape = streams_shape(num, sum(rng.randint(30, 400) for _ in range(num)))
    return shape.with_prompt(rng.randint(10, 120), 0) if rng.random() < 0.2 else shape


def documents(rng: random.Random) -> StepShape:
    """Chunks of long prompts beside some streams with long contexts."""
    num = rng.randint(0, 8)
    shape = streams_shape(num, sum(rng.randint(500, 3000) for _ in range(num)))
    if num and rng.random() < 0.4:
        return shape
    return shape.with_prompt(rng.choice((64, 128, 200, 256, 384, 512)), rng.randrange(0, 2048))


@pytest.mark.parametrize(("learnt", "unseen"), [(chat, documents), (documents, chat)])
def test_a_load_it_was_not_fitted_on_is_predicted(learnt, unseen) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(3)
    model = CostModel()
    for shape in [streams_shape(n, n * c) for n in (1, 2, 4, 8, 16, 24) for c in (32, 256, 1024)] * 2:
        model.observe(shape, noisy(shape, rng))
    for rows in (16, 32, 64, 128, 256, 512) * 3:
        shape = streams_shape(0, 0).with_prompt(rows, rng.choice((0, 1024)))
        model.observe(shape, noisy(shape, rng))
    for _ in range(2000):
        shape = learnt(rng)
        model.observe(shape, noisy(shape, rng))
    errors, covered = [], 0
    for _ in range(4000):
        shape = unseen(rng)
        seconds = noisy(shape, rng)
        errors.append(abs(seconds / model.times.seconds(shape) - 1.0))
        covered += seconds <= model.times.p99_seconds(shape)
        model.observe(shape, seconds)
    assert statistics.median(errors) < 0.08
    assert 0.98 <= covered / 4000 <= 0.999
    assert model.error_ratio < 0.08


def test_outliers_do_not_move_it() -> None:
    rng = random.Random(4)
    calm, shaken = CostModel(), CostModel()
    for number in range(600):
        shape = documents(rng)
        calm.observe(shape, truth(shape))
        shaken.observe(shape, truth(shape) * (30.0 if number % 40 == 39 else 1.0))
    for _ in range(50):
        shape = documents(rng)
        assert shaken.times.seconds(shape) == pytest.approx(calm.times.seconds(shape), rel=0.12)


def test_a_slower_machine_is_noticed_within_some_dozen_steps() -> None:
    rng = random.Random(5)
    model = CostModel()
    for _ in range(500):
        shape = chat(rng)
        model.observe(shape, truth(shape))
    for _ in range(60):
        shape = chat(rng)
        model.observe(shape, 1.5 * truth(shape))
    shape = streams_shape(8, 1600)
    assert model.times.seconds(shape) == pytest.approx(1.5 * truth(shape), rel=0.1)


def test_what_it_learnt_survives_a_restart() -> None:
    rng = random.Random(6)
    model = CostModel()
    for _ in range(400):
        shape = chat(rng)
        model.observe(shape, noisy(shape, rng))
    model.settle()
    again = CostModel.recall(model.memory())
    assert again.is_calibrated
    for _ in range(20):
        shape = chat(rng)
        assert again.times.seconds(shape) == pytest.approx(model.times.seconds(shape) / model.times.paces[0], rel=0.02)
    assert again.times.p99_ratios == pytest.approx(model.times.p99_ratios)


def test_the_service_predicts_as_the_engine_does() -> None:
    rng = random.Random(7)
    model = CostModel()
    for _ in range(300):
        shape = documents(rng)
        model.observe(shape, noisy(shape, rng))
    told = StepTimes.of(model.parameters())
    for _ in range(50):
        shape = documents(rng)
        assert told.seconds(shape) == model.times.seconds(shape)
        assert told.p99_seconds(shape) == model.times.p99_seconds(shape)


def test_its_cells_are_bounded() -> None:
    rng = random.Random(8)
    model = CostModel()
    for _ in range(3000):
        num = rng.randint(1, 200)
        shape = streams_shape(num, num * rng.randint(1, 8000)).with_prompt(rng.randint(1, 4000), rng.randint(0, 9000))
        model.observe(shape, truth(shape))
    assert len(model.parameters().corrections) <= 160
    assert all(value >= 0.0 for value in model.parameters().coefficients)


def test_a_step_that_took_no_time_teaches_nothing() -> None:
    model = CostModel()
    assert model.observe(streams_shape(1, 1), 0.0) is None
    assert model.num_steps == 0


def test_the_largest_chunk_fits_and_the_next_one_does_not() -> None:
    rng = random.Random(9)
    model = CostModel()
    for _ in range(1500):
        shape = documents(rng)
        model.observe(shape, truth(shape))
    streams = streams_shape(8, 8000)
    for limit in (0.05, 0.1, 0.2, 0.4):
        chunk = model.times.largest_chunk(streams, context=500, limit_seconds=limit, most=2048)
        assert 0 <= chunk <= 2048
        if chunk:
            assert model.times.seconds(streams.with_prompt(chunk, 500)) <= limit
        assert chunk == 2048 or (streams.num_rows + chunk) % 16 == 0
    assert model.times.largest_chunk(streams, context=0, limit_seconds=1e-6, most=512) == 0
    assert model.times.largest_chunk(streams, context=0, limit_seconds=1e6, most=512) == 512
    assert model.times.largest_chunk(streams, context=0, limit_seconds=1e6, most=0) == 0


@given(
    st.lists(st.lists(st.floats(0.0, 100.0), min_size=4, max_size=4), min_size=6, max_size=30),
    st.lists(st.floats(0.0, 10.0), min_size=4, max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_the_fit_is_never_negative_and_never_worse_than_nothing(rows: list[list[float]], wanted: list[float]) -> None:
    fit = NonNegativeFit(4)
    ys = [sum(a * b for a, b in zip(row, wanted, strict=True)) for row in rows]
    for row, y in zip(rows, ys, strict=True):
        fit.add(row, y, 1.0)
    coefficients = [0.0] * 4
    fit.improve(coefficients, num_sweeps=300)
    assert min(coefficients) >= 0.0
    predicted = [sum(a * b for a, b in zip(row, coefficients, strict=True)) for row in rows]
    error = sum((p - y) ** 2 for p, y in zip(predicted, ys, strict=True))
    assert error <= sum(y**2 for y in ys) * 0.05 + 1e-6


def test_an_observation_can_be_taken_away_again() -> None:
    fit = NonNegativeFit(2)
    fit.add([1.0, 1.0], 3.0, 1.0)
    fit.add([1.0, 2.0], 5.0, 1.0)
    fit.add([1.0, 9.0], 500.0, 1.0)
    fit.add([1.0, 9.0], 500.0, -1.0)
    coefficients = [0.0, 0.0]
    fit.improve(coefficients, num_sweeps=2000)
    assert coefficients == pytest.approx([1.0, 2.0], abs=0.02)


@given(st.integers(1, 5000), st.integers(0, 5000), st.integers(0, 10**6))
def test_features_and_cells_take_any_step(rows: int, samples: int, kv_tokens: int) -> None:
    shape = StepShape(rows, min(rows, samples), kv_tokens, kv_tokens * rows)
    assert len(features(shape)) == NUM_FEATURES
    assert cell_of(shape) >= 0


def jolted(model: CostModel, rng: random.Random, num_steps: int, worst: float) -> None:
    """Steps with prompts, one in eight of them `worst` times as long as it should be."""
    for _ in range(num_steps):
        shape = streams_shape(4, 4000).with_prompt(256, rng.randrange(0, 2048))
        model.observe(shape, truth(shape) * (worst if rng.random() < 0.125 else rng.uniform(0.98, 1.02)))


def test_a_bad_minute_makes_chunks_small_for_no_longer_than_it_lasts() -> None:
    rng, model = random.Random(11), CostModel()
    jolted(model, rng, 600, 1.0)
    calm = model.parameters().gap_ratio
    jolted(model, rng, 300, 4.0)
    assert model.parameters().gap_ratio > 2.0 * calm
    jolted(model, rng, 200, 1.0)
    assert model.parameters().gap_ratio < 1.2 * calm
    assert model.parameters().p99_ratios[1] > 2.0 * calm, "what is promised at the door is more careful"


def test_a_bad_end_of_one_run_is_not_held_against_the_next() -> None:
    rng, model = random.Random(12), CostModel()
    jolted(model, rng, 600, 6.0)
    assert model.parameters().gap_ratio > 3.0
    assert CostModel.recall(model.memory()).parameters().gap_ratio <= 1.5


def test_stalls_between_short_steps_do_not_speak_ill_of_long_ones() -> None:
    rng, model = random.Random(13), CostModel()
    short, long = streams_shape(1, 200), streams_shape(16, 3200)
    for _ in range(1500):
        model.observe(short, truth(short) + (10.0 * truth(short) if rng.random() < 0.02 else 0.0))
    stall = model.times.late_seconds(short) - model.times.seconds(short)
    assert stall > 5.0 * truth(short)
    assert model.times.late_seconds(short) == pytest.approx(model.times.p99_seconds(short))
    assert model.times.late_seconds(long) == pytest.approx(model.times.seconds(long) + stall, rel=0.05)
    told = StepTimes.of(model.parameters())
    assert told.late_seconds(long) == model.times.late_seconds(long)


STALL = 0.008
SHORT, LONG = streams_shape(1, 200), streams_shape(16, 3200)


def brief(shape: StepShape) -> float:
    """Half a millisecond a step, and as much a row."""
    return 0.0005 * (1 + shape.num_rows)


def stalled(rng: random.Random) -> CostModel:
    """A model of a machine on which one step of sixteen streams in twenty stalls."""
    model = CostModel()
    for _ in range(100):
        model.observe(SHORT, brief(SHORT))
    for _ in range(1000):
        model.observe(LONG, brief(LONG) + (STALL if rng.random() < 0.05 else 0.0))
    return model


def reckoned_stall(model: CostModel) -> float:
    return model.times.late_seconds(LONG) - model.times.seconds(LONG)


def test_short_steps_do_not_make_the_stalls_of_long_ones_shorter() -> None:
    model = stalled(random.Random(14))
    for _ in range(600):
        model.observe(SHORT, brief(SHORT))
    assert reckoned_stall(model) == pytest.approx(STALL, rel=0.1)


def test_what_a_stall_takes_survives_a_restart_and_the_first_short_step_after_it() -> None:
    model = CostModel.recall(stalled(random.Random(15)).memory())
    model.observe(SHORT, brief(SHORT))
    assert reckoned_stall(model) == pytest.approx(STALL, rel=0.1)


def test_who_judges_anew_forgets_stalls_too() -> None:
    model = stalled(random.Random(16))
    model.judge_anew([(LONG, brief(LONG))] * 200)
    assert model.times.delay_seconds < 0.1 * STALL
