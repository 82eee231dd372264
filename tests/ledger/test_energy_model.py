"""What an energy model says of a load that it has hardly seen."""

import random

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
    residual = model.observe(1.0, totals, metered)
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
