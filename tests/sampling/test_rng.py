import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tidemill.sampling.rng import philox4x64, uniform

word = st.integers(0, 2**64 - 1)


@given(st.tuples(word, word, word, word), st.tuples(word, word))
def test_philox_agrees_with_numpy(counter, key):
    # numpy counts up before its first block.
    value = sum(part << (64 * index) for index, part in enumerate(counter))
    before = (value - 1) % 2**256
    twin = np.random.Philox(
        counter=np.array([before >> (64 * i) & (2**64 - 1) for i in range(4)], dtype=np.uint64),
        key=np.array(key, dtype=np.uint64),
    )
    assert philox4x64(counter, key) == tuple(twin.random_raw(4).tolist())


@given(st.integers(-(2**63), 2**64 - 1), st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 2**31))
def test_uniform_is_a_pure_function_in_the_unit_interval(seed, prompt_index, sample_index, position):
    value = uniform((seed, prompt_index, sample_index), position)
    assert 0.0 <= value < 1.0
    assert value == uniform((seed, prompt_index, sample_index), position)
    assert value * 2**53 == int(value * 2**53)


def test_a_negative_seed_counts_modulo_two_to_the_64():
    assert uniform((-1, 0, 0), 5) == uniform((2**64 - 1, 0, 0), 5)


def test_every_part_of_the_key_matters():
    values = {
        uniform((seed, prompt_index, sample_index), position)
        for seed, prompt_index, sample_index, position in itertools.product(range(6), repeat=4)
    }
    assert len(values) == 6**4


def _chi_square(values, num_bins):
    counts = np.bincount((np.asarray(values) * num_bins).astype(int), minlength=num_bins)
    expected = len(values) / num_bins
    return float(((counts - expected) ** 2 / expected).sum())


def test_uniform_along_each_part_of_the_key():
    # 63 degrees of freedom: 120 is beyond the 99.998th percentile.
    walks = {
        "position": [uniform((7, 0, 0), i) for i in range(8000)],
        "sample": [uniform((7, 0, i), 3) for i in range(8000)],
        "prompt": [uniform((7, i, 0), 3) for i in range(8000)],
        "seed": [uniform((i, 0, 0), 3) for i in range(8000)],
    }
    for name, values in walks.items():
        assert _chi_square(values, 64) < 120, name


def test_neighbouring_seeds_are_uncorrelated():
    first = np.array([uniform((1, 0, 0), i) for i in range(8000)])
    second = np.array([uniform((2, 0, 0), i) for i in range(8000)])
    shifted = np.array([uniform((1, 0, 0), i + 1) for i in range(8000)])
    # The standard deviation of a correlation over n pairs is about 1 / sqrt(n) = 0.011.
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert abs(np.corrcoef(first, shifted)[0, 1]) < 0.05
