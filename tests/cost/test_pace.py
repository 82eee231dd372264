"""How steps of late move what is predicted of the next."""

import random

import pytest

from tidemill.cost.model import CostModel
from tidemill.cost.pace import Pace
from tidemill.cost.step_shape import streams_shape


def test_one_stall_moves_it_little_and_three_in_a_row_at_once() -> None:
    pace = Pace()
    pace.note(1.7, is_known=True)
    pace.note(1.0, is_known=True)
    pace.note(1.8, is_known=True)
    pace.note(1.7, is_known=True)
    assert pace.factor < 1.06
    before = pace.factor
    pace.note(1.6, is_known=True)
    assert pace.factor == pytest.approx(1.7 * before), "their median"
    pace.note(1.6, is_known=True)
    assert pace.factor < 1.74 * before, "it takes three more to move it again"


def test_to_both_sides_in_turn_is_no_change() -> None:
    pace = Pace()
    for ratio in (1.5, 0.6) * 20:
        pace.note(ratio, is_known=True)
    assert 0.9 < pace.factor < 1.1


def test_steps_of_a_new_kind_do_not_tell_of_the_machine() -> None:
    pace = Pace()
    for _ in range(5):
        pace.note(1.5, is_known=False)
    assert pace.factor < 1.1


def test_it_has_bounds() -> None:
    pace = Pace()
    for ratio, bound in ((9.0, 4.0), (0.01, 0.25)):
        for _ in range(100):
            pace.note(ratio, is_known=True)
        assert pace.factor == bound


def test_a_memory_that_turns_slower_is_followed_in_a_few_steps_and_only_where_it_counts() -> None:
    rng, model = random.Random(3), CostModel()
    reading, prompt = streams_shape(4, 2000), streams_shape(4, 2000).with_prompt(400, 0)

    def observe(times: int, *, reads: float) -> None:
        for number in range(times):
            model.observe(reading, 0.03 * reads * rng.uniform(0.98, 1.02))
            if number % 4 == 0:
                model.observe(prompt, 1.2 * rng.uniform(0.98, 1.02))

    observe(200, reads=1.0)
    observe(4, reads=1.75)
    assert model.times.seconds(reading) == pytest.approx(0.03 * 1.75, rel=0.1)
    assert model.times.seconds(prompt) == pytest.approx(1.2, rel=0.1)
    observe(4, reads=1.0)
    assert model.times.seconds(reading) == pytest.approx(0.03, rel=0.1)
