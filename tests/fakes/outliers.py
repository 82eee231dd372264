"""A checkpoint rewritten so that it computes the same, but some activation channels are 32 to 64 times the rest.

Real models have such channels. Factors are powers of two, so that not a bit of the float model's weights is lost.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

FACTORS = (32.0, 64.0)


def make_outliers(source: Path, target: Path, *, channels: int = 4, seed: int = 0) -> Path:
    """Write the model in `source` to `target` with `channels` outliers in what each matrix is fed."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file() and path.suffix != ".safetensors":
            shutil.copy(path, target / path.name)
    config = json.loads((source / "config.json").read_text())
    tensors = load_file(source / "model.safetensors")
    generator = torch.Generator().manual_seed(seed)
    heads, kv_heads, head_dim = (
        config[f"{name}"] for name in ("num_attention_heads", "num_key_value_heads", "head_dim")
    )

    def factors(size: int) -> torch.Tensor:
        chosen = torch.ones(size)
        places = torch.randperm(size, generator=generator)[:channels]
        chosen[places] = torch.tensor(FACTORS)[torch.arange(channels) % len(FACTORS)]
        return chosen

    def scale(name: str, by: torch.Tensor) -> None:
        tensors[name] = (tensors[name].float() * by).to(tensors[name].dtype)

    for index in range(config["num_hidden_layers"]):
        layer = f"model.layers.{index}."
        for norm, readers in (
            ("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
            ("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj")),
        ):
            by = factors(config["hidden_size"])
            scale(f"{layer}{norm}.weight", by)
            for reader in readers:
                scale(f"{layer}{reader}.weight", 1 / by)
        by = factors(config["intermediate_size"])
        scale(f"{layer}mlp.up_proj.weight", by[:, None])
        scale(f"{layer}mlp.down_proj.weight", 1 / by)
        by = factors(kv_heads * head_dim)
        scale(f"{layer}self_attn.v_proj.weight", by[:, None])
        shared = by.view(kv_heads, 1, head_dim).expand(-1, heads // kv_heads, -1).reshape(-1)
        scale(f"{layer}self_attn.o_proj.weight", 1 / shared)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target
