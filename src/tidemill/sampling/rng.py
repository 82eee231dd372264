"""Random numbers as a pure function of (seed, prompt index, sample index, position). Holds no state and draws no seeds.

The generator is Philox4x64-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
(SC 2011, section 3.3; constants of table 2 and of the Random123 library), used as a block cipher of a counter.
"""

SamplingKey = tuple[int, int, int]
"""(seed, prompt index, sample index): with a position it determines a random number."""

_MASK = (1 << 64) - 1
_MULTIPLIER_0 = 0xD2E7470EE14C6C93
_MULTIPLIER_1 = 0xCA5A826395121157
_WEYL_0 = 0x9E3779B97F4A7C15
_WEYL_1 = 0xBB67AE8584CAA73B
_ROUNDS = 10
_UNIT_53 = 2.0**-53


def philox4x64(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Four 64-bit words of the stream `key` at `counter`. All words are unsigned 64-bit integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        product_0 = c0 * _MULTIPLIER_0
        product_1 = c2 * _MULTIPLIER_1
        c0, c1, c2, c3 = (
            (product_1 >> 64) ^ c1 ^ k0,
            product_1 & _MASK,
            (product_0 >> 64) ^ c3 ^ k1,
            product_0 & _MASK,
        )
        k0 = (k0 + _WEYL_0) & _MASK
        k1 = (k1 + _WEYL_1) & _MASK
    return c0, c1, c2, c3


def uniform(key: SamplingKey, position: int) -> float:
    """The number in [0, 1) of a position, with 53 random bits. A negative seed counts modulo 2**64."""
    seed, prompt_index, sample_index = key
    word, _, _, _ = philox4x64((position, prompt_index, sample_index, 0), (seed & _MASK, 0))
    return (word >> 11) * _UNIT_53
