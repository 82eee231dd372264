"""The same request gives the same bits whatever else is in the batch, cached, chunked or preempted, with any threads.

Everything is real but the processes: scheduler, runner, decoder and kernels, on random weights.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.checkpoints import make_checkpoint
from tests.runner.engine_parts import LoadedModel, Record, load_integers, make_request, run
from tidemill.models.quantization import guard
from tidemill.models.spec import kv_groups

KINDS = {
    # Windows of 24 are left behind within a prompt; half the layers see everything, so there are two KV groups.
    "windowed": {
        "family": "qwen3",
        "num_hidden_layers": 4,
        "use_sliding_window": True,
        "sliding_window": 24,
        "layer_types": ["full_attention", "sliding_attention"] * 2,
    },
    "biased": {"family": "qwen2", "num_key_value_heads": 4},
    # Wide enough for a step of some hundred rows to be shared out among threads.
    "wide": {
        "family": "llama",
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": 1999,
        "initializer_range": 0.05,
    },
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


INTEGERS = ("int8", "int4", "int8 and floats")
"""In the last one a few matrices stay floats, as where smoothing does not help: rows need their tile again."""
INT8_CACHE = {"bf16, int8 cache": "bf16", "int8, int8 cache": "int8"}
"""Arithmetics over keys and values that are kept in int8."""
CASES = [
    *itertools.product(KINDS, DTYPES),
    *itertools.product(("windowed", "biased"), INTEGERS),
    *itertools.product(KINDS, INT8_CACHE),
]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def model(request, tmp_path_factory):
    kind, dtype = request.param
    model = load(kind, INT8_CACHE.get(dtype, dtype), tmp_path_factory)
    return replace(model, kv_dtype=torch.int8) if dtype in INT8_CACHE else model


def load(kind, dtype, tmp_path_factory):
    overrides = dict(KINDS[kind])
    folder = make_checkpoint(overrides.pop("family"), tmp_path_factory.mktemp(kind), **overrides)
    if dtype == "int8 and floats":
        with pytest.MonkeyPatch.context() as patch:
            # Bounds between the errors of this model's matrices: some pass, some do not.
            patch.setitem(guard.BOUNDS, "int8", guard.Bounds(smooth=0.009, widen=0.009))
            model = load_integers(folder, "int8")
        assert model.row_tile is not None
        return model
    if dtype in INTEGERS:
        model = load_integers(folder, dtype)
        assert model.row_tile is None
        return model
    return LoadedModel.load(folder, DTYPES[dtype])


def random_prompt(generator, length):
    return generator.integers(3, 319, length).tolist()


def alone(model, requests, **options):
    """Each request in an engine of its own, its prompt in one chunk, nothing cached."""
    record = Record()
    for request in requests:
        single = run(model, [request], **options)
        record.logits |= single.logits
        record.token_ids |= single.token_ids
    return record


def assert_same_bits(found, expected):
    assert found.token_ids == expected.token_ids
    assert found.logits.keys() == expected.logits.keys()
    assert [key for key, value in expected.logits.items() if found.logits[key] != value] == []


def test_a_batch_of_32_with_everything_at_once(model):
    generator = np.random.default_rng(3)
    shared = random_prompt(generator, 50)
    lengths = generator.integers(1, 120, 32)
    requests = [
        make_request(
            index,
            (shared if index % 3 == 0 else []) + random_prompt(generator, int(length)),
            6,
            temperature=0.0 if index % 2 else 0.9,
            top_p=0.9 if index % 4 else 1.0,
        )
        for index, length in enumerate(lengths)
    ]
    expected = alone(model, requests)
    together = run(model, requests)
    assert_same_bits(together, expected)
    assert together.num_preemptions == together.num_prefix_hits == 0

    hits = run(model, requests, prefix_caching=True, arrivals_per_step=1)
    assert hits.num_prefix_hits > 0
    assert_same_bits(hits, expected)


def test_preempted_sequences_compute_the_same_again(model):
    generator = np.random.default_rng(6)
    requests = [make_request(index, random_prompt(generator, 5 + index), 24) for index in range(6)]
    expected = alone(model, requests, block_size=4)
    # Outputs outgrow the cache: half of what all of them would need.
    num_blocks = 6 * 8 // 2 * len(kv_groups(model.spec))
    for prefix_caching in (False, True):
        crowded = run(model, requests, block_size=4, num_blocks=num_blocks, budget=24, prefix_caching=prefix_caching)
        assert crowded.num_preemptions > 0
        assert_same_bits(crowded, expected)


def test_every_chunk_size(model):
    generator = np.random.default_rng(4)
    requests = [make_request(index, random_prompt(generator, 41 + index), 3) for index in range(2)]
    expected = alone(model, requests)
    for budget in (*range(1, 20), *range(20, 44, 3)):
        assert_same_bits(run(model, requests, budget=budget), expected)


def test_blocks_of_one_position(model):
    generator = np.random.default_rng(7)
    requests = [make_request(index, random_prompt(generator, 30 + index), 6) for index in range(3)]
    expected = alone(model, requests)
    assert_same_bits(run(model, requests, block_size=1, budget=17, prefix_caching=True), expected)


def test_threads_on_long_prompts(model):
    generator = np.random.default_rng(5)
    requests = [make_request(index, random_prompt(generator, 500 + index), 4) for index in range(2)]
    expected = alone(model, requests, num_threads=1)
    assert_same_bits(alone(model, requests, num_threads=2), expected)
    assert_same_bits(run(model, requests, budget=512, num_threads=2), expected)
    assert_same_bits(run(model, requests, budget=700, num_threads=1), expected)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_load_gives_the_same_bits(model, data):
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="prompts"))
    shared = random_prompt(generator, data.draw(st.integers(0, 70), label="shared prefix"))
    requests = [
        make_request(
            index,
            shared[: data.draw(st.sampled_from([0, len(shared)]))] + random_prompt(generator, length),
            data.draw(st.integers(1, 9)),
            temperature=data.draw(st.sampled_from([0.0, 1.0])),
            repetition_penalty=data.draw(st.sampled_from([1.0, 1.3])),
        )
        for index, length in enumerate(data.draw(st.lists(st.integers(1, 90), min_size=1, max_size=8), label="tails"))
    ]
    block_size = data.draw(st.sampled_from([4, 16, 32]), label="block size")
    expected = alone(model, requests, block_size=block_size)
    found = run(
        model,
        requests,
        block_size=block_size,
        budget=data.draw(st.integers(1, 300), label="budget"),
        num_blocks=data.draw(st.integers(2 * (180 // block_size + 2), 4 * (180 // block_size + 2)), label="blocks"),
        prefix_caching=data.draw(st.booleans(), label="prefix caching"),
        max_num_seqs=data.draw(st.integers(1, 8), label="slots"),
        num_threads=data.draw(st.integers(1, 2), label="threads"),
        arrivals_per_step=data.draw(st.integers(1, 8), label="arrivals"),
    )
    assert_same_bits(found, expected)
