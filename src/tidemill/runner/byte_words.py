"""Byte counts as people read them, in messages."""


def byte_words(num_bytes: int) -> str:
    """`num_bytes` in the largest binary unit that leaves at least one, e.g. '1.5 GiB'."""
    value = float(num_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{num_bytes} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
