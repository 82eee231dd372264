"""Each hook against a twin that takes one number at a time."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.sampling.rows import make_row
from tidemill.sampling.hooks import apply_bias, apply_penalties
from tidemill.sampling.plain_draw import hooked_scores
from tidemill.sampling.token_counts import TokenCounts

VOCAB = 24
scores_of = st.lists(st.floats(-30, 30, width=32), min_size=VOCAB, max_size=VOCAB)
token = st.integers(0, VOCAB - 1)
tokens = st.lists(token, max_size=40)
one = np.float32


def penalized(score, repetition, presence, frequency, in_sequence, count):
    score = one(score)
    if in_sequence and repetition != 1.0:
        score = one(score * one(repetition)) if score < 0 else one(score / one(repetition))
    score = one(score - one(one(frequency) * one(count))) if frequency != 0 else score
    return one(score - one(presence)) if presence != 0 and count > 0 else score


@given(scores_of, tokens, tokens, st.floats(0.1, 3), st.floats(-2, 2), st.floats(-2, 2))
def test_penalties(scores, prompt, output, repetition, presence, frequency):
    row = np.array(scores, dtype=np.float32)
    counts = TokenCounts(prompt)
    for token_id in output:
        counts.append(token_id)
    apply_penalties(row, counts, repetition=repetition, presence=presence, frequency=frequency)
    counted = Counter(output)
    expected = [
        penalized(score, repetition, presence, frequency, i in prompt or i in counted, counted[i])
        for i, score in enumerate(scores)
    ]
    np.testing.assert_array_equal(row, np.array(expected, dtype=np.float32))


@given(scores_of, st.dictionaries(token, st.floats(-100, 100)))
def test_bias(scores, bias):
    row = np.array(scores, dtype=np.float32)
    ids = np.array(list(bias), dtype=np.int64)
    apply_bias(row, ids, np.array(list(bias.values()), dtype=np.float32))
    expected = [one(one(score) + one(bias[i])) if i in bias else one(score) for i, score in enumerate(scores)]
    np.testing.assert_array_equal(row, np.array(expected, dtype=np.float32))


@given(tokens, tokens)
def test_counts_grow_token_by_token(prompt, output):
    counts = TokenCounts(prompt)
    for token_id in output:
        counts.append(token_id)
    counted = Counter(output)
    found = dict(zip(counts.token_ids.tolist(), counts.output_counts.tolist(), strict=True))
    assert found == {i: counted[i] for i in {*prompt, *output}}


def test_counts_outgrow_their_first_capacity():
    counts = TokenCounts(())
    for token_id in range(1000):
        counts.append(token_id)
    counts.append(7)
    assert counts.token_ids.tolist() == list(range(1000))
    assert counts.output_counts[7] == 2


def test_presence_and_frequency_do_not_see_the_prompt_and_repetition_does():
    logits = np.ones(VOCAB, dtype=np.float32)
    additive = make_row(vocab_size=VOCAB, prompt=(3,), output=(5,), presence_penalty=0.5, frequency_penalty=0.25)
    scores = hooked_scores(logits, additive)
    assert scores[3] == 1.0
    assert scores[5] == 0.25
    dividing = make_row(vocab_size=VOCAB, prompt=(3,), output=(5,), repetition_penalty=2.0)
    scores = hooked_scores(logits, dividing)
    assert scores[3] == scores[5] == 0.5


def test_bias_comes_before_penalties():
    row = make_row(vocab_size=VOCAB, prompt=(3,), repetition_penalty=2.0, logit_bias={3: 5.0})
    assert hooked_scores(np.ones(VOCAB, dtype=np.float32), row)[3] == 3.0


def test_a_ban_cannot_be_undone_by_a_bias():
    row = make_row(vocab_size=VOCAB, eos=frozenset({3}), min_tokens=1, logit_bias={3: 100.0})
    assert hooked_scores(np.ones(VOCAB, dtype=np.float32), row)[3] == -np.inf


def test_logits_are_left_as_they_are():
    logits = np.ones(VOCAB, dtype=np.float32)
    hooked_scores(logits, make_row(vocab_size=VOCAB, logit_bias={3: 5.0}, presence_penalty=1.0, output=(4,)))
    assert logits.tolist() == [1.0] * VOCAB
