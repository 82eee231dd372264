"""Turns a checkpoint's tensors into a decoder's parts: names, shapes, data types and what is stacked with what."""

import torch

from tidemill.core.errors import ModelLoadError
from tidemill.kernels.backend import KernelBackend
from tidemill.models.layers.attention import Attention
from tidemill.models.layers.linear import Linear, stacked
from tidemill.models.layers.mlp import MLP
from tidemill.models.layers.norm import RMSNorm
from tidemill.models.spec import ModelSpec
from tidemill.models.weights import names
from tidemill.models.weights.checkpoint import Checkpoint


class DecoderWeights:
    """Reads part after part from a checkpoint; each method raises ModelLoadError when a tensor is not as it must be."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        spec: ModelSpec,
        kernels: KernelBackend,
        *,
        device: torch.device,
        dtype: torch.dtype,
        row_tile: int | None,
    ) -> None:
        self._checkpoint = checkpoint
        self._spec = spec
        self._kernels = kernels
        self._device = device
        self._dtype = dtype
        self._row_tile = row_tile

    def embedding(self) -> torch.Tensor:
        """(vocab, hidden) in the model's data type."""
        # A clone, not a view of the mapped file: the file may change or go away while the model is served.
        return self._take(names.EMBEDDING, (self._spec.vocab_size, self._spec.hidden_size)).clone()

    def output(self, embedding: torch.Tensor) -> Linear:
        """The matrix from hidden states to logits; the embedding itself where the two are tied."""
        if self._spec.tied:
            weight = embedding
        else:
            weight = self._take(names.OUTPUT, (self._spec.vocab_size, self._spec.hidden_size))
        return stacked(self._kernels, [weight], [], row_tile=self._row_tile)

    def norm(self, layer: int, part: str) -> RMSNorm:
        """A norm of one layer."""
        return self._norm(names.layer(layer, f"{part}.weight"))

    def final_norm(self) -> RMSNorm:
        """The norm before the output matrix."""
        return self._norm(names.FINAL_NORM)

    def attention(self, layer: int, rotations: torch.Tensor) -> Attention:
        """The attention of one layer, queries, keys and values as one product."""
        spec = self._spec
        q_size, kv_size = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
        inputs = {"q_proj": q_size, "k_proj": kv_size, "v_proj": kv_size}
        return Attention(
            qkv=self._linear(layer, "self_attn", inputs, spec.hidden_size, bias=spec.qkv_bias),
            out=self._linear(layer, "self_attn", {"o_proj": spec.hidden_size}, q_size, bias=spec.o_bias),
            norms=(self._head_norm(layer, "q_norm"), self._head_norm(layer, "k_norm")),
            rotations=rotations,
            scale=spec.head_dim**-0.5,
            epsilon=spec.rms_norm_eps,
            kernels=self._kernels,
        )

    def mlp(self, layer: int) -> MLP:
        """The MLP of one layer, gate and up as one product."""
        spec = self._spec
        inputs = {"gate_proj": spec.intermediate_size, "up_proj": spec.intermediate_size}
        return MLP(
            gate_up=self._linear(layer, "mlp", inputs, spec.hidden_size, bias=spec.mlp_bias),
            down=self._linear(
                layer, "mlp", {"down_proj": spec.hidden_size}, spec.intermediate_size, bias=spec.mlp_bias
            ),
            kernels=self._kernels,
        )

    def finish(self) -> None:
        """Raises ModelLoadError if the checkpoint holds tensors that this model does not know."""
        left = [
            name
            for name in self._checkpoint.not_taken()
            if not names.is_superfluous(name) and not (self._spec.tied and name == names.OUTPUT)
        ]
        if left:
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            raise ModelLoadError(
                f"The checkpoint has tensors that {self._spec.architecture} does not know: "
                f"{', '.join(sorted(left)[:3])}{more}.",
                next_step="Check that config.json belongs to these weights.",
            )

    def _linear(self, layer: int, block: str, outputs: dict[str, int], in_features: int, *, bias: bool) -> Linear:
        weights = [
            self._take(names.layer(layer, f"{block}.{part}.weight"), (size, in_features))
            for part, size in outputs.items()
        ]
        biases = [
            self._take(names.layer(layer, f"{block}.{part}.bias"), (size,)) for part, size in outputs.items() if bias
        ]
        return stacked(self._kernels, weights, biases, row_tile=self._row_tile)

    def _norm(self, name: str) -> RMSNorm:
        weight = self._checkpoint.take(name, (self._spec.hidden_size,)).float().clone().to(self._device)
        return RMSNorm(weight, self._spec.rms_norm_eps, self._kernels)

    def _head_norm(self, layer: int, part: str) -> torch.Tensor:
        if not self._spec.qk_norm:
            return torch.empty(0, device=self._device)
        name = names.layer(layer, f"self_attn.{part}.weight")
        return self._checkpoint.take(name, (self._spec.head_dim,)).float().clone().to(self._device)

    def _take(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        return self._checkpoint.take(name, shape).to(self._device, self._dtype)
