"""A Llama checkpoint as a GGUF file, for the peers that read that: `python to_gguf.py CHECKPOINT OUT.gguf Q4_0|Q8_0`.

Runs by itself in any environment that has `gguf` and `numpy`; it knows just the names that the checkpoints here have.
"""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FILE_TYPES = {"Q4_0": 2, "Q8_0": 7}
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
CHAT_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
CONTROL, NORMAL = 3, 1


def tensors(path: Path) -> Iterator[tuple[str, Any]]:
    """Names and float32 values of a safetensors file of bf16 or float32 tensors, one at a time."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = np.memmap(path, np.uint8, "r", offset=file.tell())
    header.pop("__metadata__", None)
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        raw = data[start:end]
        if entry["dtype"] == "BF16":
            values = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            assert entry["dtype"] == "F32", entry["dtype"]
            values = raw.view(np.float32)
        yield name, values.reshape(entry["shape"])


def interleaved(weight: Any, num_heads: int) -> Any:
    """Rows of queries or keys in pairs: the llama architecture rotates neighbours, not halves of a head."""
    half = weight.shape[0] // num_heads // 2
    return weight.reshape(num_heads, 2, half, -1).swapaxes(1, 2).reshape(weight.shape)


def gguf_name(name: str) -> str:
    """What a tensor is called in a GGUF file."""
    if not name.startswith("model.layers."):
        return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]
    _, _, layer, part = name.split(".", 3)
    return f"blk.{layer}.{LAYER_NAMES[part.removesuffix('.weight')]}.weight"


def write_header(writer: Any, config: dict[str, Any], kind: str) -> None:
    """Dimensions of the model."""
    rope = config.get("rope_parameters") or {}
    writer.add_name("bench")
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config.get("rope_theta") or rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def write_tokenizer(writer: Any, config: dict[str, Any], tokenizer: dict[str, Any]) -> None:
    """A byte-level BPE; how text is cut before it is merged is GPT-2's, which may differ from the checkpoint's."""
    tokens = [f"<unused {n}>" for n in range(config["vocab_size"])]
    for text, token_id in tokenizer["model"]["vocab"].items():
        tokens[token_id] = text
    kinds = [NORMAL] * len(tokens)
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["eos_token_id"])
    writer.add_unk_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)  # noqa: FBT003
    writer.add_chat_template(CHAT_TEMPLATE)


def convert(checkpoint: Path, out: Path, kind: str) -> None:
    """Write `out`; every matrix in `kind`, every vector in float32, the output matrix tied to the embedding."""
    gguf = importlib.import_module("gguf")
    config = json.loads((checkpoint / "config.json").read_text())
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    assert config["model_type"] == "llama", config["model_type"]
    assert config["tie_word_embeddings"], "the output matrix must be the embedding"
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    kind_id = getattr(gguf.GGMLQuantizationType, kind)
    writer = gguf.GGUFWriter(str(out), "llama")
    write_header(writer, config, kind)
    write_tokenizer(writer, config, tokenizer)
    for name, values in tensors(checkpoint / "model.safetensors"):
        if name == "lm_head.weight":
            continue
        target = gguf_name(name)
        part = target.split(".")[-2]
        weight = interleaved(values, heads[part]) if part in heads else values
        if weight.ndim == 2:
            assert weight.shape[1] % 32 == 0, (name, weight.shape)
            writer.add_tensor(target, gguf.quants.quantize(np.ascontiguousarray(weight), kind_id), raw_dtype=kind_id)
        else:
            writer.add_tensor(target, weight.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
