"""Specs from config files: both layouts of rotary settings, windows, groups, end tokens, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.checkpoints import FAMILIES, make_model
from tidemill.core.errors import ModelLoadError
from tidemill.core.kv_cache import KVCacheGroup
from tidemill.models.spec import ModelSpec, kv_groups, load_spec

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 320, "hidden_size": 64,
    "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "eos_token_id": 2, "bos_token_id": 1,
    "torch_dtype": "bfloat16",
}  # fmt: skip


def spec_of(folder: Path, config: dict[str, Any], generation: dict[str, Any] | None = None) -> ModelSpec:
    (folder / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return load_spec(folder)


def test_an_old_layout(tmp_path: Path) -> None:
    scaling = {"type": "linear", "factor": 2.0}
    spec = spec_of(tmp_path, LLAMA | {"rope_theta": 5e5, "rope_scaling": scaling})
    assert (spec.rope.kind, spec.rope.theta, spec.rope.factor) == ("linear", 5e5, 2.0)
    assert (spec.head_dim, spec.torch_dtype, spec.bos_token_id) == (16, "bfloat16", 1)
    assert spec.longest_context_len == 4096


def test_the_new_layout_says_the_same(tmp_path: Path) -> None:
    new = LLAMA | {"dtype": "bfloat16", "rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0}}
    del new["torch_dtype"]
    old = LLAMA | {"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}
    assert spec_of(tmp_path, new) == spec_of(tmp_path, old)


def test_llama3_and_yarn_settings(tmp_path: Path) -> None:
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope = spec_of(tmp_path, LLAMA | {"rope_scaling": llama3 | {"original_max_position_embeddings": 512}}).rope
    assert (rope.kind, rope.factor, rope.original_positions) == ("llama3", 8.0, 512)
    yarn = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024, "beta_fast": 16, "truncate": False}
    spec = spec_of(tmp_path, LLAMA | {"rope_scaling": yarn})
    assert (spec.rope.kind, spec.rope.beta_fast, spec.rope.truncate) == ("yarn", 16.0, False)
    assert spec.longest_context_len == 4096


def test_end_tokens_are_the_union_of_both_files(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, LLAMA, {"eos_token_id": [2, 7, 9]})
    assert spec.eos_token_ids == {2, 7, 9}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_number_of_parameters(family: str, tied: bool, tmp_path: Path) -> None:
    model = make_model(family, tie_word_embeddings=tied)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(tmp_path)
    assert load_spec(tmp_path).num_parameters == sum(p.numel() for p in model.parameters())


def test_one_kind_of_layer_is_one_group(tmp_path: Path) -> None:
    mistral = LLAMA | {"architectures": ["MistralForCausalLM"], "sliding_window": 100}
    assert kv_groups(spec_of(tmp_path, mistral)) == (KVCacheGroup((0, 1, 2, 3), 100),)
    assert kv_groups(spec_of(tmp_path, mistral | {"sliding_window": None})) == (KVCacheGroup((0, 1, 2, 3), None),)


def test_groups_have_one_size(tmp_path: Path) -> None:
    qwen = LLAMA | {"architectures": ["Qwen2ForCausalLM"], "num_hidden_layers": 6, "max_window_layers": 4}
    spec = spec_of(tmp_path, qwen | {"use_sliding_window": True, "sliding_window": 64})
    assert spec.windows == (None,) * 4 + (64,) * 2
    assert kv_groups(spec) == (KVCacheGroup((0, 1), None), KVCacheGroup((2, 3), None), KVCacheGroup((4, 5), 64))
    assert spec_of(tmp_path, qwen | {"sliding_window": 64}).windows == (None,) * 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel"),
        ({"rope_scaling": {"type": "longrope", "factor": 2.0}}, "longrope"),
        ({"rope_scaling": {"type": "linear"}}, "factor"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "by layer type"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config"),
        ({"num_key_value_heads": 3}, "heads"),
        ({"head_dim": 15}, "head_dim"),
        ({"hidden_size": "64"}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": 10**8}, "num_hidden_layers"),
        ({"max_position_embeddings": 10**12}, "max_position_embeddings"),
        ({"rms_norm_eps": float("inf")}, "rms_norm_eps"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps"),
        ({"torch_dtype": "float8_e4m3fn"}, "float8_e4m3fn"),
        ({"eos_token_id": "</s>"}, "eos_token_id"),
    ],
)
def test_what_is_not_supported_is_named(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=words):
        spec_of(tmp_path, LLAMA | change)


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000])
def test_a_damaged_config_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        load_spec(tmp_path)


def test_a_missing_config_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"no config\.json"):
        load_spec(tmp_path)
