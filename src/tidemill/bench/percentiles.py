"""Percentiles and means of measured values, and how sure a measured share is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of `ordered` (ascending, not empty) lies.

    Interpolated linearly between the two closest ranks (Hyndman and Fan 1996, definition 7).
    """
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@dataclass(frozen=True, slots=True)
class Distribution:
    """What is told of many values; in the unit of the values."""

    count: int
    mean: float
    min: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


def distribution(values: Sequence[float], *, scale: float = 1.0) -> Distribution | None:
    """Of the values times `scale`; None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    p50, p90, p95, p99 = (percentile(ordered, share) * scale for share in (0.5, 0.9, 0.95, 0.99))
    mean = math.fsum(ordered) / len(ordered) * scale
    return Distribution(len(ordered), mean, ordered[0] * scale, p50, p90, p95, p99, ordered[-1] * scale)


def share_interval(num_met: int, num_all: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share that was seen as `num_met` of `num_all` (Wilson 1927)."""
    if num_all == 0:
        return 0.0, 1.0
    seen, square = num_met / num_all, z * z
    middle = (seen + square / (2 * num_all)) / (1 + square / num_all)
    half = z * math.sqrt(seen * (1 - seen) / num_all + square / (4 * num_all**2)) / (1 + square / num_all)
    return max(0.0, middle - half), min(1.0, middle + half)
