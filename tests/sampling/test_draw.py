from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tidemill.sampling.draw import draw_any, draw_candidate
from tidemill.sampling.filters import Candidates
from tidemill.sampling.weights import tempered_weights

weights_of = st.lists(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=1200).filter(any)
unit = st.floats(0, 1, exclude_max=True)
LAST = 1.0 - 2.0**-53


def twin(weights, uniform):
    """Exact: these weights are multiples of a quarter."""
    target = Fraction(uniform) * sum(map(Fraction, weights))
    mass = Fraction(0)
    for index, weight in enumerate(weights):
        mass += Fraction(weight)
        if mass > target:
            return index
    raise AssertionError


@given(weights_of, st.integers(0, 2**20 - 1))
def test_a_whole_row(weights, numerator):
    uniform = numerator / 2**20
    assert draw_any(np.array(weights, dtype=np.float32), uniform) == twin(weights, uniform)


@given(weights_of, st.integers(0, 2**20 - 1))
def test_candidates(weights, numerator):
    uniform = numerator / 2**20
    ids = np.arange(len(weights))[::-1]
    candidates = Candidates(ids, np.array(weights, dtype=np.float64))
    assert draw_candidate(candidates, uniform) == ids[twin(weights, uniform)]


@given(st.lists(st.floats(-40, 0, width=32), min_size=1, max_size=700), unit | st.just(LAST))
def test_never_a_token_without_weight(scores, uniform):
    row = tempered_weights(np.array(scores, dtype=np.float32), 1.0)
    assert row[draw_any(row, uniform)] > 0
    kept = np.sort(row[row > 0])[::-1].astype(np.float64)
    assert 0 <= draw_candidate(Candidates(np.arange(kept.size), kept), uniform) < kept.size


def test_the_ends_of_the_interval():
    row = np.array([0, 0, 1, 1, 0], dtype=np.float32)
    assert draw_any(row, 0.0) == 2
    assert draw_any(row, LAST) == 3
