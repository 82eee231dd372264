"""The decoder against `transformers`, on small random checkpoints of every family, and the exactness of its rows."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.checkpoints import make_checkpoint
from tests.fakes.decoder_driver import DecoderDriver
from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.torch_backend import TorchBackend

LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}  # fmt: skip
YARN_ROPE = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 256}
MIXED = ["full_attention", "sliding_attention", "full_attention", "sliding_attention"]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-mha": ("llama", {"num_key_value_heads": 4, "head_dim": 24}),
    "llama-one-kv-head": ("llama", {"num_key_value_heads": 1, "head_dim": 128, "num_hidden_layers": 1}),
    "llama-odd-group": ("llama", {"num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 144}),
    "llama-biased-tied": ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "llama-linear": ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}),
    "llama-dynamic": ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}),
    "llama-llama3": ("llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama-yarn": ("llama", {"rope_parameters": YARN_ROPE}),
    "llama-yarn-scales": (
        "llama",
        {"rope_parameters": YARN_ROPE | {"mscale": 0.7, "mscale_all_dim": 1.2, "truncate": False, "beta_fast": 16.0}},
    ),
    "llama-yarn-factor": ("llama", {"rope_parameters": YARN_ROPE | {"attention_factor": 1.3, "beta_slow": 2.0}}),
    "mistral-window": ("mistral", {"sliding_window": 50, "head_dim": 32}),
    "mistral": ("mistral", {"sliding_window": None, "head_dim": 40}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2-windows": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 33, "max_window_layers": 2, "num_hidden_layers": 4},
    ),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "qwen3-mixed": (
        "qwen3",
        {"use_sliding_window": True, "sliding_window": 64, "layer_types": MIXED, "num_hidden_layers": 4},
    ),
    "smollm3": ("smollm3", {"num_hidden_layers": 4, "no_rope_layer_interval": 2, "tie_word_embeddings": True}),
}


def tokens(count: int, seed: int = 3) -> list[int]:
    return random.Random(seed).choices(range(3, 320), k=count)


def expected(folder: Path, token_ids: list[int]) -> torch.Tensor:
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits: torch.Tensor = model(torch.tensor([token_ids])).logits[0]
    return logits


@pytest.mark.parametrize("name", CASES)
def test_logits_equal_transformers(name: str, tmp_path: Path) -> None:
    family, overrides = CASES[name]
    make_checkpoint(family, tmp_path, **overrides)
    token_ids = tokens(700 if name in {"llama", "mistral-window"} else 300)
    want = expected(tmp_path, token_ids)
    got = DecoderDriver.load(tmp_path).run(token_ids, [1, 2, 40, len(token_ids) - 43])
    torch.testing.assert_close(got, want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("length", [1, 17, 700])
@pytest.mark.parametrize("name", CASES)
def test_greedy_tokens_equal_transformers(name: str, length: int, tmp_path: Path) -> None:
    import transformers

    family, overrides = CASES[name]
    make_checkpoint(family, tmp_path, **overrides)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    prompt = tokens(length)
    settings = transformers.GenerationConfig(max_new_tokens=12, do_sample=False, eos_token_id=None)
    want = model.generate(torch.tensor([prompt]), generation_config=settings)[0].tolist()
    driver = DecoderDriver.load(tmp_path)
    sequence = driver.add(prompt)
    driver.step([(sequence, length)])
    for _ in range(12):
        sequence.token_ids.append(int(sequence.logits[-1].argmax()))
        driver.step([(sequence, 1)])
    assert sequence.token_ids == want


@pytest.mark.parametrize("name", ["llama-odd-group", "mistral-window", "qwen3-mixed"])
def test_reference_kernels_give_the_same_logits(name: str, tmp_path: Path) -> None:
    family, overrides = CASES[name]
    make_checkpoint(family, tmp_path, **overrides)
    token_ids = tokens(150)
    want = DecoderDriver.load(tmp_path, kernels=TorchBackend()).run(token_ids, [100, 50])
    torch.testing.assert_close(DecoderDriver.load(tmp_path).run(token_ids), want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernels", [None, TorchBackend()], ids=["fast", "reference"])
@pytest.mark.parametrize("name", ["llama-odd-group", "mistral-window", "qwen3-mixed"])
def test_bits_do_not_depend_on_batch_chunks_pages_or_threads(
    name: str, kernels: KernelBackend | None, dtype: torch.dtype, tmp_path: Path
) -> None:
    family, overrides = CASES[name]
    make_checkpoint(family, tmp_path, **overrides)
    prompts = [tokens(length, seed=length) for length in (131, 64, 1, 90, 17)]
    driver = DecoderDriver.load(tmp_path, dtype=dtype, kernels=kernels)
    alone = [driver.run(prompt) for prompt in prompts]

    chunked = DecoderDriver.load(tmp_path, dtype=dtype, kernels=kernels, block_size=7)
    assert torch.equal(chunked.run(prompts[0], [1, 5, 60, 1, 64]), alone[0])

    sequences = [driver.add(prompt) for prompt in prompts]
    draw = random.Random(5)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 1, 2, 1, 2):
            torch.set_num_threads(threads)
            parts = [(s, min(draw.choice((1, 3, 40)), len(s.token_ids) - s.computed)) for s in sequences]
            driver.step([(s, n) for s, n in parts if n > 0])
        driver.step([(s, len(s.token_ids) - s.computed) for s in sequences if s.computed < len(s.token_ids)])
    finally:
        torch.set_num_threads(before)
    for sequence, want in zip(sequences, alone, strict=True):
        assert torch.equal(torch.stack(sequence.logits), want)


def test_a_shared_prefix_gives_the_same_bits(tmp_path: Path) -> None:
    make_checkpoint("llama", tmp_path)
    driver = DecoderDriver.load(tmp_path)
    token_ids = tokens(100)
    want = driver.run(token_ids)
    first = driver.add(token_ids[:48] + tokens(20, seed=9))
    driver.step([(first, len(first.token_ids))])
    second = driver.add(token_ids)
    second.computed = 48
    second.tables = [table[:3] for table in first.tables]
    driver.step([(second, 52)])
    assert torch.equal(torch.stack(second.logits), want[48:])


def test_without_a_row_tile_logits_are_still_right(tmp_path: Path) -> None:
    make_checkpoint("llama", tmp_path)
    token_ids = tokens(45)
    got = DecoderDriver.load(tmp_path, row_tile=None).run(token_ids, [1, 3, 41])
    torch.testing.assert_close(got, expected(tmp_path, token_ids), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_checkpoints_load_in_fp32_and_bf16(dtype: torch.dtype, tmp_path: Path) -> None:
    make_checkpoint("qwen2", tmp_path, dtype=dtype)
    token_ids = tokens(30)
    want = expected(tmp_path, token_ids)
    torch.testing.assert_close(DecoderDriver.load(tmp_path).run(token_ids), want, atol=1e-4, rtol=0)
    coarse = DecoderDriver.load(tmp_path, dtype=torch.bfloat16).run(token_ids)
    assert (coarse - want).abs().max() < 0.03 * want.abs().max()


def test_dynamic_scaling_is_fixed_at_the_served_length(tmp_path: Path) -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
    make_checkpoint("llama", tmp_path, max_position_embeddings=64, rope_parameters=rope)
    token_ids = tokens(200)
    want = expected(tmp_path, token_ids)
    got = DecoderDriver.load(tmp_path, max_model_len=200).run(token_ids, [50, 150])
    torch.testing.assert_close(got, want, atol=1e-4, rtol=0)
