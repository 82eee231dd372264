"""What is to be quantized, and everything that decides about the result: its key in the cache."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from tidemill.kernels.backend import KernelBackend
from tidemill.kernels.quantized import IntegerFormat
from tidemill.models.spec import ModelSpec

LOOKUP_DTYPE = torch.bfloat16
"""Of the embedding, and of keys and values while quality is measured."""
QUANTIZER_VERSION = 1
"""Raised whenever the same checkpoint would be quantized differently."""


@dataclass(frozen=True, slots=True)
class QuantizationJob:
    """A checkpoint and the format it is wanted in."""

    folder: Path
    spec: ModelSpec
    wanted: IntegerFormat
    fallback_dtype: torch.dtype
    """Of matrices that stay floats."""
    max_model_len: int
    is_exact: bool
    """Whether matrices that stay floats get a row tile."""
    identity: tuple[str, ...]
    """What names the checkpoint and the libraries."""
    num_threads: int

    def key(self, kernels: KernelBackend, token_ids: list[int]) -> str:
        """Hex SHA-256 of everything the packed form depends on."""
        # Only dynamic scaling of rotary embeddings knows the served length.
        length = self.max_model_len if self.spec.rope.kind == "dynamic" else None
        parts = (
            f"quantizer {QUANTIZER_VERSION}",
            f"packing {kernels.name} {kernels.packing_version}",
            f"{self.wanted} {self.fallback_dtype} {length}",
            f"calibration {token_ids}",
            *self.identity,
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def expected_bytes(spec: ModelSpec, wanted: IntegerFormat) -> int:
    """About how many bytes the weights will take: integers with their scales, and the embedding in 16 bits as well."""
    embedding = spec.vocab_size * spec.hidden_size
    inner = spec.num_parameters - embedding * (1 if spec.tied else 2)
    bytes_each = 1.01 if wanted == "int8" else 0.54
    return int(inner * bytes_each) + embedding * 3
