"""A model folder without weights, whose token ids 0 to 255 are the bytes they stand for: tests can spell tokens."""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

END_OF_TEXT = 256
VOCAB_SIZE = 259
MAX_MODEL_LEN = 512
_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _alphabet() -> dict[str, int]:
    """The byte-level alphabet of GPT-2: printable bytes are themselves, the others are moved beyond 255."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(moved)}
    return {characters[byte]: byte for byte in range(256)}


def make_byte_model(folder: Path, **config: object) -> Path:
    """Write config.json, tokenizer.json and their like to `folder`, and return it; `config` overrides config.json."""
    backend = Tokenizer(models.BPE(vocab=_alphabet(), merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(text, special=True) for text in ("<|end|>", "<|im_start|>", "<|im_end|>")])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>", "chat_template": _CHAT_TEMPLATE}))
    settings: dict[str, object] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_MODEL_LEN,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "eos_token_id": END_OF_TEXT,
        "bos_token_id": None,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(settings | config))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags: [test]\n---\n\nA model for tests.\n")
    return folder
