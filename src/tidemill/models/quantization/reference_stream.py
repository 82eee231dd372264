"""The float model's own computation on the calibration text, layer by layer: what quantized layers are compared with.

Plain torch in float32, whatever backend serves the model; a layer's weights are needed only while it is passed.
"""

from dataclasses import dataclass

import torch

from tidemill.kernels import reference
from tidemill.models.decoder_parts import LayerTensors, Matrix
from tidemill.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Product:
    """What went into a matrix and what came out, bias left out: (tokens, in_features) and (tokens, out_features)."""

    inputs: torch.Tensor
    outputs: torch.Tensor


@dataclass(frozen=True, slots=True)
class LayerProducts:
    """The products of one layer."""

    qkv: Product
    out: Product
    gate_up: Product
    down: Product


class ReferenceStream:
    """Hidden states of one text on their way through the layers."""

    def __init__(self, spec: ModelSpec, residual: torch.Tensor, rotations: torch.Tensor) -> None:
        """`residual` (tokens, hidden) float32 is the text's embedding, `rotations` (positions, head_dim) the table."""
        self._spec = spec
        self._residual = residual
        self._rotations = rotations[: residual.shape[0]]

    def through(self, layer: LayerTensors, index: int) -> LayerProducts:
        """Pass layer `index`."""
        x, qkv = self._product(self._norm(layer.attention_norm), layer.qkv)
        heads = self._attend(_biased(qkv, layer.qkv), layer, index)
        heads, out = self._product(heads, layer.out)
        self._residual = self._residual + _biased(out, layer.out)
        y, gate_up = self._product(self._norm(layer.mlp_norm), layer.gate_up)
        inner, down = self._product(reference.silu_mul(_biased(gate_up, layer.gate_up)), layer.down)
        self._residual = self._residual + _biased(down, layer.down)
        return LayerProducts(Product(x, qkv), Product(heads, out), Product(y, gate_up), Product(inner, down))

    def hidden(self, final_norm: torch.Tensor) -> torch.Tensor:
        """(tokens, hidden) float32 after the last layer and the final norm."""
        return self._norm(final_norm)

    def _norm(self, weight: torch.Tensor) -> torch.Tensor:
        return reference.rms_norm(self._residual, weight, self._spec.rms_norm_eps)

    @staticmethod
    def _product(x: torch.Tensor, matrix: Matrix) -> tuple[torch.Tensor, torch.Tensor]:
        return x, torch.nn.functional.linear(x, matrix.weight.float())

    def _attend(self, qkv: torch.Tensor, layer: LayerTensors, index: int) -> torch.Tensor:
        spec, count = self._spec, qkv.shape[0]
        split = [spec.num_heads, spec.num_kv_heads, spec.num_kv_heads]
        q, k, v = torch.split(qkv.view(count, -1, spec.head_dim), split, dim=1)
        if layer.q_norm.numel():
            q = reference.rms_norm(q, layer.q_norm, spec.rms_norm_eps)
            k = reference.rms_norm(k, layer.k_norm, spec.rms_norm_eps)
        if spec.uses_rope[index]:
            q, k = reference.rotate(q, self._rotations), reference.rotate(k, self._rotations)
        repeats = spec.num_heads // spec.num_kv_heads
        k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
        at = torch.arange(count)
        seen = at[None, :] <= at[:, None]
        window = spec.windows[index]
        if window is not None:
            seen &= at[None, :] > at[:, None] - window
        heads = torch.nn.functional.scaled_dot_product_attention(
            q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1), attn_mask=seen
        )
        return heads.transpose(0, 1).reshape(count, -1)


def _biased(outputs: torch.Tensor, matrix: Matrix) -> torch.Tensor:
    return outputs if matrix.bias is None else outputs + matrix.bias.float()
