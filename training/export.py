"""Writes a checkpoint as a folder that `transformers` and Tidemill load unchanged: bf16 weights, configs, tokenizer."""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from training import checkpoint
from training.mixture import LATER_FROM, draw_sample
from training.model import Shape
from training.sample import BEGIN, END, PAD, render
from training.tokenizer import write_tokenizer
from training.train import BUNDLED
from training.world import Split

CALIBRATION_SEED = 3


def llama_config(shape: Shape, tokenizer: Tokenizer) -> dict[str, object]:
    """`config.json` of the Llama architecture."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": shape.max_positions,
        "initializer_range": 0.02,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": True,
        "use_cache": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": tokenizer.token_to_id(BEGIN),
        "eos_token_id": tokenizer.token_to_id(END),
        "pad_token_id": tokenizer.token_to_id(PAD),
    }


def generation_config(tokenizer: Tokenizer) -> dict[str, object]:
    """`generation_config.json`: greedy, for a model this small errs with every die it casts."""
    return {
        "do_sample": False,
        "bos_token_id": tokenizer.token_to_id(BEGIN),
        "eos_token_id": tokenizer.token_to_id(END),
        "pad_token_id": tokenizer.token_to_id(PAD),
        "max_length": 2048,
    }


def calibration_text(num_conversations: int = 40) -> str:
    """Conversations of the late mixture, short ones first: what a server quantizes by."""
    drawn = (draw_sample(CALIBRATION_SEED, Split.TRAIN, LATER_FROM + number) for number in range(num_conversations))
    texts = ("".join(text for text, _ in render(sample)) for sample in drawn)
    return "\n".join(sorted(texts, key=len)[: num_conversations // 2])


def _published_name(name: str) -> str:
    return "model." + name


def export(folder: Path, weights: dict[str, Tensor], shape: Shape, tokenizer: Tokenizer) -> None:
    """Write the model; the file of weights is replaced in one move."""
    write_tokenizer(tokenizer, folder)
    (folder / "config.json").write_text(json.dumps(llama_config(shape, tokenizer), indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(generation_config(tokenizer), indent=2) + "\n")
    (folder / "calibration.txt").write_text(calibration_text() + "\n")
    tensors = {_published_name(name): weight.to(torch.bfloat16).contiguous() for name, weight in weights.items()}
    partial = folder / "model.safetensors.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.chmod(0o644)
    partial.replace(folder / "model.safetensors")


def main() -> None:
    """Export a checkpoint's running average, or its weights as they are."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=BUNDLED)
    parser.add_argument("--tokenizer", type=Path, default=BUNDLED / "tokenizer.json")
    parser.add_argument("--raw", action="store_true", help="the weights as they are, not their running average")
    arguments = parser.parse_args()
    found = checkpoint.find(arguments.checkpoint)
    if found is None:
        parser.error(f"no checkpoint at {arguments.checkpoint}")
    state = checkpoint.load(found)
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
    export(arguments.out, state.weights if arguments.raw else state.average, state.progress.shape, tokenizer)


if __name__ == "__main__":
    main()
