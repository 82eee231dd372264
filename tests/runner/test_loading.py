from dataclasses import replace

import pytest

from tests.runner.batches import make_batch, new_sequence, scheduled
from tidemill.core.errors import CapacityError, ConfigurationError
from tidemill.models.spec import load_spec

MIB = 1024 * 1024


class FixedMemory:
    """As much as it is told, each time it is asked; the last reading stays."""

    def __init__(self, *readings):
        self._readings = list(readings)

    def available_bytes(self):
        return self._readings.pop(0) if len(self._readings) > 1 else self._readings[0]


def test_what_is_loaded_computes_and_describes_itself(load, folder):
    told = []
    loaded = load(progress=lambda stage, fraction: told.append((stage, fraction)))
    info, layout = loaded.info, loaded.layout
    assert (info.family, info.precision, info.device, info.num_threads) == ("llama", "fp32", "cpu", 1)
    assert info.max_model_len == 1024
    assert info.num_blocks == layout.num_blocks == 4 * 64 + 1
    assert info.kv_cache_bytes == layout.num_blocks * layout.block_bytes
    assert info.weight_bytes == 4 * info.num_parameters
    assert ("loading weights", 0.0) in told
    assert ("loading weights", 1.0) in told
    assert told[-1][0].startswith("compiling kernels")
    assert told[-1][1] == 1.0
    batch = make_batch(scheduled(1, 0, 3, [1]), new=[new_sequence(1, (5, 6, 7))])
    assert len(loaded.runner.launch(batch).result().sequences[0].token_ids) == 1


def test_a_step_tells_of_each_layer(load, folder):
    layers = []
    loaded = load(on_layer=lambda: layers.append(1))
    layers.clear()
    loaded.runner.launch(make_batch(scheduled(1, 0, 3, [1]), new=[new_sequence(1, (5, 6, 7))])).result()
    assert len(layers) == load_spec(folder).num_layers


def test_the_fingerprint_says_whether_bits_agree(load):
    assert load().info.numerics_fingerprint == load(cache={"block_size": 16}).info.numerics_fingerprint
    prints = {
        load().info.numerics_fingerprint,
        load(precision="bf16").info.numerics_fingerprint,
        load(cache={"kv_precision": "int8"}).info.numerics_fingerprint,
        load(fast_math=True).info.numerics_fingerprint,
        load(max_model_len=512).info.numerics_fingerprint,
    }
    assert len(prints) == 5


@pytest.mark.parametrize(
    ("asked", "name", "ratio"), [("auto", "fp32", 1.0), ("bf16", "bf16", 0.5), ("int8", "int8", 0.34)]
)
def test_keys_and_values_have_a_type_of_their_own(load, asked, name, ratio):
    loaded = load(cache={"kv_precision": asked})
    assert (loaded.info.precision, loaded.info.kv_precision) == ("fp32", name)
    assert loaded.layout.block_bytes <= ratio * load().layout.block_bytes
    batch = make_batch(scheduled(1, 0, 3, [1]), new=[new_sequence(1, (5, 6, 7))])
    assert len(loaded.runner.launch(batch).result().sequences[0].token_ids) == 1


def test_the_cache_can_be_asked_for(load):
    assert load(cache={"kv_cache_memory": 5 * MIB}).info.kv_cache_bytes == 5 * MIB
    with pytest.raises(CapacityError, match=r"allows 512\.0 KiB; the longest context that fits has 1008 tokens"):
        load(cache={"kv_cache_memory": MIB // 2})
    assert load(cache={"kv_cache_memory": MIB // 2}, max_model_len=1008).info.num_blocks == 64


def test_a_context_that_nothing_can_hold_is_refused_before_a_weight_is_read(load, folder):
    told = []
    vast = replace(load_spec(folder), max_position_embeddings=10_000_000)
    with pytest.raises(CapacityError, match=r"10000000 tokens \(the model's own\) needs at least"):
        load(spec=vast, memory=FixedMemory(1024 * MIB), progress=lambda *stage: told.append(stage))
    assert told == []


def test_memory_that_is_too_small_is_refused_with_the_numbers(load):
    with pytest.raises(CapacityError, match=r"The weights need 401\.2 KiB, but only 100\.0 KiB"):
        load(memory=FixedMemory(100 * 1024))
    with pytest.raises(CapacityError, match=r"1024 tokens \(the model's own\) needs 520\.0 KiB of KV cache"):
        load(memory=FixedMemory(MIB, 64 * MIB))


def test_a_system_that_does_not_tell_its_memory(load):
    with pytest.raises(ConfigurationError, match="does not say"):
        load(memory=FixedMemory(None))
    assert load(memory=FixedMemory(None), cache={"kv_cache_memory": 2 * MIB}).info.kv_cache_bytes == 2 * MIB


def test_a_length_beyond_the_model_is_refused(load):
    with pytest.raises(ConfigurationError, match="1025 is beyond the model's context of 1024"):
        load(max_model_len=1025)
    assert load(max_model_len=100).info.max_model_len == 100


@pytest.mark.parametrize("budget", [1, 40, 4096])
def test_any_token_budget_can_be_measured(load, budget):
    loaded = load(scheduler={"max_num_batched_tokens": budget, "max_num_seqs": 2}, max_model_len=64)
    assert loaded.info.num_blocks == 2 * 4 + 1
