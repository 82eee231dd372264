"""Tiny random checkpoints of every supported family, written to a folder as a hub would lay them out.

`transformers` makes the weights, so that what loads here loads there and the two can be compared.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3")

_CORPUS = (
    "The tide turned the mill wheel and the mill ground the corn.",
    "A river runs down to the sea; the sea runs up the river twice a day.",
    "She said hello, and he said: how many questions are there in the world? 0123456789",
    "naïve café, 東京, Привет, 🙂",
)
_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def make_tokenizer(folder: Path, *, vocab_size: int = 320) -> None:
    """Write tokenizer.json and tokenizer_config.json of a byte-level BPE; ids 0, 1, 2 are the special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": _SPECIAL[0],
        "eos_token": _SPECIAL[2],
        "chat_template": _CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def make_model(family: str, **overrides: Any) -> Any:
    """A `transformers` model of `family` with random weights (seed 0), in fp32; `overrides` go to its config."""
    import transformers

    names = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "smollm3": "SmolLM3"}
    settings: dict[str, Any] = {
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 1024,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": None,
        "tie_word_embeddings": False,
        "initializer_range": 0.1,
    }
    if family == "mistral":
        settings["sliding_window"] = None
    settings |= overrides
    config = getattr(transformers, f"{names[family]}Config")(**settings)
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = getattr(transformers, f"{names[family]}ForCausalLM")(config).eval().float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.2)
            elif "norm" in name:
                parameter.uniform_(0.5, 1.5)
    torch.random.set_rng_state(state)
    return model


def make_checkpoint(
    family: str,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    max_shard_size: str = "5GB",
    eos_token_ids: tuple[int, ...] = (2,),
    **overrides: Any,
) -> Path:
    """Write a tiny checkpoint (weights, configs, tokenizer) of `family` to `folder` and return the folder.

    `overrides` are fields of the family's `transformers` config, e.g. sliding_window, rope_parameters, head_dim.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(family, **overrides).to(dtype)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    ends = list(eos_token_ids)
    generation = {"bos_token_id": 0, "eos_token_id": ends if len(ends) > 1 else ends[0]}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    make_tokenizer(folder, vocab_size=int(model.config.vocab_size))
    return folder
