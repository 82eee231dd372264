import numpy as np
import pytest

from tidemill.sampling.weights import grain_of, tempered_weights


@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_weights_are_the_softmax_without_its_division(temperature):
    scores = np.linspace(-30, 5, 5000, dtype=np.float32)
    exact = np.exp((scores.astype(np.float64) - 5) / temperature)
    weights = tempered_weights(scores, temperature)
    assert weights[-1] == 1.0
    # What is left of the error after float32's rounding of the argument, and half a grain.
    assert np.all(np.abs(weights - exact) <= 6e-7 * exact * (1 + 35 / temperature) + grain_of(5000) / 2)


def test_what_is_banned_weighs_nothing():
    assert tempered_weights(np.array([0, -np.inf, -200], dtype=np.float32), 1.0).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("size", [1, 2, 300, 4096, 128_000, 2**18])
def test_sums_are_the_same_in_any_order(size):
    generator = np.random.default_rng(size)
    weights = tempered_weights(generator.normal(0, 2, size).astype(np.float32), 1.0).astype(np.float64)
    total = weights.sum()
    whole = sum(int(weight / grain_of(size)) for weight in weights.tolist())
    assert total == whole * float(grain_of(size))
    for _ in range(5):
        assert np.cumsum(generator.permutation(weights))[-1] == total
