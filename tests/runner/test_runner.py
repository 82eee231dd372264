"""The runner over a model that can be told what to say."""

import numpy as np
import pytest
import torch

from tests.runner.batches import make_batch, new_sequence, scheduled
from tidemill.core.kv_cache import KVCacheGroup, KVCacheLayout
from tidemill.kernels.kv_tensors import KVTensors, block_bytes
from tidemill.runner import logit_rows
from tidemill.runner.logit_rows import slice_rows
from tidemill.runner.runner import ModelRunner
from tidemill.sampling.plain_draw import NOT_FINITE

VOCAB = 50
CPU = torch.device("cpu")


class CountingModel:
    """Says that after token t at position p comes token t + 1; broken after token 13."""

    def __init__(self):
        self.forward_rows = []
        self.logit_rows = []

    def forward(self, token_ids, positions, kv, attention):
        self.forward_rows.append(token_ids.numel())
        return torch.stack((token_ids, positions), dim=1).float()

    def logits(self, hidden_rows):
        self.logit_rows.append(hidden_rows.shape[0])
        token_ids = hidden_rows[:, 0].long()
        logits = torch.zeros(hidden_rows.shape[0], VOCAB)
        logits[torch.arange(token_ids.numel()), (token_ids + 1) % VOCAB] = 5.0
        logits[token_ids == 13] = float("nan")
        return logits


@pytest.fixture
def model():
    return CountingModel()


@pytest.fixture
def seen():
    return []


@pytest.fixture
def runner(model, seen):
    page = block_bytes(layers_per_group=1, num_kv_heads=1, head_dim=2, block_size=4, dtype=torch.float32)
    layout = KVCacheLayout(num_blocks=8, block_size=4, block_bytes=page, groups=(KVCacheGroup((0,), None),))
    kv = KVTensors.allocate(layout, num_kv_heads=1, head_dim=2, dtype=torch.float32, device=CPU)
    return ModelRunner(
        model,
        kv,
        layout,
        model_id=0,
        vocab_size=VOCAB,
        row_tile=8,
        device=CPU,
        on_logits=lambda sequence_id, position, logits: seen.append((sequence_id, position, int(np.argmax(logits)))),
    )


def step(runner, batch):
    result = runner.launch(batch).result()
    assert result.step == batch.step
    return result.sequences


def test_a_chunked_prompt_then_two_tokens(runner, model, seen):
    first = make_batch(scheduled(1, 0, 2, [1], samples=False), new=[new_sequence(1, (5, 6, 7))])
    assert step(runner, first)[0].token_ids == ()
    assert model.logit_rows == []
    assert step(runner, make_batch(scheduled(1, 2, 1, [1])))[0].token_ids == (8,)
    assert step(runner, make_batch(scheduled(1, 3, 1, [1])))[0].token_ids == (9,)
    assert model.forward_rows == [*model.logit_rows, 8] == [8, 8, 8]
    assert seen == [(1, 2, 8), (1, 3, 9)]


def test_results_are_in_the_batchs_order_and_only_samples_have_tokens(runner):
    batch = make_batch(
        scheduled(3, 0, 2, [1]),
        scheduled(1, 0, 1, [2], samples=False),
        scheduled(2, 0, 3, [3]),
        new=[new_sequence(1, (30, 31)), new_sequence(2, (20, 21, 22)), new_sequence(3, (10, 11))],
    )
    results = step(runner, batch)
    assert [(result.sequence_id, result.token_ids) for result in results] == [(3, (12,)), (1, ()), (2, (23,))]


def test_a_preempted_sequence_is_computed_again_from_its_own_tokens(runner):
    step(runner, make_batch(scheduled(1, 0, 2, [1]), new=[new_sequence(1, (5, 6))]))
    step(runner, make_batch(scheduled(1, 2, 1, [1])))
    assert step(runner, make_batch(scheduled(1, 0, 4, [2])))[0].token_ids == (9,)


def test_finished_sequences_are_forgotten(runner):
    step(runner, make_batch(scheduled(1, 0, 2, [1]), new=[new_sequence(1, (5, 6))]))
    assert runner.num_sequences == 1
    step(runner, make_batch(scheduled(2, 0, 1, [1]), new=[new_sequence(2, (5,))], finished=[1, 99]))
    assert runner.num_sequences == 1


def test_output_that_is_not_finite_ends_its_sequence_only(runner):
    news = [new_sequence(1, (5,)), new_sequence(2, (13,)), new_sequence(3, (7,), temperature=1.0, logit_bias={3: 90})]
    parts = [scheduled(1, 0, 1, [1]), scheduled(2, 0, 1, [2]), scheduled(3, 0, 1, [3])]
    results = step(runner, make_batch(*parts, new=news))
    assert [result.token_ids for result in results] == [(6,), (), (3,)]
    assert [result.error for result in results] == [None, NOT_FINITE, None]


def test_a_token_outside_the_vocabulary_never_reaches_the_model(runner, model):
    news = [new_sequence(1, (VOCAB,)), new_sequence(2, (20,)), new_sequence(3, (4,), logit_bias={VOCAB: 1.0})]
    parts = [scheduled(1, 0, 1, [1]), scheduled(2, 0, 1, [2]), scheduled(3, 0, 1, [3])]
    results = step(runner, make_batch(*parts, new=news))
    assert [result.sequence_id for result in results] == [1, 2, 3]
    assert results[1].token_ids == (21,)
    assert "outside the vocabulary" in results[0].error
    assert f"token {VOCAB}" in results[2].error
    only_faults = step(runner, make_batch(parts[0]))
    assert only_faults[0].error is not None
    assert len(model.forward_rows) == 1


def test_logprobs_come_with_tokens(runner):
    (result,) = step(runner, make_batch(scheduled(1, 0, 1, [1]), new=[new_sequence(1, (5,), num_logprobs=2)]))
    (logprobs,) = result.logprobs
    expected = torch.log_softmax(torch.tensor([5.0] + [0.0] * (VOCAB - 1)), 0)
    assert logprobs.token_id == 6
    assert logprobs.top_token_ids == (6, 0)
    assert logprobs.logprob == logprobs.top_logprobs[0] == pytest.approx(float(expected[0]), abs=1e-6)


def test_prompt_logprobs_speak_of_the_next_token(runner):
    prompt = (5, 6, 7, 20, 21)
    new = new_sequence(1, prompt, num_prompt_logprobs=1)
    (first,) = step(runner, make_batch(scheduled(1, 0, 3, [1], samples=False), new=[new]))
    (second,) = step(runner, make_batch(scheduled(1, 3, 2, [1, 2])))
    assert [entry.token_id for entry in first.prompt_logprobs] == [6, 7, 20]
    assert [entry.top_token_ids for entry in first.prompt_logprobs] == [(6,), (7,), (8,)]
    assert first.prompt_logprobs[2].logprob < first.prompt_logprobs[1].logprob
    assert [entry.token_id for entry in second.prompt_logprobs] == [21]
    assert second.token_ids == (22,)
    (third,) = step(runner, make_batch(scheduled(1, 5, 1, [1, 2])))
    assert third.prompt_logprobs == ()


def test_logits_of_long_prompts_come_in_slices(runner, model, monkeypatch):
    monkeypatch.setattr(logit_rows, "MAX_SLICE_BYTES", 4 * VOCAB * 8)
    runner = ModelRunner(model, runner._kv, runner._layout, model_id=0, vocab_size=VOCAB, row_tile=8, device=CPU)
    prompt = tuple(range(14, 14 + 30))
    news = [new_sequence(1, prompt, num_prompt_logprobs=0), new_sequence(2, (3,))]
    results = step(runner, make_batch(scheduled(1, 0, 30, range(1, 9)), scheduled(2, 0, 1, [1]), new=news))
    assert model.logit_rows == [8, 8, 8, 8]
    assert [entry.token_id for entry in results[0].prompt_logprobs] == list(prompt[1:])
    assert [result.token_ids for result in results] == [(44,), (4,)]


def test_a_prompt_row_that_is_not_finite_is_an_error(runner):
    new = new_sequence(1, (12, 13, 14), num_prompt_logprobs=0)
    (result,) = step(runner, make_batch(scheduled(1, 0, 3, [1]), new=[new]))
    assert result.error == NOT_FINITE


def test_slices_are_whole_tiles_within_the_bound():
    assert slice_rows(16_384, 8) == 1024
    assert slice_rows(128_256, 8) == 128
    assert slice_rows(200_000, 16) == 80
    assert slice_rows(100_000_000, 8) == 8
    assert slice_rows(100_000_000, None) == 1


def test_a_step_tells_what_its_tensors_and_its_sampling_took(runner, model):
    times = iter([10.0, 11.0, 14.0, 19.0])
    runner = ModelRunner(
        model,
        runner._kv,
        runner._layout,
        model_id=0,
        vocab_size=VOCAB,
        row_tile=8,
        device=CPU,
        clock=lambda: next(times),
    )
    batch = make_batch(scheduled(1, 0, 2, [1]), new=[new_sequence(1, (5, 6))])
    result = runner.launch(batch).result()
    assert (result.tensors_seconds, result.sample_seconds) == (1.0, 5.0)
