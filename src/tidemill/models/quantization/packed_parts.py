"""The parts of a quantized decoder: how they are put to a writer under names, and built again from arrays.

The embedding and fallbacks are stored as floats (bf16 as its bits), everything else as the backend packed it.
"""

import warnings
from collections.abc import Mapping

import numpy as np
import torch

from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.linear import Weight
from tidemill.kernels.packed_weight import PackedWeight
from tidemill.models.decoder_parts import LayerParts
from tidemill.models.quantization.evidence import OUTPUT_NAME, layer_name
from tidemill.models.quantization.guard import Settled
from tidemill.models.quantization.layer_quantizer import SettledLayer
from tidemill.models.quantization.packed_file import Array, PackedMatrix, PackedWriter

_EMBEDDING, _FINAL_NORM = "embedding", "final_norm"
_NORMS = ("attention_norm", "mlp_norm", "q_norm", "k_norm")


class PartsWriter:
    """Puts a model's parts to a writer, each as it is settled."""

    def __init__(self, writer: PackedWriter) -> None:
        self._writer = writer

    def embedding(self, embedding: torch.Tensor) -> None:
        """(vocab, hidden), in the data type it is looked up in."""
        self._writer.put(_EMBEDDING, _stored(embedding))

    def layer(self, index: int, layer: SettledLayer) -> None:
        """One layer."""
        for part in _NORMS:
            norm: torch.Tensor = getattr(layer, part)
            if norm.numel():
                self._writer.put(layer_name(index, part), _stored(norm))
        for part, settled in layer.matrices.items():
            self._matrix(layer_name(index, part), settled)

    def output(self, final_norm: torch.Tensor, output: Settled) -> None:
        """The last norm and the output matrix."""
        self._writer.put(_FINAL_NORM, _stored(final_norm))
        self._matrix(OUTPUT_NAME, output)

    def _matrix(self, name: str, settled: Settled) -> None:
        content = settled.content
        if isinstance(content, PackedWeight):
            arrays: Mapping[str, Array] = content.arrays
            out_features, in_features = content.out_features, content.in_features
        else:
            arrays = {"weight": _stored(content.weight)}
            if content.bias is not None:
                arrays["bias"] = _stored(content.bias)
            out_features, in_features = content.weight.shape
        self._writer.put_matrix(name, PackedMatrix(settled.evidence.format, in_features, out_features), arrays)


class PackedParts:
    """Implements DecoderParts over stored arrays, which may be a read-only map of a file."""

    def __init__(
        self,
        arrays: Mapping[str, Array],
        matrices: Mapping[str, PackedMatrix],
        kernels: KernelBackend,
        *,
        row_tile: int | None,
    ) -> None:
        """`row_tile` is for matrices that stayed floats."""
        self._arrays = arrays
        self._matrices = matrices
        self._kernels = kernels
        self._row_tile = row_tile

    def embedding(self) -> torch.Tensor:
        """(vocab, hidden)."""
        return _restored(self._arrays[_EMBEDDING])

    def layer(self, index: int) -> LayerParts:
        """The parts of one layer."""
        norms = {part: self._norm(layer_name(index, part)) for part in _NORMS}
        return LayerParts(
            **norms,
            qkv=self._weight(layer_name(index, "qkv")),
            out=self._weight(layer_name(index, "out")),
            gate_up=self._weight(layer_name(index, "gate_up")),
            down=self._weight(layer_name(index, "down")),
        )

    def final_norm(self) -> torch.Tensor:
        """(hidden,) float32."""
        return self._norm(_FINAL_NORM)

    def output(self) -> Weight:
        """The matrix from hidden states to logits."""
        return self._weight(OUTPUT_NAME)

    def _norm(self, name: str) -> torch.Tensor:
        array = self._arrays.get(name)
        return torch.empty(0) if array is None else torch.from_numpy(np.array(array))

    def _weight(self, name: str) -> Weight:
        matrix = self._matrices[name]
        prefix = f"{name}/"
        arrays = {key.removeprefix(prefix): array for key, array in self._arrays.items() if key.startswith(prefix)}
        if matrix.format in ("int8", "int4"):
            packed = PackedWeight(matrix.format, matrix.in_features, matrix.out_features, arrays)
            return self._kernels.load_packed(packed)
        bias = arrays.get("bias")
        return self._kernels.prepare(
            _restored(arrays["weight"]), None if bias is None else _restored(bias), row_tile=self._row_tile
        )


def _stored(tensor: torch.Tensor) -> Array:
    tensor = tensor.detach().contiguous()
    array: Array = tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
    return array


def _restored(array: Array) -> torch.Tensor:
    with warnings.catch_warnings():
        # The map is read-only and stays so: nobody writes to weights.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor
