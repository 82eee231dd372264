"""Turns a checkpoint's tensors into a decoder's parts: names, shapes, data types and what is stacked with what."""

import torch

from tidemill.core.errors import ModelLoadError
from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.linear import Weight
from tidemill.models.decoder_parts import LayerParts, LayerTensors, Matrix
from tidemill.models.spec import ModelSpec
from tidemill.models.weights import names
from tidemill.models.weights.checkpoint import Checkpoint


class DecoderWeights:
    """Reads part after part from a checkpoint; each method raises ModelLoadError when a tensor is not as it must be.

    Matrices come in `dtype`, or as they lie on disk if that is None; norms in float32.
    """

    def __init__(
        self, checkpoint: Checkpoint, spec: ModelSpec, *, device: torch.device, dtype: torch.dtype | None
    ) -> None:
        self._checkpoint = checkpoint
        self._spec = spec
        self._device = device
        self._dtype = dtype

    def embedding(self) -> torch.Tensor:
        """(vocab, hidden)."""
        # A clone, not a view of the mapped file: the file may change or go away while the model is served.
        return self._take(names.EMBEDDING, (self._spec.vocab_size, self._spec.hidden_size)).clone()

    def output(self, embedding: torch.Tensor) -> Matrix:
        """The matrix from hidden states to logits; the embedding itself where the two are tied."""
        spec = self._spec
        weight = embedding if spec.tied else self._take(names.OUTPUT, (spec.vocab_size, spec.hidden_size))
        return Matrix(weight, None, (spec.vocab_size,))

    def final_norm(self) -> torch.Tensor:
        """The norm before the output matrix, (hidden,) float32."""
        return self._norm(names.FINAL_NORM)

    def layer(self, index: int) -> LayerTensors:
        """One layer: queries, keys and values as one matrix, gate and up as another."""
        spec = self._spec
        hidden, inner = spec.hidden_size, spec.intermediate_size
        q_size, kv_size = spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
        qkv = {"q_proj": q_size, "k_proj": kv_size, "v_proj": kv_size}
        return LayerTensors(
            attention_norm=self._norm(names.layer(index, "input_layernorm.weight")),
            qkv=self._matrix(index, "self_attn", qkv, hidden, bias=spec.qkv_bias),
            q_norm=self._head_norm(index, "q_norm"),
            k_norm=self._head_norm(index, "k_norm"),
            out=self._matrix(index, "self_attn", {"o_proj": hidden}, q_size, bias=spec.o_bias),
            mlp_norm=self._norm(names.layer(index, "post_attention_layernorm.weight")),
            gate_up=self._matrix(index, "mlp", {"gate_proj": inner, "up_proj": inner}, hidden, bias=spec.mlp_bias),
            down=self._matrix(index, "mlp", {"down_proj": hidden}, inner, bias=spec.mlp_bias),
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

    def _matrix(self, layer: int, block: str, outputs: dict[str, int], in_features: int, *, bias: bool) -> Matrix:
        weights = [
            self._take(names.layer(layer, f"{block}.{part}.weight"), (size, in_features))
            for part, size in outputs.items()
        ]
        biases = [
            self._take(names.layer(layer, f"{block}.{part}.bias"), (size,)) for part, size in outputs.items() if bias
        ]
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        return Matrix(weight.contiguous(), torch.cat(biases) if biases else None, tuple(outputs.values()))

    def _norm(self, name: str) -> torch.Tensor:
        return self._checkpoint.take(name, (self._spec.hidden_size,)).float().clone().to(self._device)

    def _head_norm(self, layer: int, part: str) -> torch.Tensor:
        if not self._spec.qk_norm:
            return torch.empty(0, device=self._device)
        name = names.layer(layer, f"self_attn.{part}.weight")
        return self._checkpoint.take(name, (self._spec.head_dim,)).float().clone().to(self._device)

    def _take(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        tensor = self._checkpoint.take(name, shape)
        return tensor.to(self._device, self._dtype or tensor.dtype)


class FloatParts:
    """Implements DecoderParts: the checkpoint's matrices as floats, `dtype` whatever `weights` reads them as."""

    def __init__(self, weights: DecoderWeights, kernels: KernelBackend, *, row_tile: int | None) -> None:
        self._weights = weights
        self._kernels = kernels
        self._row_tile = row_tile
        self._embedding: torch.Tensor | None = None

    def embedding(self) -> torch.Tensor:
        """(vocab, hidden) in the model's data type; kept, because the output matrix may be the same."""
        if self._embedding is None:
            self._embedding = self._weights.embedding()
        return self._embedding

    def layer(self, index: int) -> LayerParts:
        """One layer, its matrices prepared."""
        tensors = self._weights.layer(index)
        return LayerParts(
            attention_norm=tensors.attention_norm,
            qkv=self._prepare(tensors.qkv),
            q_norm=tensors.q_norm,
            k_norm=tensors.k_norm,
            out=self._prepare(tensors.out),
            mlp_norm=tensors.mlp_norm,
            gate_up=self._prepare(tensors.gate_up),
            down=self._prepare(tensors.down),
        )

    def final_norm(self) -> torch.Tensor:
        """(hidden,) float32."""
        return self._weights.final_norm()

    def output(self) -> Weight:
        """The last part: a checkpoint that has more than was asked for is refused."""
        matrix = self._weights.output(self.embedding())
        self._weights.finish()
        return self._prepare(matrix)

    def _prepare(self, matrix: Matrix) -> Weight:
        return self._kernels.prepare(matrix.weight, matrix.bias, row_tile=self._row_tile)
