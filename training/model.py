"""Minnow as a plain PyTorch module with the parameter names of the published Llama format; trains, does not serve."""

from dataclasses import asdict, dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

LONGEST_UNFUSED = 320
POINTING_LAYERS = (3, 4)
DECIDING_TOKENS, LATER_POINTING = 2, 0.5  # an answer decides in its first tokens: the later ones weigh less


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a model."""

    vocab_size: int = 4096
    hidden_size: int = 256
    num_layers: int = 6
    num_heads: int = 8
    num_kv_heads: int = 4
    head_dim: int = 32
    intermediate_size: int = 512
    max_positions: int = 2048
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5

    def as_dict(self) -> dict[str, float]:
        """Plain numbers, for a state file."""
        return asdict(self)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.head_dim
        self.q_proj = nn.Linear(shape.hidden_size, shape.num_heads * width, bias=False)
        self.k_proj = nn.Linear(shape.hidden_size, shape.num_kv_heads * width, bias=False)
        self.v_proj = nn.Linear(shape.hidden_size, shape.num_kv_heads * width, bias=False)
        self.o_proj = nn.Linear(shape.num_heads * width, shape.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """X (batch, length, hidden) -> the same shape."""
        batch, length, _ = x.shape
        shape = self.shape
        weight = torch.cat((self.q_proj.weight, self.k_proj.weight, self.v_proj.weight))
        mixed = functional.linear(x, weight).view(batch, length, -1, shape.head_dim).transpose(1, 2)
        q, k, v = torch.split(mixed, [shape.num_heads, shape.num_kv_heads, shape.num_kv_heads], dim=1)
        y = attend(rotate(q, cos, sin), rotate(k, cos, sin), v)
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))
        return out


class FeedForward(nn.Module):
    """The gated feed-forward layer (SwiGLU)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """X (batch, length, hidden) -> the same shape."""
        gate, up = functional.linear(x, torch.cat((self.gate_proj.weight, self.up_proj.weight))).chunk(2, dim=-1)
        out: Tensor = self.down_proj(functional.silu(gate) * up)
        return out


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden_size, eps=shape.norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden_size, eps=shape.norm_eps)
        self.mlp = FeedForward(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """X (batch, length, hidden) -> the same shape."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Minnow(nn.Module):
    """Embedding, layers and a tied head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_layers))
        self.norm = nn.RMSNorm(shape.hidden_size, eps=shape.norm_eps)

    @property
    def decoder_layers(self) -> list[Layer]:
        """The layers in their order."""
        return cast(list[Layer], list(self.layers))

    def initialise(self, generator: torch.Generator) -> None:
        """Normal weights of standard deviation 0.02, the layers' outputs scaled down by depth."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = 0.02 / (2 * self.shape.num_layers) ** 0.5 if residual else 0.02
                nn.init.normal_(parameter, std=std, generator=generator)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (batch, length) -> hidden states (batch, length, hidden)."""
        return self._run(ids, None)[0]

    def _run(self, ids: Tensor, pointers: Tensor | None) -> tuple[Tensor, Tensor]:
        x: Tensor = self.embed_tokens(ids)
        cos, sin = rotary(self.shape, ids.shape[1], x.device, x.dtype)
        astray = torch.zeros((), device=x.device)
        for index, layer in enumerate(self.decoder_layers):
            if pointers is not None and index in POINTING_LAYERS:
                astray = astray + _astray(layer, x, cos, sin, pointers)
            x = layer(x, cos, sin)
        out: Tensor = self.norm(x)
        return out, astray

    def loss(self, ids: Tensor, learn: Tensor, pointers: Tensor) -> tuple[Tensor, Tensor]:
        """Two sums in nats: the cross-entropy of the tokens marked in `learn` (batch, length), given those before them,

        and the surprise at where the pointing heads should look, see `_astray`.
        """
        hidden, astray = self._run(ids[:, :-1], pointers)
        marked = learn[:, 1:]
        logits = functional.linear(hidden[marked], self.embed_tokens.weight)
        return functional.cross_entropy(logits.float(), ids[:, 1:][marked], reduction="sum"), astray


def _astray(layer: Layer, x: Tensor, cos: Tensor, sin: Tensor, pointers: Tensor) -> Tensor:
    """The summed surprise, in nats, at a layer's first head looking where `pointers` (count, 5) say.

    An answer that rests on a sentence is learnt faster when attention itself is taught to find the sentence.
    """
    attention, width = layer.self_attn, layer.self_attn.shape.head_dim
    y = layer.input_layernorm(x)
    q = rotate(functional.linear(y, attention.q_proj.weight[:width]), cos, sin)
    k = rotate(functional.linear(y, attention.k_proj.weight[:width]), cos, sin)
    row, position, start, end, num_before = pointers.unbind(1)
    scores = torch.bmm(q, k.transpose(1, 2))[row, position].float() * width**-0.5
    at = torch.arange(x.shape[1], device=x.device)
    weights = scores.masked_fill(at > position[:, None], -torch.inf).log_softmax(-1)
    outside = (at < start[:, None]) | (at >= end[:, None])
    surprise = -weights.masked_fill(outside, -torch.inf).logsumexp(-1)
    return torch.where(num_before < DECIDING_TOKENS, surprise, surprise * LATER_POINTING).sum()


def rotary(shape: Shape, length: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines (length, head_dim / 2) of rotary positions (Su et al. 2021, section 3.2)."""
    steps = torch.arange(0, shape.head_dim, 2, device=device, dtype=torch.float32) / shape.head_dim
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), shape.rope_theta**-steps)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal grouped-query attention; q (batch, heads, length, head_dim), k and v with fewer heads -> q's shape.

    Short sequences go through plain matrix products: on a CPU their backward pass is several times as fast.
    """
    batch, heads, length, width = q.shape
    groups = k.shape[1]
    if length > LONGEST_UNFUSED:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    rows = (q * width**-0.5).reshape(batch * groups, -1, width)
    scores = torch.bmm(rows, k.reshape(batch * groups, length, width).transpose(1, 2))
    mask = torch.full((length, length), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
    weights = (scores.view(batch * groups, -1, length, length) + mask).softmax(dim=-1)
    mixed = torch.bmm(weights.view(batch * groups, -1, length), v.reshape(batch * groups, length, width))
    return mixed.view(batch, heads, length, width)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the two halves of each head (batch, heads, length, head_dim) against each other."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
