"""The filters against a twin in plain Python that sorts everything."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tidemill.sampling.filters import filtered, largest
from tidemill.sampling.weights import tempered_weights

# Few distinct values, so that ties are the rule.
tied = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=60)
spread = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=60)


def twin(scores, weights, top_k, top_p, min_p):
    order = sorted(range(len(weights)), key=lambda i: (-scores[i], i))[:top_k]
    total = math.fsum(weights[i] for i in order)
    kept, mass = [], 0.0
    for i in order:
        if top_p < 1.0 and mass >= top_p * total and kept:
            break
        kept.append(i)
        mass += weights[i]
    return [i for i in kept if weights[i] >= min_p]


@given(
    st.one_of(tied, spread),
    st.one_of(st.none(), st.integers(1, 70)),
    st.one_of(st.just(1.0), st.floats(0.01, 1.0)),
    st.one_of(st.just(0.0), st.floats(0.0, 1.0)),
    st.floats(0.2, 3),
)
def test_filters_agree_with_the_twin(scores, top_k, top_p, min_p, temperature):
    row = np.array(scores, dtype=np.float32)
    weights = tempered_weights(row, temperature)
    found = filtered(row, weights, top_k=top_k, top_p=top_p, min_p=min_p)
    plain = [float(weight) for weight in weights]
    ids = found.token_ids.tolist()
    assert ids == sorted(twin(row.tolist(), plain, top_k, top_p, min_p))
    assert found.weights.tolist() == [plain[i] for i in ids]
    assert ids


@given(tied, st.integers(1, 70))
def test_largest_breaks_ties_by_lower_id(values, count):
    found = largest(np.array(values, dtype=np.float32), count).tolist()
    assert found == sorted(range(len(values)), key=lambda i: (-values[i], i))[:count]


def test_top_p_one_keeps_everything_that_has_weight():
    scores = np.array([0, -1, -2, -3], dtype=np.float32)
    assert filtered(scores, tempered_weights(scores, 1.0), top_k=3, top_p=1.0, min_p=0.0).token_ids.tolist() == [
        0,
        1,
        2,
    ]


def test_top_p_is_a_share_of_what_top_k_left():
    weights = np.array([1.0, 0.9, 0.8, 0.7, 0.6], dtype=np.float32)
    # Of 1.0 + 0.9, half is reached with the first; of all 4.0, only with the third.
    assert filtered(weights, weights, top_k=2, top_p=0.5, min_p=0.0).token_ids.tolist() == [0]
    assert filtered(weights, weights, top_k=None, top_p=0.5, min_p=0.0).token_ids.tolist() == [0, 1, 2]


def test_a_tiny_temperature_leaves_only_the_largest():
    weights = tempered_weights(np.array([1e4, 9.999e3, -1e4], dtype=np.float32), 1e-38)
    assert weights.tolist() == [1.0, 0.0, 0.0]


def test_agrees_with_transformers_warpers():
    import torch
    from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    generator = np.random.default_rng(5)
    for _ in range(50):
        scores = generator.normal(0, 3, 500).astype(np.float32)
        top_k, top_p, min_p = int(generator.integers(1, 500)), generator.uniform(0.05, 0.99), generator.uniform(0, 0.3)
        warped = torch.from_numpy(scores)[None]
        for warper in (TopKLogitsWarper(top_k), TopPLogitsWarper(top_p), MinPLogitsWarper(min_p)):
            warped = warper(None, warped)
        expected = set(torch.isfinite(warped[0]).nonzero().flatten().tolist())
        found = filtered(scores, tempered_weights(scores, 1.0), top_k=top_k, top_p=top_p, min_p=min_p)
        assert set(found.token_ids.tolist()) == expected
