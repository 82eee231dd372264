"""Rounds float matrices to integers: int8 by output channel, int4 by groups with integer scales.

Which scales lose least is decided here; whether that is little enough is `guard.py`'s business.
"""

from collections.abc import Iterator

import torch

from tidemill.kernels.quantized import GROUP, IntegerFormat, QuantizedWeight

_CHUNK_ELEMENTS = 1 << 18
"""Weights that are searched at a time: what fits a core's own cache."""
_LARGEST_GROUP_SCALE = 15
_CLIPPED_STEPS = (0, 1, 2, 3, 4)
"""How far below the scale that clips nothing a group's scale is searched, in steps of the channel's scale."""


def quantize(
    weight: torch.Tensor,
    kind: IntegerFormat,
    *,
    bias: torch.Tensor | None = None,
    factors: torch.Tensor | None = None,
    importance: torch.Tensor | None = None,
) -> QuantizedWeight:
    """Weight (out, in) of any float type and bias (out,) as integers of `kind`.

    `factors` (in,) multiply the columns first. `importance` (in,) says how much an input's errors count: the mean
    square of its activations; None is all alike.
    """
    floats = None if bias is None else bias.float()
    if kind == "int8":
        values, scales = _int8(weight, factors)
        return QuantizedWeight(format=kind, values=values, group_scales=None, scales=scales, bias=floats)
    values, groups, scales = _int4(weight, factors, importance)
    return QuantizedWeight(format=kind, values=values, group_scales=groups, scales=scales, bias=floats)


def _chunks(weight: torch.Tensor, factors: torch.Tensor | None) -> Iterator[tuple[slice, torch.Tensor]]:
    """Rows of the scaled weight in float32, a few at a time."""
    rows = max(1, _CHUNK_ELEMENTS // weight.shape[1])
    for start in range(0, weight.shape[0], rows):
        part = slice(start, start + rows)
        chunk = weight[part].float()
        yield part, chunk if factors is None else chunk * factors


def _int8(weight: torch.Tensor, factors: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric by output channel: the largest magnitude becomes 127, so nothing is clipped."""
    values, scales = torch.empty(weight.shape, dtype=torch.int8), torch.empty(weight.shape[0])
    for part, chunk in _chunks(weight, factors):
        reach = chunk.abs().amax(dim=1) / 127
        scales[part] = torch.where(reach > 0, reach, 1.0)
        values[part] = (chunk / scales[part, None]).round_().clamp_(-127, 127).to(torch.int8)
    return values, scales


def _int4(
    weight: torch.Tensor, factors: torch.Tensor | None, importance: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values, group scales and channel scales; inputs are padded to whole groups while they are searched."""
    out_features, in_features = weight.shape
    num_groups = -(-in_features // GROUP)
    padding = (0, num_groups * GROUP - in_features)
    counts = torch.ones(in_features) if importance is None else importance / importance.mean().clamp_min(1e-30) + 1e-3
    counts = torch.nn.functional.pad(counts, padding).view(num_groups, GROUP)
    values = torch.empty(weight.shape, dtype=torch.int8)
    group_scales = torch.empty(out_features, num_groups, dtype=torch.uint8)
    scales = torch.empty(out_features)
    for part, chunk in _chunks(weight, factors):
        padded = torch.nn.functional.pad(chunk, padding)
        steps, groups, found = _search(padded.view(-1, num_groups, GROUP), counts)
        values[part] = (steps * groups[..., None]).view(padded.shape)[:, :in_features].to(torch.int8)
        group_scales[part], scales[part] = groups.to(torch.uint8), found
    return values, group_scales, scales


def _search(weight: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weight (rows, groups, GROUP) -> its 4-bit steps of the same shape, group scales (rows, groups), scales (rows,).

    A group tries the scale that clips nothing and a few smaller ones; then the channel's scale is the one that fits
    all its integers best (least squares), and the 4-bit steps are taken once more for that scale.
    """
    # Eight steps down and seven up: the larger side decides.
    reach = torch.maximum(weight.amax(-1) / 7, weight.amin(-1) / -8)
    scales = reach.amax(-1) / _LARGEST_GROUP_SCALE
    scales = torch.where(scales > 0, scales, 1.0)
    widest = (reach / scales[:, None]).ceil_().clamp_(1, _LARGEST_GROUP_SCALE)
    weighted = weight * counts
    best = torch.full_like(widest, torch.inf)
    groups = widest.clone()
    for clipped in _CLIPPED_STEPS:
        tried = (widest - clipped).clamp_(min=1)
        sizes = tried * scales[:, None]
        steps = _steps(weight, sizes)
        # The squared error less what does not depend on the scale: sum c (s^2 q^2 - 2 s q w).
        error = sizes * (sizes * _sum(steps * steps, counts) - 2 * (steps * weighted).sum(-1))
        is_better = error < best
        best, groups = torch.where(is_better, error, best), torch.where(is_better, tried, groups)
    scales = _least_squares(weighted, counts, _steps(weight, groups * scales[:, None]) * groups[..., None], scales)
    return _steps(weight, groups * scales[:, None]), groups, scales


def _steps(weight: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    return (weight * sizes.reciprocal()[..., None]).round_().clamp_(-8, 7)


def _sum(squares: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    return (squares * counts).sum(-1)


def _least_squares(
    weighted: torch.Tensor, counts: torch.Tensor, integers: torch.Tensor, scales: torch.Tensor
) -> torch.Tensor:
    """The scale (rows,) for which scale * integers comes nearest to the weights; the old one where there is none."""
    square = _sum(integers * integers, counts).sum(-1)
    cross = (weighted * integers).sum((-1, -2))
    found = cross / square
    return torch.where((square > 0) & (cross > 0) & found.isfinite(), found, scales)
