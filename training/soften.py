"""Wakes a checkpoint whose attention has frozen: its scores are spread less, and its large matrices made smaller.

Weights that only grow end in attention weights of nothing and one, through which no gradient flows: nothing that has
to be looked up differently can be learnt any more. Knows no training.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training import checkpoint
from training.batches import micro_batches, step_samples
from training.model import Attention, Minnow, rotary, rotate
from training.train import BUNDLED
from training.world import Split

SPREAD = 4.0  # the standard deviation of a head's scores
VALUES, OUTPUTS = 0.25, 0.4  # what comes in is scaled by the one, what goes out by the other
SAMPLES = 8


def score_spreads(attention: Attention, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The standard deviation of each head's scores for normed states x (batch, length, hidden)."""
    shape = attention.shape
    q, k = (
        rotate(proj(x).unflatten(-1, (-1, shape.head_dim)).transpose(1, 2), cos, sin)
        for proj in (attention.q_proj, attention.k_proj)
    )
    k = k.repeat_interleave(shape.num_heads // shape.num_kv_heads, dim=1)
    spreads: Tensor = (q @ k.mT * shape.head_dim**-0.5).std((0, 2, 3))
    return spreads


def _soften_scores(attention: Attention, spreads: Tensor, spread: float) -> None:
    shape = attention.shape
    factors = (spread / spreads).clamp(max=1)
    shared = factors.view(shape.num_kv_heads, -1).mean(1).sqrt()
    own = factors / shared.repeat_interleave(shape.num_heads // shape.num_kv_heads)
    attention.k_proj.weight.view(-1, shape.head_dim, shape.hidden_size).mul_(shared[:, None, None])
    attention.q_proj.weight.view(-1, shape.head_dim, shape.hidden_size).mul_(own[:, None, None])


@torch.no_grad()
def soften(model: Minnow, ids: Tensor, spread: float = SPREAD) -> None:
    """Scale a model's matrices in place, judged by what it makes of the tokens `ids` (batch, length).

    Only the scores' scale changes what the model computes. Values, gates' partners and outputs shrink together, and the
    embedding is small beside what the layers add: all that is normed away.
    """
    for layer in model.decoder_layers:
        layer.self_attn.v_proj.weight.mul_(VALUES)
        layer.self_attn.o_proj.weight.mul_(OUTPUTS)
        layer.mlp.up_proj.weight.mul_(VALUES)
        layer.mlp.down_proj.weight.mul_(OUTPUTS)
    x = model.embed_tokens(ids)
    cos, sin = rotary(model.shape, ids.shape[1], x.device, x.dtype)
    for layer in model.decoder_layers:
        _soften_scores(layer.self_attn, score_spreads(layer.self_attn, layer.input_layernorm(x), cos, sin), spread)
        x = layer(x, cos, sin)


def main() -> None:
    """Write a softened copy of a checkpoint's average, with fresh moments."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, default=BUNDLED / "tokenizer.json")
    arguments = parser.parse_args()
    found = checkpoint.find(arguments.checkpoint)
    if found is None:
        parser.error(f"no checkpoint at {arguments.checkpoint}")
    state = checkpoint.load(found)
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
    model = Minnow(state.progress.shape)
    model.load_state_dict(state.average)
    first = state.progress.num_conversations
    samples = step_samples(tokenizer, state.progress.seed, Split.TRAIN, first, SAMPLES, 2048)
    soften(model, micro_batches(tokenizer, samples, 4096)[-1].ids)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    moments = {name: torch.zeros_like(moment) for name, moment in state.moments.items()}
    checkpoint.save(replace(state, weights=weights, average=dict(weights), moments=moments), arguments.out)


if __name__ == "__main__":
    main()
