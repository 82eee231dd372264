"""Rotary embeddings (Su et al. 2021): frequencies by kind of scaling, and the table of rotations by position."""

import math

import torch

from tidemill.models.rope_spec import RopeSpec


def rotation_table(rope: RopeSpec, *, head_dim: int, num_positions: int) -> torch.Tensor:
    """(num_positions, head_dim) float32: cosines of half a head, then sines. `num_positions` is the served length."""
    frequencies, factor = rope_frequencies(rope, head_dim=head_dim, num_positions=num_positions)
    angles = torch.arange(num_positions, dtype=torch.float32)[:, None] * frequencies
    return torch.cat((angles.cos() * factor, angles.sin() * factor), dim=-1)


def rope_frequencies(rope: RopeSpec, *, head_dim: int, num_positions: int) -> tuple[torch.Tensor, float]:
    """Angle per position of each pair, (head_dim / 2,) float32, and the factor on cosines and sines.

    Dynamic scaling is fixed at the served length, so that a cached key never changes.
    """
    plain = _plain(rope.theta, head_dim)
    match rope.kind:
        case "default":
            return plain, 1.0
        case "linear":
            return plain / rope.factor, 1.0
        case "dynamic":
            return _dynamic(rope, head_dim, num_positions), 1.0
        case "llama3":
            return _llama3(rope, plain), 1.0
        case "yarn":
            return _yarn(rope, head_dim), _yarn_attention_factor(rope)


def _plain(theta: float, head_dim: int) -> torch.Tensor:
    exponents: torch.Tensor = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    return 1.0 / theta**exponents


def _dynamic(rope: RopeSpec, head_dim: int, num_positions: int) -> torch.Tensor:
    """The base grows with the length beyond the original context ("dynamic NTK", as in transformers)."""
    length = max(num_positions, rope.max_positions)
    stretch = rope.factor * length / rope.max_positions - (rope.factor - 1)
    return _plain(rope.theta * stretch ** (head_dim / (head_dim - 2)), head_dim)


def _llama3(rope: RopeSpec, plain: torch.Tensor) -> torch.Tensor:
    """Long waves are slowed, short ones kept, those between interpolated (Llama 3.1 reference code)."""
    turns = rope.original_positions * plain / (2 * math.pi)
    smooth = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    between = (1 - smooth) * plain / rope.factor + smooth * plain
    slowed = torch.where(turns < rope.low_freq_factor, plain / rope.factor, between)
    return torch.where(turns > rope.high_freq_factor, plain, slowed)


def _yarn(rope: RopeSpec, head_dim: int) -> torch.Tensor:
    """A ramp between interpolated and original frequencies (YaRN, Peng et al. 2023, section 3.2)."""

    def dimension(rotations: float) -> float:
        return head_dim * math.log(rope.original_positions / (rotations * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = dimension(rope.beta_fast), dimension(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001
    ramp = ((torch.arange(head_dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    plain = _plain(rope.theta, head_dim)
    return plain / rope.factor * ramp + plain * (1 - ramp)


def _yarn_attention_factor(rope: RopeSpec) -> float:
    """Temperature of attention (YaRN, section 3.4); a config may state it, or the two scales it is a ratio of."""
    if rope.attention_factor is not None:
        return rope.attention_factor

    def scale(weight: float) -> float:
        return 1.0 if rope.factor <= 1 else 0.1 * weight * math.log(rope.factor) + 1.0

    if rope.mscale and rope.mscale_all_dim:
        return scale(rope.mscale) / scale(rope.mscale_all_dim)
    return scale(1.0)
