"""Sizes in bytes as people write them: '2GiB', '512 MB', '1.5G', or a plain number."""

import re
from fractions import Fraction

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", re.IGNORECASE)
_EXPONENTS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_MAX_CHARS = 32


def parse_size(text: str) -> int:
    """Bytes in `text`. K, M, G and T are powers of 1024, as is KiB; KB is a power of 1000. Raises `ValueError`."""
    match = _SIZE.fullmatch(text) if len(text) <= _MAX_CHARS else None
    if match is None:
        raise ValueError("expected a size such as '2GiB', '512MiB' or a number of bytes")
    number, prefix, binary = match[1], match[2].upper(), match[3]
    is_decimal = bool(prefix) and not binary and text.rstrip()[-1:].upper() == "B"
    return int(Fraction(number) * (1000 if is_decimal else 1024) ** _EXPONENTS[prefix])


def format_size(num_bytes: int) -> str:
    """The size in the largest binary unit that has at least one of it, with at most one decimal."""
    value = float(num_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.1f}".removesuffix(".0") + f" {unit}"
        value /= 1024
    return f"{value:.1f}".removesuffix(".0") + " TiB"
