"""One layer from floats to its settled parts: which factor goes where when a matrix was smoothed."""

from dataclasses import dataclass

import torch

from tidemill.kernels.quantized import IntegerFormat
from tidemill.models.decoder_parts import LayerTensors
from tidemill.models.quantization.evidence import layer_name
from tidemill.models.quantization.guard import Guard, Settled
from tidemill.models.quantization.reference_stream import LayerProducts
from tidemill.models.quantization.smoothing import Channels
from tidemill.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class SettledLayer:
    """A layer as it will be stored."""

    attention_norm: torch.Tensor
    mlp_norm: torch.Tensor
    q_norm: torch.Tensor
    k_norm: torch.Tensor
    matrices: dict[str, Settled]
    """By their field of LayerParts."""


def settle_layer(
    tensors: LayerTensors,
    products: LayerProducts,
    guard: Guard,
    spec: ModelSpec,
    wanted: IntegerFormat,
    index: int,
) -> SettledLayer:
    """Settle the four matrices of a layer; factors go into norms, values' rows and up's rows.

    Attention's outputs are means of values, and the MLP's inner activations are multiples of up's outputs, so both
    take a factor by channel. Heads that share values share their factors.
    """
    heads = Channels(spec.num_kv_heads, spec.num_heads // spec.num_kv_heads, spec.head_dim)
    hidden, inner = Channels(1, 1, spec.hidden_size), Channels(1, 1, spec.intermediate_size)
    out = guard.settle(layer_name(index, "out"), tensors.out, products.out, wanted, channels=heads)
    down = guard.settle(layer_name(index, "down"), tensors.down, products.down, wanted, channels=inner)
    qkv = guard.settle(
        layer_name(index, "qkv"),
        tensors.qkv,
        products.qkv,
        wanted,
        channels=hidden,
        row_factors=_for_last_part(tensors.qkv.part_sizes, out.factors),
    )
    gate_up = guard.settle(
        layer_name(index, "gate_up"),
        tensors.gate_up,
        products.gate_up,
        wanted,
        channels=hidden,
        row_factors=_for_last_part(tensors.gate_up.part_sizes, down.factors),
    )
    return SettledLayer(
        attention_norm=divided(tensors.attention_norm, qkv.factors),
        mlp_norm=divided(tensors.mlp_norm, gate_up.factors),
        q_norm=tensors.q_norm,
        k_norm=tensors.k_norm,
        matrices={"qkv": qkv, "out": out, "gate_up": gate_up, "down": down},
    )


def divided(norm: torch.Tensor, factors: torch.Tensor | None) -> torch.Tensor:
    """A norm's weight that leaves its outputs divided by `factors`."""
    return norm if factors is None else norm / factors


def _for_last_part(part_sizes: tuple[int, ...], factors: torch.Tensor | None) -> torch.Tensor | None:
    """Row factors of stacked matrices of which the last one's rows are divided."""
    if factors is None:
        return None
    return torch.cat((torch.ones(sum(part_sizes[:-1])), factors))
