"""All layers in one call give the bits of the layers one by one: logits and tokens, for every kind that is stacked."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.fakes.checkpoints import make_checkpoint
from tests.runner.engine_parts import load_integers, make_request, run
from tidemill.kernels.cpu.backend import NumbaBackend
from tidemill.kernels.cpu.layer_stack import MOST_ROWS, CpuLayerStack

KINDS = {
    "llama": ("llama", {"hidden_size": 256, "intermediate_size": 768, "num_key_value_heads": 2, "head_dim": 64}),
    "biased": ("qwen2", {"num_key_value_heads": 4}),
    "normed heads": ("qwen3", {"max_position_embeddings": 1300}),
    "not all rotated": ("smollm3", {"no_rope_layer_interval": 2}),
}


class LayerByLayer(NumbaBackend):
    """Kernels that take no layers together."""

    def stack(self, layers, final_norm, epsilon):
        return None


class CountingStack:
    """A stack that says how many rows it was given."""

    def __init__(self, stack):
        self._stack = stack
        self.rows = []

    def takes(self, num_rows):
        return self._stack.takes(num_rows)

    def run(self, residual, positions, caches, plans):
        self.rows.append(residual.shape[0])
        return self._stack.run(residual, positions, caches, plans)


class CountingBackend(NumbaBackend):
    """Counts the rows that go through stacks."""

    made = None

    def stack(self, layers, final_norm, epsilon):
        found = super().stack(layers, final_norm, epsilon)
        assert isinstance(found, CpuLayerStack)
        self.made = CountingStack(found)
        return self.made


def requests_of(seed, lengths, num_new):
    generator = np.random.default_rng(seed)
    return [
        make_request(index, generator.integers(3, 319, length).tolist(), num_new)
        for index, length in enumerate(lengths)
    ]


def assert_same(found, expected):
    assert found.token_ids == expected.token_ids
    assert found.logits == expected.logits


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits_as_layer_by_layer(kind, precision, tmp_path):
    family, overrides = KINDS[kind]
    folder = make_checkpoint(family, tmp_path, **overrides)
    counting = CountingBackend()
    together, one_by_one = load_integers(folder, precision, counting), load_integers(folder, precision, LayerByLayer())
    requests = requests_of(1, (1, 5, 40, 70), 6)
    for num_threads in (1, 2):
        expected = run(one_by_one, requests, num_threads=num_threads)
        assert_same(run(together, requests, num_threads=num_threads), expected)
        # In chunks of few rows prompts go through the stack too.
        assert_same(run(together, requests, budget=9, num_threads=num_threads), expected)
    assert {1, 4, 10} <= set(counting.made.rows)
    assert max(counting.made.rows) <= MOST_ROWS


@pytest.mark.parametrize("kv_dtype", [torch.int8, torch.float32])
def test_other_caches_and_contexts_shared_out_by_partition(kv_dtype, tmp_path):
    family, overrides = KINDS["normed heads"]
    folder = make_checkpoint(family, tmp_path, **overrides)
    together, one_by_one = (
        replace(load_integers(folder, "int8", kernels), kv_dtype=kv_dtype)
        for kernels in (NumbaBackend(), LayerByLayer())
    )
    requests = requests_of(2, (1100,), 4)
    for num_threads in (1, 2):
        expected = run(one_by_one, requests, num_threads=num_threads)
        assert_same(run(together, requests, num_threads=num_threads), expected)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_layers_of_two_groups_are_not_stacked(precision, tmp_path):
    folder = make_checkpoint(
        "qwen3",
        tmp_path,
        num_hidden_layers=2,
        use_sliding_window=True,
        sliding_window=24,
        layer_types=["full_attention", "sliding_attention"],
    )

    class Asked(NumbaBackend):
        answers = []  # noqa: RUF012

        def stack(self, layers, final_norm, epsilon):
            self.answers.append(super().stack(layers, final_norm, epsilon))

    load_integers(folder, precision, Asked())
    assert Asked.answers
    assert Asked.answers.count(None) == len(Asked.answers)
