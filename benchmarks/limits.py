"""How long a step must take at least: bytes that must be read, operations that must be done. Pure arithmetic.

Weights are read once a step, keys and values once a sequence; what of a step's reading and computing could overlap is
counted as if it did, so a limit is the larger of the two (Williams et al. 2009, "Roofline").
"""

from dataclasses import dataclass

from tidemill.models.spec import ModelSpec

BITS = {"fp32": 32.0, "bf16": 16.0, "int8": 8.0, "int4": 4.25}
"""Bits of a weight; int4 has a byte of scale for 32 of them."""
KV_BYTES = {"fp32": 4, "bf16": 2, "int8": 1}


@dataclass(frozen=True, slots=True)
class Work:
    """What a step must move and compute."""

    weight_bytes: float
    kv_bytes: float
    operations: float
    attention_operations: float

    def seconds(self, peaks: "Peaks") -> dict[str, float]:
        """Seconds by what would take them; the largest is the limit."""
        return {
            "reading": (self.weight_bytes + self.kv_bytes) / peaks.read_bytes_per_second,
            "computing": self.operations / peaks.operations_per_second
            + self.attention_operations / peaks.attention_operations_per_second,
        }


@dataclass(frozen=True, slots=True)
class Peaks:
    """What the machine can do at best, in the run a step was measured in."""

    read_bytes_per_second: float
    operations_per_second: float
    """Of matrix products in the weights' precision."""
    attention_operations_per_second: float
    """Of attention, which multiplies floats."""


def layer_weights(spec: ModelSpec) -> int:
    """Weights in the matrices of all layers."""
    heads = 2 * spec.num_heads + 2 * spec.num_kv_heads
    each = spec.hidden_size * spec.head_dim * heads + 3 * spec.hidden_size * spec.intermediate_size
    return spec.num_layers * each


def kv_bytes_per_token(spec: ModelSpec, kv_precision: str) -> int:
    """Bytes of keys and values of one position in all layers."""
    return 2 * spec.num_layers * spec.num_kv_heads * spec.head_dim * KV_BYTES[kv_precision]


def decode(spec: ModelSpec, precision: str, kv_precision: str, *, num_rows: int, context: int) -> Work:
    """One token for each of `num_rows` sequences that have `context` positions."""
    layers, output = layer_weights(spec), spec.vocab_size * spec.hidden_size
    return Work(
        weight_bytes=(layers + output) * BITS[precision] / 8,
        kv_bytes=num_rows * context * kv_bytes_per_token(spec, kv_precision),
        operations=2.0 * num_rows * (layers + output),
        attention_operations=4.0 * num_rows * context * spec.num_layers * spec.num_heads * spec.head_dim,
    )


def prompt(spec: ModelSpec, precision: str, kv_precision: str, *, num_tokens: int) -> Work:
    """A prompt of `num_tokens` of which the last row is sampled; attention over half of the square."""
    layers, output = layer_weights(spec), spec.vocab_size * spec.hidden_size
    pairs = num_tokens * (num_tokens + 1) / 2
    return Work(
        weight_bytes=(layers + output) * BITS[precision] / 8,
        kv_bytes=num_tokens * kv_bytes_per_token(spec, kv_precision),
        operations=2.0 * (num_tokens * layers + output),
        attention_operations=4.0 * pairs * spec.num_layers * spec.num_heads * spec.head_dim,
    )
