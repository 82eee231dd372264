import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tidemill.sampling.token_mask import allow_all, apply_mask, ban


@given(st.integers(1, 200), st.data())
def test_exactly_the_banned_tokens_lose_their_score(vocab_size, data):
    banned = data.draw(st.sets(st.integers(0, vocab_size - 1)))
    scores = np.arange(vocab_size, dtype=np.float32)
    mask = allow_all(vocab_size)
    ban(mask, banned)
    apply_mask(scores, mask)
    assert scores.tolist() == [-np.inf if i in banned else float(i) for i in range(vocab_size)]


def test_words_are_little_endian_with_the_lowest_token_in_the_lowest_bit():
    mask = allow_all(64)
    ban(mask, [0, 33])
    assert mask.tolist() == [0xFFFFFFFE, 0xFFFFFFFD]
