"""How a step is split: the parts add up, and they are Shapley values where docs/footprint.md says so."""

import itertools
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.cost.step_shape import KNEES, StepShape, features
from tidemill.ledger.attribution import Shares, StepSplit, no_shares


@dataclass(frozen=True)
class Player:
    """One sequence's part of a step."""

    num_rows: int
    num_samples: int
    kv_tokens: int
    row_context: int


PLAYERS = st.lists(
    st.builds(Player, st.integers(1, 400), st.integers(0, 1), st.integers(1, 4000), st.integers(1, 100_000)),
    min_size=1,
    max_size=40,
)
WEIGHTS = (0.8, 0.001, 0.004, 0.02, 0.03, 0.01, 1e-4, 1e-6)


def shape_of(players: list[Player]) -> StepShape:
    return StepShape(
        sum(p.num_rows for p in players),
        sum(p.num_samples for p in players),
        sum(p.kv_tokens for p in players),
        sum(p.row_context for p in players),
    )


def split(players: list[Player]) -> list[Shares]:
    step = StepSplit(len(players), sum(p.num_rows for p in players))
    parts = [no_shares() for _ in players]
    for shares, p in zip(parts, players, strict=True):
        step.add(
            shares,
            1.0,
            num_rows=p.num_rows,
            num_samples=p.num_samples,
            kv_tokens=p.kv_tokens,
            row_context=p.row_context,
        )
    return parts


def joules(shares: Shares | tuple[float, ...]) -> float:
    return sum(w * x for w, x in zip(WEIGHTS, shares, strict=True))


def shapley(players: list[Player]) -> list[float]:
    """Over all orders of coming: what each one adds to those before it. Nobody costs nothing."""
    values = [0.0] * len(players)
    for order in itertools.permutations(range(len(players))):
        before = 0.0
        for count, index in enumerate(order, start=1):
            now = joules(features(shape_of([players[i] for i in order[:count]])))
            values[index] += now - before
            before = now
    return [value / math.factorial(len(players)) for value in values]


@given(PLAYERS)
def test_parts_add_up_to_the_step(players: list[Player]) -> None:
    total = [sum(values) for values in zip(*split(players), strict=True)]
    assert total == pytest.approx(list(features(shape_of(players))), rel=1e-9, abs=1e-9)


def test_below_the_first_knee_a_share_is_the_shapley_value() -> None:
    players = [Player(1, 1, 500, 500), Player(1, 1, 20, 20), Player(5, 0, 70, 340), Player(2, 1, 9, 17)]
    assert sum(p.num_rows for p in players) <= KNEES[0]
    assert [joules(shares) for shares in split(players)] == pytest.approx(shapley(players), rel=1e-9)


def test_equal_sequences_share_equally_beyond_a_knee_too() -> None:
    players = [Player(100, 1, 300, 9000)] * 5
    assert [joules(shares) for shares in split(players)] == pytest.approx(shapley(players), rel=1e-9)


def test_beyond_a_knee_a_chunk_beside_streams_pays_a_little_less_than_its_shapley_value() -> None:
    """Aumann and Shapley's rule splits by rows; Shapley's own would charge the chunk, which crosses the knee alone."""
    streams = [Player(1, 1, 200, 200)] * 6
    players = [*streams, Player(250, 0, 250, 31_375)]
    ours, exact = [joules(shares) for shares in split(players)], shapley(players)
    assert sum(ours) == pytest.approx(sum(exact))
    assert ours[-1] == pytest.approx(exact[-1], rel=0.05)
    assert ours[-1] < exact[-1]


def test_the_short_way_of_a_streams_next_row_is_the_long_one() -> None:
    for num_rows in (3, 40, 700):
        step = StepSplit(3, num_rows)
        short, long = no_shares(), no_shares()
        step.add_next(short, 77)
        step.add(long, 1.0, num_rows=1, num_samples=1, kv_tokens=77, row_context=77)
        assert short == long


def test_a_part_of_a_sequence_is_that_part() -> None:
    whole, half = no_shares(), no_shares()
    step = StepSplit(3, 40)
    counts = {"num_rows": 8, "num_samples": 1, "kv_tokens": 90, "row_context": 400}
    step.add(whole, 1.0, **counts)
    step.add(half, 0.5, **counts)
    assert half == pytest.approx([value / 2 for value in whole])
