"""Decides what each matrix becomes: the wanted format, that after smoothing, or a wider one, by measured error.

Errors are measured with the kernels that will serve, on what the float model fed the matrix.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.packed_weight import PackedWeight
from tidemill.kernels.quantized import IntegerFormat
from tidemill.models.decoder_parts import Matrix
from tidemill.models.quantization.evidence import Format, MatrixEvidence
from tidemill.models.quantization.reference_stream import Product
from tidemill.models.quantization.rounding import quantize
from tidemill.models.quantization.smoothing import EXPONENTS, Channels, smoothing_factors


@dataclass(frozen=True, slots=True)
class Bounds:
    """Relative errors of a matrix's outputs, over which something is done about it."""

    smooth: float
    """Over it there are outlier channels. Gaussian activations give 0.012 in int8 and 0.09 in int4; a gated MLP without
    such channels, whose inner activations have heavy tails, gives 0.03 in int8.
    """
    widen: float
    """Over it, even after smoothing, the matrix gets a wider format."""


BOUNDS: dict[IntegerFormat, Bounds] = {
    "int8": Bounds(smooth=0.035, widen=0.05),
    "int4": Bounds(smooth=0.1, widen=0.2),
}
_WIDER: dict[IntegerFormat, tuple[IntegerFormat, ...]] = {"int8": ("int8",), "int4": ("int4", "int8")}


@dataclass(frozen=True, slots=True)
class FloatWeight:
    """A matrix that stays in floats."""

    weight: torch.Tensor
    bias: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a matrix. `factors` (source channels,) must be divided out of what produces its inputs."""

    content: PackedWeight | FloatWeight
    factors: torch.Tensor | None
    evidence: MatrixEvidence


@dataclass(frozen=True, slots=True)
class _Attempt:
    packed: PackedWeight
    factors: torch.Tensor | None
    exponent: float | None
    error: float


class Guard:
    """Tries formats on matrices. `float_dtype` is what a matrix falls back to in the end."""

    def __init__(self, kernels: KernelBackend, float_dtype: torch.dtype) -> None:
        self._kernels = kernels
        self._float_dtype = float_dtype

    def settle(
        self,
        name: str,
        matrix: Matrix,
        product: Product,
        wanted: IntegerFormat,
        *,
        channels: Channels,
        row_factors: torch.Tensor | None = None,
    ) -> Settled:
        """Choose for `matrix`, whose outputs are to come out divided by `row_factors` (out_features,)."""
        plain: float | None = None
        for kind in _WIDER[wanted]:
            best: _Attempt | None = None
            for attempt in self._attempts(kind, matrix, product, channels, row_factors):
                plain = attempt.error if plain is None else plain
                if best is None or attempt.error < best.error:
                    best = attempt
                if attempt.exponent is None and attempt.error <= BOUNDS[kind].smooth:
                    break
            assert best is not None
            assert plain is not None
            if best.error <= BOUNDS[kind].widen:
                evidence = _evidence(name, kind, matrix, best.exponent, best.error, plain)
                return Settled(best.packed, best.factors, evidence)
        assert plain is not None
        return self._in_floats(name, matrix, product, row_factors, plain)

    def _attempts(
        self,
        kind: IntegerFormat,
        matrix: Matrix,
        product: Product,
        channels: Channels,
        row_factors: torch.Tensor | None,
    ) -> Iterator[_Attempt]:
        """As it is, then smoothed with each exponent."""
        yield self._attempt(kind, matrix, product, channels, None, None, row_factors)
        x_peaks = channels.tie(product.inputs.abs().amax(0))
        weight_peaks = channels.tie(_column_peaks(matrix.weight))
        for exponent in EXPONENTS:
            factors = smoothing_factors(x_peaks, weight_peaks, exponent)
            yield self._attempt(kind, matrix, product, channels, factors, exponent, row_factors)

    def _attempt(
        self,
        kind: IntegerFormat,
        matrix: Matrix,
        product: Product,
        channels: Channels,
        factors: torch.Tensor | None,
        exponent: float | None,
        row_factors: torch.Tensor | None,
    ) -> _Attempt:
        spread = None if factors is None else channels.spread(factors)
        inputs = product.inputs if spread is None else product.inputs / spread
        importance = inputs.square().mean(0)
        integers = quantize(matrix.weight, kind, bias=matrix.bias, factors=spread, importance=importance)
        if row_factors is not None:
            bias = None if integers.bias is None else integers.bias / row_factors
            integers = replace(integers, scales=integers.scales / row_factors, bias=bias)
        packed = self._kernels.pack(integers)
        found = self._kernels.load_packed(packed).multiply(self._kernels.quantize(inputs.contiguous()))
        return _Attempt(packed, factors, exponent, _error(found, matrix, product, row_factors))

    def _in_floats(
        self, name: str, matrix: Matrix, product: Product, row_factors: torch.Tensor | None, plain: float
    ) -> Settled:
        weight, bias = matrix.weight.float(), None if matrix.bias is None else matrix.bias.float()
        if row_factors is not None:
            weight, bias = weight / row_factors[:, None], None if bias is None else bias / row_factors
        weight, bias = weight.to(self._float_dtype), None if bias is None else bias.to(self._float_dtype)
        found = torch.nn.functional.linear(product.inputs.to(self._float_dtype), weight, bias).float()
        kind: Format = "bf16" if self._float_dtype == torch.bfloat16 else "fp32"
        error = _error(found, matrix, product, row_factors)
        return Settled(FloatWeight(weight, bias), None, _evidence(name, kind, matrix, None, error, plain))


def _column_peaks(weight: torch.Tensor) -> torch.Tensor:
    return torch.stack([part.abs().amax(0) for part in torch.split(weight, 4096)]).amax(0).float()


def _error(found: torch.Tensor, matrix: Matrix, product: Product, row_factors: torch.Tensor | None) -> float:
    """Relative error by token, root mean square over tokens; of stacked matrices the worst.

    Every token counts alike, so that a few with huge activations neither hide the others nor are hidden.
    """
    expected = product.outputs
    if row_factors is not None:
        found = found * row_factors
    difference = found - expected if matrix.bias is None else found - (expected + matrix.bias.float())
    sizes = list(matrix.part_sizes)
    errors = [
        (part.square().sum(1) / size.square().sum(1).clamp_min(1e-30)).mean().sqrt()
        for part, size in zip(torch.split(difference, sizes, 1), torch.split(expected, sizes, 1), strict=True)
    ]
    worst = float(torch.stack(errors).max())
    # Not a number: integers that overflowed, or weights that are not finite. Nothing is worse.
    return worst if worst == worst else float("inf")  # noqa: PLR0124


def _evidence(
    name: str, kind: Format, matrix: Matrix, exponent: float | None, error: float, plain: float
) -> MatrixEvidence:
    return MatrixEvidence(
        name=name,
        format=kind,
        num_weights=matrix.weight.numel(),
        smoothing=exponent,
        error_ratio=error,
        plain_error_ratio=plain,
    )
