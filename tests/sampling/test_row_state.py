import numpy as np
import pytest

from tests.sampling.rows import make_row
from tidemill.sampling.row_state import TokenRangeError
from tidemill.sampling.sampler import SampledToken, sample

LOGITS = np.array([[0, 1, 2, 9, 3]], dtype=np.float32)


def test_what_ends_a_sequence_is_banned_until_min_tokens():
    row = make_row(vocab_size=5, eos=frozenset({3}), stop_token_ids=(4,), min_tokens=2, temperature=0.0)
    for _ in range(2):
        assert not row.is_plain_greedy
        assert sample(LOGITS, [row], [0]) == [SampledToken(2)]
        row.accept(2)
    assert row.mask is None
    assert row.is_plain_greedy
    assert sample(LOGITS, [row], [0]) == [SampledToken(3)]


def test_ignored_ends_of_text_are_not_banned():
    row = make_row(
        vocab_size=5, eos=frozenset({3}), stop_token_ids=(4,), min_tokens=2, ignore_eos=True, temperature=0.0
    )
    assert sample(LOGITS, [row], [0]) == [SampledToken(3)]


@pytest.mark.parametrize("token_id", [-1, 5, 10**12])
def test_a_bias_outside_the_vocabulary_is_named(token_id):
    with pytest.raises(TokenRangeError, match=f"logit_bias names token {token_id}, .* 5 tokens"):
        make_row(vocab_size=5, logit_bias={token_id: 1.0})


def test_a_stop_token_outside_the_vocabulary_can_never_come_and_is_no_error():
    row = make_row(vocab_size=5, stop_token_ids=(-3, 99), min_tokens=1, temperature=0.0)
    assert sample(LOGITS, [row], [0]) == [SampledToken(3)]


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.5},
        {"temperature": 0.0, "logit_bias": {1: 1.0}},
        {"temperature": 0.0, "presence_penalty": 0.1},
        {"temperature": 0.0, "frequency_penalty": 0.1},
        {"temperature": 0.0, "repetition_penalty": 1.1},
        {"temperature": 0.0, "num_logprobs": 0},
    ],
)
def test_what_is_not_plain_greedy(params):
    assert not make_row(vocab_size=5, **params).is_plain_greedy
    assert make_row(vocab_size=5, temperature=0.0, top_p=0.5, top_k=3).is_plain_greedy


def test_a_temperature_below_fp32_is_greedy():
    assert make_row(vocab_size=5, temperature=1e-60).is_greedy
