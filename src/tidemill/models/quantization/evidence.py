"""What the guard found out about each matrix and about the whole model. Kept with the packed weights."""

from collections import Counter
from typing import Literal

import msgspec

from tidemill.core.quantization import Quantization
from tidemill.kernels.quantized import IntegerFormat

Format = Literal["int4", "int8", "bf16", "fp32"]


class MatrixEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One matrix: what it became, and its relative output error on the calibration text."""

    name: str
    format: Format
    num_weights: int
    smoothing: float | None
    """The exponent of SmoothQuant (Xiao et al. 2023, eq. 4), None if it was not needed."""
    error_ratio: float
    plain_error_ratio: float
    """The error in the wanted format before anything was mended."""


class ModelEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """The finished model's logits beside the float model's, on the calibration text."""

    num_tokens: int
    kl_nats: float
    top1_agreement_ratio: float
    logit_error_ratio: float


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the guard knows of one quantized model."""

    wanted: IntegerFormat
    matrices: tuple[MatrixEvidence, ...]
    model: ModelEvidence

    @property
    def mended(self) -> tuple[MatrixEvidence, ...]:
        """Matrices that were not taken as they were."""
        return tuple(m for m in self.matrices if m.smoothing is not None or self._is_wider(m))

    @property
    def wider_weights_ratio(self) -> float:
        """Share of weights in a wider format than was wanted."""
        wider = sum(m.num_weights for m in self.matrices if self._is_wider(m))
        return wider / sum(m.num_weights for m in self.matrices)

    def summary(self) -> Quantization:
        """What users are told."""
        worst = max(self.matrices, key=lambda m: m.error_ratio)
        return Quantization(
            formats=dict(Counter(m.format for m in self.matrices)),
            num_smoothed=sum(m.smoothing is not None for m in self.matrices),
            wider_weights_ratio=round(self.wider_weights_ratio, 4),
            worst_matrix=worst.name,
            worst_error_ratio=round(worst.error_ratio, 4),
            kl_nats=round(self.model.kl_nats, 6),
            top1_agreement_ratio=round(self.model.top1_agreement_ratio, 4),
            logit_error_ratio=round(self.model.logit_error_ratio, 5),
            num_calibration_tokens=self.model.num_tokens,
        )

    def _is_wider(self, matrix: MatrixEvidence) -> bool:
        # The output matrix is int8 also where int4 is wanted: that is the plan, not a mend.
        return matrix.format != self.wanted and not (matrix.name == OUTPUT_NAME and matrix.format == "int8")


OUTPUT_NAME = "output"
"""What the matrix from hidden states to logits is called."""


def layer_name(index: int, part: str) -> str:
    """What a part of a layer is called; parts as in LayerParts."""
    return f"layers.{index}.{part}"
