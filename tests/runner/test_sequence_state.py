import pytest

from tests.runner.batches import new_sequence
from tidemill.runner.sequence_state import SequenceState


def test_tokens_grow_with_what_is_accepted():
    state = SequenceState(new_sequence(1, (5, 6, 7)), vocab_size=300)
    for token_id in range(200):
        state.accept(token_id)
    assert state.num_tokens == 203
    assert state.num_prompt_tokens == 3
    assert state.token_ids(0, 203).tolist() == [5, 6, 7, *range(200)]
    assert state.token_ids(202, 1).tolist() == [199]
    assert state.sampling.num_output_tokens == 200


@pytest.mark.parametrize("prompt", [(), (5, -1), (300,), (1, 2, 10**15)])
def test_a_prompt_that_cannot_be_computed_is_a_fault(prompt):
    assert SequenceState(new_sequence(1, prompt), vocab_size=300).fault is not None


def test_a_bias_outside_the_vocabulary_is_a_fault():
    state = SequenceState(new_sequence(1, (5,), logit_bias={999: 1.0}), vocab_size=300)
    assert "999" in state.fault
