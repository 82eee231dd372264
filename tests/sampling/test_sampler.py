import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sampling.rows import make_row
from tidemill.sampling.device_greedy import greedy_on_device
from tidemill.sampling.plain_draw import NOT_FINITE, NOTHING_ALLOWED, SamplingFailure
from tidemill.sampling.rng import uniform
from tidemill.sampling.sampler import SampledToken, sample

VOCAB = 300


@st.composite
def rows_of(draw):
    """One sequence in the middle of its output, asking for anything."""
    is_greedy = draw(st.booleans())
    return make_row(
        vocab_size=VOCAB,
        prompt=tuple(draw(st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=9))),
        output=tuple(draw(st.lists(st.integers(0, VOCAB - 1), max_size=9))),
        eos=frozenset({1}),
        seed=draw(st.integers(-(2**63), 2**63 - 1)),
        temperature=0.0 if is_greedy else draw(st.floats(0.1, 2)),
        top_k=draw(st.none() | st.integers(1, 50)),
        top_p=draw(st.just(1.0) | st.floats(0.1, 1)),
        min_p=draw(st.just(0.0) | st.floats(0, 0.5)),
        repetition_penalty=draw(st.just(1.0) | st.floats(0.5, 2)),
        presence_penalty=draw(st.just(0.0) | st.floats(-2, 2)),
        frequency_penalty=draw(st.just(0.0) | st.floats(-2, 2)),
        logit_bias=draw(st.dictionaries(st.integers(0, VOCAB - 1), st.floats(-9, 9), max_size=3)),
        min_tokens=draw(st.integers(0, 12)),
        num_logprobs=draw(st.none() | st.integers(0, 5)),
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(rows_of(), min_size=2, max_size=8), st.integers(0, 2**32 - 1), st.data())
def test_a_row_does_not_depend_on_the_rows_beside_it(rows, seed, data):
    logits = np.random.default_rng(seed).normal(0, 4, (len(rows), VOCAB)).astype(np.float32)
    positions = [data.draw(st.integers(0, 1000)) for _ in rows]
    alone = [sample(logits[i : i + 1], [row], [positions[i]])[0] for i, row in enumerate(rows)]
    assert sample(logits, rows, positions) == alone
    order = data.draw(st.permutations(range(len(rows))))
    moved = sample(logits[order], [rows[i] for i in order], [positions[i] for i in order])
    assert moved == [alone[i] for i in order]


@settings(max_examples=40, deadline=None)
@given(st.lists(rows_of(), min_size=2, max_size=6), st.integers(0, 2**32 - 1), st.data())
def test_a_broken_row_fails_alone(rows, seed, data):
    logits = np.random.default_rng(seed).normal(0, 4, (len(rows), VOCAB)).astype(np.float32)
    positions = list(range(len(rows)))
    expected = sample(logits, rows, positions)
    broken = data.draw(st.integers(0, len(rows) - 1))
    logits[broken, data.draw(st.integers(0, VOCAB - 1))] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    expected[broken] = SamplingFailure(NOT_FINITE)
    assert sample(logits, rows, positions) == expected


def test_greedy_takes_the_lowest_of_the_largest():
    logits = np.zeros((2, VOCAB), dtype=np.float32)
    logits[0, [17, 40, 299]] = 3
    rows = [make_row(vocab_size=VOCAB, temperature=0.0) for _ in range(2)]
    assert sample(logits, rows, [1, 1]) == [SampledToken(17), SampledToken(0)]
    assert greedy_on_device(torch.from_numpy(logits)) == [SampledToken(17), SampledToken(0)]
    with_logprobs = make_row(vocab_size=VOCAB, temperature=0.0, num_logprobs=0)
    assert sample(logits[:1], [with_logprobs], [1])[0].token_id == 17


def test_greedy_on_the_device_fails_broken_rows_only():
    logits = torch.zeros(3, VOCAB)
    logits[1, 5] = float("nan")
    logits[2, 9] = 1
    assert greedy_on_device(logits) == [SampledToken(0), SamplingFailure(NOT_FINITE), SampledToken(9)]


def test_a_row_with_every_token_banned_fails():
    row = make_row(vocab_size=2, eos=frozenset({0, 1}), min_tokens=1)
    greedy = make_row(vocab_size=2, eos=frozenset({0, 1}), min_tokens=1, temperature=0.0)
    logits = np.zeros((2, 2), dtype=np.float32)
    assert sample(logits, [row, greedy], [0, 0]) == [SamplingFailure(NOTHING_ALLOWED)] * 2


def test_logprobs_are_of_the_raw_distribution():
    logits = np.zeros((1, 4), dtype=np.float32)
    row = make_row(vocab_size=4, temperature=0.0, logit_bias={2: 10.0}, num_logprobs=1)
    (outcome,) = sample(logits, [row], [0])
    assert outcome.token_id == outcome.logprobs.token_id == 2
    assert outcome.logprobs.logprob == pytest.approx(np.log(0.25))
    assert outcome.logprobs.top_token_ids == (0,)


def test_no_rows():
    assert sample(np.zeros((0, 4), dtype=np.float32), [], []) == []


def _chi_square(counts, probabilities):
    expected = probabilities * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({}, 12),
        ({"temperature": 0.7}, 12),
        ({"top_k": 5}, 5),
        ({"top_p": 0.8}, None),
        ({"min_p": 0.3}, None),
        ({"top_k": 8, "top_p": 0.9, "min_p": 0.05, "temperature": 1.3}, None),
    ],
)
def test_tokens_come_as_often_as_their_probability_says(params, kept):
    vocab = 12
    logits = np.random.default_rng(1).normal(0, 1, vocab).astype(np.float32)
    probabilities = torch.softmax(torch.from_numpy(logits) / params.get("temperature", 1.0), 0).double().numpy()
    order = np.argsort(-probabilities)
    allowed = order[: params.get("top_k", vocab)]
    share = np.cumsum(probabilities[allowed]) / probabilities[allowed].sum()
    allowed = allowed[: int(np.searchsorted(share, params.get("top_p", 1.0))) + 1]
    allowed = allowed[probabilities[allowed] >= params.get("min_p", 0.0) * probabilities.max()]
    assert kept is None or len(allowed) == kept
    row = make_row(vocab_size=vocab, seed=11, **params)
    drawn = [sample(logits[None], [row], [position])[0].token_id for position in range(6000)]
    counts = np.bincount(drawn, minlength=vocab)
    assert counts[allowed].sum() == 6000
    # At most 11 degrees of freedom: 40 is beyond the 99.996th percentile.
    assert _chi_square(counts[allowed], probabilities[allowed] / probabilities[allowed].sum()) < 40


def test_samples_of_one_request_differ_and_repeat():
    logits = np.zeros((1, VOCAB), dtype=np.float32)

    def draw(sample_index):
        row = make_row(vocab_size=VOCAB, seed=5, sample_index=sample_index)
        return [sample(logits, [row], [position])[0].token_id for position in range(20)]

    assert draw(0) == draw(0)
    assert len({tuple(draw(index)) for index in range(10)}) == 10


def test_the_draw_uses_the_number_of_its_position():
    logits = np.zeros((1, 64), dtype=np.float32)
    row = make_row(vocab_size=64, seed=9)
    for position in range(30):
        assert sample(logits, [row], [position])[0].token_id == int(uniform((9, 0, 0), position) * 64)
