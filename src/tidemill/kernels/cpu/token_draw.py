"""Draws a token for each row of logits: hooks, temperature, filters and draw. `sampling.plain_draw` is its twin.

A row costs a few passes over it and no sort.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from tidemill.kernels.cpu import numba_setup
from tidemill.kernels.cpu.token_order import (
    COUNT,
    LEAST,
    RUN,
    WEIGH,
    cut,
    first_with,
    floor_of,
    gather,
    inside,
    keep,
    masses_of_runs,
    peaks_of_runs,
    score_of,
    weight_of,
)

CACHED = numba_setup.configure()

NUM_BINS = 2048
TEMPERATURE, TOP_K, TOP_P, MIN_P, REPETITION, PRESENCE, FREQUENCY = range(7)
"""Columns of `params`."""
DRAWN, NOT_FINITE, NOTHING_ALLOWED = range(3)
"""What becomes of a row."""

_INFINITE = np.int32(0x7F800000)
_KEY_OF_MINUS_INFINITY = np.int32(-0x7F800001)


@inside
def _is_finite(bits: Any) -> Any:
    largest = np.int32(0)
    for i in range(bits.shape[0]):
        largest = max(largest, np.int32(bits[i] & np.int32(0x7FFFFFFF)))
    return largest < _INFINITE


@inside
def _apply_hooks(scores: Any, masks: Any, bias_ids: Any, biases: Any, ids: Any, counts: Any, params: Any) -> None:  # noqa: C901
    """Mask, bias and penalties, in this order, on `scores` in place."""
    for mask in range(masks.shape[0]):
        for word in range(masks.shape[1]):
            if masks[mask, word] != np.uint32(0xFFFFFFFF):
                for i in range(word * 32, min(word * 32 + 32, scores.shape[0])):
                    if (masks[mask, word] >> np.uint32(i & 31)) & np.uint32(1) == 0:
                        scores[i] = -np.inf
    for i in range(bias_ids.shape[0]):
        scores[bias_ids[i]] += biases[i]
    repetition, presence = np.float32(params[REPETITION]), np.float32(params[PRESENCE])
    frequency = np.float32(params[FREQUENCY])
    for i in range(ids.shape[0]):
        score = scores[ids[i]]
        if repetition != 1:
            score = score * repetition if score < 0 else score / repetition
        if frequency != 0:
            score = score - frequency * counts[i]
        if presence != 0 and counts[i] > 0:
            score = score - presence
        scores[ids[i]] = score


@inside
def _draw(  # noqa: C901, PLR0912
    scores: Any, bits: Any, params: Any, number: Any, top: Any, grains: Any, grain: Any,
    peaks: Any, masses: Any, ids: Any, keys: Any, weights: Any, bins: Any,
) -> Any:  # fmt: skip
    """The token drawn of those that top-k, top-p and min-p leave, in this order; `top` is the largest score."""
    size = scores.shape[0]
    temperature, top_k = np.float32(params[TEMPERATURE]), np.int64(params[TOP_K])
    total, floor = 0.0, LEAST
    if top_k >= size and params[TOP_P] >= 1.0 and params[MIN_P] <= 0.0:
        target = number * masses_of_runs(scores, top, temperature, grains, grain, masses)
        run, mass = 0, 0.0
        while mass + masses[run] <= target:
            mass += masses[run]
            run += 1
        i = run * RUN
        mass += weight_of(scores[i], top, temperature, grains, grain)
        while mass <= target:
            i += 1
            mass += weight_of(scores[i], top, temperature, grains, grain)
        return np.int64(i)
    if top_k < peaks.shape[0]:
        # As many tokens as are wanted, at least, are as large as the largest of as many runs.
        floor = cut(peaks, weights, peaks.shape[0], COUNT, np.float64(top_k), bins)[0]
    elif top_k >= size:
        if params[TOP_P] < 1.0:
            total = masses_of_runs(scores, top, temperature, grains, grain, masses)
            # All tokens below this weight together hold less than 1 - top_p: they cannot be in the nucleus.
            floor = floor_of((1.0 - params[TOP_P]) * total / size, top, temperature, grain)
        floor = max(floor, floor_of(params[MIN_P], top, temperature, grain))
    num = gather(bits, peaks, floor, ids, keys)
    for i in range(num):
        weights[i] = weight_of(score_of(keys[i]), top, temperature, grains, grain)
    if top_k < num:
        last, ties = cut(keys, weights, num, COUNT, np.float64(top_k), bins)
        num = keep(ids, keys, weights, num, last, ties)
    if params[TOP_P] < 1.0:
        if top_k < size:
            for i in range(num):
                total += weights[i]
        last, ties = cut(keys, weights, num, WEIGH, params[TOP_P] * total, bins)
        num = keep(ids, keys, weights, num, last, ties)
    mass = 0.0
    for i in range(num):
        if weights[i] < params[MIN_P]:
            weights[i] = 0
        mass += weights[i]
    target, i = number * mass, 0
    mass = np.float64(weights[0])
    while mass <= target:
        i += 1
        mass += weights[i]
    return np.int64(ids[i])


@inside
def _product(a: Any, b: Any) -> Any:
    """The 128 bits of a * b, both uint64: high and low word."""
    half, low_bits = np.uint64(32), np.uint64(0xFFFFFFFF)
    a_high, a_low, b_high, b_low = a >> half, a & low_bits, b >> half, b & low_bits
    middle = a_high * b_low + ((a_low * b_low) >> half)
    other = a_low * b_high + (middle & low_bits)
    return a_high * b_high + (middle >> half) + (other >> half), a * b


@inside
def _uniform(key: Any) -> Any:
    """The number in [0, 1) of (seed, prompt index, sample index, position): Philox4x64-10, as `sampling.rng` has it."""
    k0, k1 = key[0], np.uint64(0)
    c0, c1, c2, c3 = key[3], key[1], key[2], np.uint64(0)
    for _ in range(10):
        high_0, low_0 = _product(np.uint64(0xD2E7470EE14C6C93), c0)
        high_1, low_1 = _product(np.uint64(0xCA5A826395121157), c2)
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0 += np.uint64(0x9E3779B97F4A7C15)
        k1 += np.uint64(0xBB67AE8584CAA73B)
    return np.float64(c0 >> np.uint64(11)) * 2.0**-53


@inside
def _draw_part(
    logits: Any, params: Any, stream_keys: Any, masks: Any, mask_starts: Any, bias_ids: Any, biases: Any,
    bias_starts: Any, count_ids: Any, counts: Any, count_starts: Any, part: Any, num_parts: Any, grains: Any,
    grain: Any, peaks: Any, masses: Any, ids: Any, keys: Any, weights: Any, hooked: Any, bins: Any, fates: Any,
    token_ids: Any,
) -> None:  # fmt: skip
    """Every row of one part."""
    for row in range(part, logits.shape[0], num_parts):
        scores = logits[row]
        if not _is_finite(scores.view(np.int32)):
            fates[row] = NOT_FINITE
            continue
        mask, bias, count = mask_starts[row], bias_starts[row], count_starts[row]
        mask_end, bias_end, count_end = mask_starts[row + 1], bias_starts[row + 1], count_starts[row + 1]
        if mask < mask_end or bias < bias_end or count < count_end:
            for i in range(scores.shape[0]):
                hooked[part, i] = scores[i]
            scores = hooked[part]
            _apply_hooks(
                scores, masks[mask:mask_end], bias_ids[bias:bias_end], biases[bias:bias_end],
                count_ids[count:count_end], counts[count:count_end], params[row],
            )  # fmt: skip
        bits = scores.view(np.int32)
        top_key = peaks_of_runs(bits, peaks[part])
        if top_key <= _KEY_OF_MINUS_INFINITY:
            fates[row] = NOTHING_ALLOWED
            continue
        fates[row], token_ids[row] = DRAWN, first_with(bits, peaks[part], top_key)
        if np.float32(params[row, TEMPERATURE]) > 0:
            token_ids[row] = _draw(
                scores, bits, params[row], _uniform(stream_keys[row]), scores[token_ids[row]], grains, grain,
                peaks[part], masses[part], ids[part], keys[part], weights[part], bins[part],
            )  # fmt: skip


@njit(nogil=True, error_model="numpy", cache=CACHED, parallel=True)
def draw_rows(
    logits: Any, params: Any, stream_keys: Any, masks: Any, mask_starts: Any, bias_ids: Any, biases: Any,
    bias_starts: Any, count_ids: Any, counts: Any, count_starts: Any, num_parts: Any, grains: Any, grain: Any,
    peaks: Any, masses: Any, ids: Any, keys: Any, weights: Any, hooked: Any, bins: Any, fates: Any, token_ids: Any,
) -> None:  # fmt: skip
    """Draw for every row of `logits` (rows, vocab), which are not changed, into `fates` and `token_ids` (rows,).

    `starts` (rows + 1,) say which masks (each a row of words), biases and counted tokens are a row's own. What follows
    `grain` is scratch, a row a part; a part's rows are done one after the other.
    """
    for part in prange(num_parts):
        _draw_part(
            logits, params, stream_keys, masks, mask_starts, bias_ids, biases, bias_starts, count_ids, counts,
            count_starts, np.int64(part), num_parts, grains, grain, peaks, masses, ids, keys, weights, hooked, bins,
            fates, token_ids,
        )  # fmt: skip
