"""What is told of a model whose weights are integers: the formats, and the quality that was measured."""

import msgspec


class Quantization(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of a quantized model beside its float original, on a fixed calibration text."""

    formats: dict[str, int]
    """Matrices by the format they ended up in, e.g. {"int8": 112, "bf16": 1}."""
    num_smoothed: int
    """Matrices whose activations had outliers, moved into the weights (SmoothQuant)."""
    wider_weights_ratio: float
    """Share of weights in a wider format than was wanted."""
    worst_matrix: str
    worst_error_ratio: float
    """Largest relative error of a matrix's outputs, by root mean square over tokens."""
    kl_nats: float
    """Mean Kullback-Leibler divergence of the next token's distribution from the original's."""
    top1_agreement_ratio: float
    """Share of positions where both give the same most likely token."""
    logit_error_ratio: float
    """Relative error of the logits, each row less its mean."""
    num_calibration_tokens: int
