"""Scores of a row as keys that order, as weights, and as runs; and where a beginning of their order is to be cut.

Weights are multiples of a grain so coarse that a sum of all of them is exact in double precision: sums have the same
bits in any order, here, in the numpy twin, and with any number of threads.
"""

from typing import Any

import numpy as np
from numba import njit

from tidemill.kernels.cpu import numba_setup

RUN = 64
"""Tokens whose largest score, and whose mass, stand for them."""
inside = njit(nogil=True, error_model="numpy", **numba_setup.INSIDE)
"""Of what only compiled code calls. Not `fastmath`, not even fused: the twin's numpy rounds every operation."""
LEAST = np.int32(-(2**31))
COUNT, WEIGH = range(2)


@inside
def weight_of(score: Any, top: Any, temperature: Any, grains: Any, grain: Any) -> Any:
    """exp((score - top) / temperature) in whole grains."""
    x = (score - top) / temperature
    scaled = max(x * np.float32(1.44269504), np.float32(-127.0))
    whole = np.rint(scaled)
    f = scaled - whole
    p = np.float32(0.00133158)
    p = p * f + np.float32(0.00966946)
    p = p * f + np.float32(0.0555057)
    p = p * f + np.float32(0.24022286)
    p = p * f + np.float32(0.69314706)
    p = p * f + np.float32(1.0)
    weight = p * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)
    return np.rint(weight * grains) * grain


@inside
def key_of(bits: Any) -> Any:
    """An int32 that orders as the float32 of these bits does; both zeros are one."""
    key = np.int32(bits ^ np.int32(np.int32(bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))
    return np.int32(0) if key == np.int32(-1) else key


@inside
def score_of(key: Any) -> Any:
    """The score that has this key."""
    return np.int32(key ^ np.int32(np.int32(key >> np.int32(31)) & np.int32(0x7FFFFFFF))).view(np.float32)


# Indices are unsigned because Numba would ask of every other whether it counts from the end: no vector loop does.
@inside
def peaks_of_runs(bits: Any, peaks: Any) -> Any:
    """The largest key of each run, and of all."""
    top, num_whole = LEAST, bits.shape[0] // RUN
    for run in range(num_whole):
        first, peak = np.uint64(run * RUN), LEAST
        for i in range(RUN):
            peak = max(peak, key_of(bits[first + np.uint64(i)]))
        peaks[run] = peak
        top = max(top, peak)
    if num_whole < peaks.shape[0]:
        peak = LEAST
        for i in range(num_whole * RUN, bits.shape[0]):
            peak = max(peak, key_of(bits[i]))
        peaks[num_whole] = peak
        top = max(top, peak)
    return top


@inside
def first_with(bits: Any, peaks: Any, key: Any) -> Any:
    """The lowest token with this key, which one of them has."""
    run = 0
    while peaks[run] != key:
        run += 1
    i = run * RUN
    while key_of(bits[i]) != key:
        i += 1
    return i


# Sums of whole grains are exact, so they may be taken in any order: then they are vector sums.
@njit(nogil=True, error_model="numpy", fastmath={"reassoc"}, **numba_setup.INSIDE)
def masses_of_runs(scores: Any, top: Any, temperature: Any, grains: Any, grain: Any, masses: Any) -> Any:
    """The mass of each run, and of all."""
    total, num_whole = 0.0, scores.shape[0] // RUN
    for run in range(num_whole):
        first, mass = np.uint64(run * RUN), 0.0
        for i in range(RUN):
            mass += np.float64(weight_of(scores[first + np.uint64(i)], top, temperature, grains, grain))
        masses[run] = mass
        total += mass
    if num_whole < masses.shape[0]:
        mass = 0.0
        for i in range(num_whole * RUN, scores.shape[0]):
            mass += np.float64(weight_of(scores[i], top, temperature, grains, grain))
        masses[num_whole] = mass
        total += mass
    return total


@inside
def cut(keys: Any, weights: Any, num: Any, mode: Any, limit: Any, bins: Any) -> Any:
    """Where the shortest beginning ends that holds `limit`, of the first `num` entries by falling key: the key it ends
    with, and how many entries of that key belong to it. `mode` says whether entries are counted or weighed.

    A radix selection on the distance from the largest key, eleven bits at a time.
    """
    top, low = keys[0], keys[0]
    for i in range(num):
        top, low = max(top, keys[i]), min(low, keys[i])
    top_key, shift = np.int64(top), 0
    while (top_key - np.int64(low)) >> np.int64(shift) > 0:
        shift += 1
    before, prefix, above = 0.0, np.int64(0), np.int64(shift)
    while above > 0:
        width = min(above, np.int64(11))
        step = above - width
        bins[: 1 << width] = 0.0
        for i in range(num):
            distance = top_key - np.int64(keys[i])
            if distance >> above == prefix:
                digit = np.uint64((distance >> step) & np.int64((1 << width) - 1))
                bins[digit] += 1.0 if mode == COUNT else weights[i]
        found, last = np.int64(0), np.int64((1 << width) - 1)
        while last > 0 and bins[last] == 0.0:
            last -= 1
        while found < last and before + bins[found] < limit:
            before += bins[found]
            found += 1
        prefix, above = (prefix << width) | found, step
    lowest, ties = np.int32(top_key - prefix), 0
    for i in range(num):
        if keys[i] == lowest and before < limit:
            before += 1.0 if mode == COUNT else weights[i]
            ties += 1
    return lowest, ties


@inside
def keep(ids: Any, keys: Any, weights: Any, num: Any, last: Any, ties: Any) -> Any:
    """Keep the entries above the key `last`, and the first `ties` of those that have it; how many that are."""
    kept = 0
    for i in range(num):
        is_tie = keys[i] == last and ties > 0
        if keys[i] > last or is_tie:
            ids[kept], keys[kept], weights[kept] = ids[i], keys[i], weights[i]
            kept += 1
        if is_tie:
            ties -= 1
    return kept


@inside
def gather(bits: Any, peaks: Any, floor: Any, ids: Any, keys: Any) -> Any:
    """The tokens whose key is at least `floor`, by rising id, and their keys; how many there are."""
    num = 0
    for run in range(peaks.shape[0]):
        if peaks[run] >= floor:
            for i in range(run * RUN, min(run * RUN + RUN, bits.shape[0])):
                key = key_of(bits[np.uint64(i)])
                ids[np.uint64(num)], keys[np.uint64(num)] = i, key
                num += 1 if key >= floor else 0
    return num


@inside
def floor_of(weight: Any, top: Any, temperature: Any, grain: Any) -> Any:
    """A key below which every weight is less than `weight`; the least there is where grains are too coarse to tell."""
    if weight < 1024 * grain:
        return LEAST
    # A thousandth covers the rounding of the exponent and to grains.
    score = np.float64(top) + np.float64(temperature) * (np.log(weight) - 2e-3)
    bits = np.float32(max(score - 1e-6 * abs(score), -3e38)).view(np.int32)
    return key_of(bits)
