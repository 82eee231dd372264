import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tidemill.sampling.logprobs import token_logprobs


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40), st.data())
def test_agrees_with_log_softmax(values, data):
    token_id = data.draw(st.integers(0, len(values) - 1))
    num_top = data.draw(st.integers(0, len(values) + 3))
    found = token_logprobs(np.array(values, dtype=np.float32), token_id, num_top)
    expected = torch.log_softmax(torch.tensor(values, dtype=torch.float64), 0).tolist()
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))[:num_top]
    assert found.token_id == token_id
    assert found.logprob == pytest.approx(expected[token_id], abs=1e-5)
    assert found.top_token_ids == tuple(order)
    assert found.top_logprobs == pytest.approx([expected[i] for i in order], abs=1e-5)


def test_zero_alternatives_give_only_the_token_itself():
    found = token_logprobs(np.zeros(4, dtype=np.float32), 2, 0)
    assert found.top_token_ids == found.top_logprobs == ()
    assert found.logprob == pytest.approx(np.log(0.25))
