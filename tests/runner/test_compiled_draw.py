"""The compiled kernels of sampling draw the tokens that their numpy twin draws."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import get_num_threads, set_num_threads

from tests.sampling.rows import make_row
from tidemill.kernels.backend import choose_backend
from tidemill.kernels.torch_backend import TorchBackend
from tidemill.runner.compiled_draw import CompiledDraw, choose_draw
from tidemill.sampling.plain_draw import NOT_FINITE, NOTHING_ALLOWED, SamplingFailure, draw_plainly
from tidemill.sampling.token_mask import ban

LARGE = 33_000
VOCABS = (1, 63, 64, 65, 300, LARGE)


@pytest.fixture(scope="module")
def draws():
    return {size: CompiledDraw(size) for size in VOCABS}


@st.composite
def cases(draw):
    """Rows that ask for anything, over logits that are smooth, tied or sharp."""
    vocab = draw(st.sampled_from(VOCABS))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    token = st.integers(0, vocab - 1)
    rows, logits = [], []
    for _ in range(draw(st.integers(1, 5))):
        row = make_row(
            vocab_size=vocab,
            prompt=tuple(draw(st.lists(token, min_size=1, max_size=9))),
            output=tuple(draw(st.lists(token, max_size=9))),
            eos=frozenset({0}),
            seed=draw(st.integers(-(2**63), 2**63 - 1)),
            sample_index=draw(st.integers(0, 9)),
            temperature=draw(st.just(0.0) | st.sampled_from([1e-38, 1e-3]) | st.floats(0.1, 3)),
            top_k=draw(st.none() | st.integers(1, 60) | st.integers(1, 2 * vocab)),
            top_p=draw(st.just(1.0) | st.floats(0.01, 1) | st.sampled_from([0.5, 1 - 1e-9])),
            min_p=draw(st.just(0.0) | st.floats(0, 1) | st.just(1e-12)),
            repetition_penalty=draw(st.just(1.0) | st.floats(0.5, 2)),
            presence_penalty=draw(st.just(0.0) | st.floats(-2, 2)),
            frequency_penalty=draw(st.just(0.0) | st.floats(-2, 2)),
            logit_bias=draw(st.dictionaries(token, st.floats(-9, 9), max_size=3)),
            min_tokens=draw(st.integers(0, 12)),
        )
        values = generator.normal(0, draw(st.sampled_from([0.0, 0.3, 3.0, 30.0])), vocab)
        if draw(st.booleans()):
            values = np.round(values)
        rows.append(row)
        logits.append(values)
    return vocab, rows, np.array(logits, dtype=np.float32)


@settings(max_examples=300, deadline=None)
@given(cases(), st.integers(0, 10**6))
def test_both_draw_the_same_tokens(draws, case, position):
    vocab, rows, logits = case
    before = logits.copy()
    positions = [position + index for index in range(len(rows))]
    expected = draw_plainly(logits, rows, positions)
    assert draws[vocab](logits, rows, positions) == expected
    assert np.array_equal(logits, before)
    alone = [draws[vocab](logits[i : i + 1], [row], [positions[i]])[0] for i, row in enumerate(rows)]
    assert alone == expected


@pytest.mark.parametrize("params", [{}, {"top_p": 0.9}, {"top_k": 40, "top_p": 0.9}, {"top_k": 9000}, {"min_p": 0.01}])
@pytest.mark.parametrize("spread", [0.5, 3.0])
def test_many_draws_from_large_vocabularies_are_the_same(draws, params, spread):
    logits = np.random.default_rng(3).normal(0, spread, (40, LARGE)).astype(np.float32)
    rows = [make_row(vocab_size=LARGE, seed=index, **params) for index in range(40)]
    drawn = draws[LARGE](logits, rows, range(40))
    assert drawn == draw_plainly(logits, rows, range(40))
    assert len(set(drawn)) > 5


def test_threads_change_nothing(draws):
    logits = np.random.default_rng(3).normal(0, 2, (7, LARGE)).astype(np.float32)
    rows = [make_row(vocab_size=LARGE, seed=index, top_p=0.9, presence_penalty=0.3, output=(5,)) for index in range(7)]
    before = get_num_threads()
    drawn = []
    try:
        for num_threads in (1, 2):
            set_num_threads(num_threads)
            drawn.append(draws[LARGE](logits, rows, range(7)))
            assert get_num_threads() == num_threads
    finally:
        set_num_threads(before)
    assert drawn[0] == drawn[1] == draw_plainly(logits, rows, range(7))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 299])
def test_a_broken_row_fails_alone(draws, value, place):
    logits = np.zeros((3, 300), dtype=np.float32)
    rows = [make_row(vocab_size=300, seed=index, temperature=float(index)) for index in range(3)]
    expected = draw_plainly(logits, rows, range(3))
    for broken in range(3):
        harmed = logits.copy()
        harmed[broken, place] = value
        kept = [SamplingFailure(NOT_FINITE) if index == broken else expected[index] for index in range(3)]
        assert draws[300](harmed, rows, range(3)) == draw_plainly(harmed, rows, range(3)) == kept


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_where_nothing_is_allowed_nothing_is_drawn(draws, temperature):
    row = make_row(vocab_size=65, eos=frozenset(range(65)), min_tokens=1, temperature=temperature)
    only = make_row(vocab_size=65, min_tokens=1, temperature=temperature)
    mask = only._mask_of_early_output(65)
    ban(mask, set(range(65)) - {64})
    only._early_mask = mask
    logits = np.zeros((2, 65), dtype=np.float32)
    assert draws[65](logits, [row, only], [0, 0]) == [SamplingFailure(NOTHING_ALLOWED), 64]


def test_zeros_of_both_signs_are_one_value(draws):
    logits = np.array([[-1.0, -0.0, 0.0, -0.0] + [-9.0] * 59], dtype=np.float32)
    for params in ({"temperature": 0.0}, {"top_k": 1}, {"top_k": 2, "seed": 5}):
        row = make_row(vocab_size=63, **params)
        assert draws[63](logits, [row], [0]) == draw_plainly(logits, [row], [0])
    assert draws[63](logits, [make_row(vocab_size=63, top_k=1)], [0]) == [1]


def test_the_draw_goes_with_the_kernels():
    assert choose_draw(TorchBackend(), 65) is draw_plainly
    assert isinstance(choose_draw(choose_backend(torch.device("cpu")), 65), CompiledDraw)
