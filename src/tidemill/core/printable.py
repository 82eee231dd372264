"""Text that others sent, for a terminal or a page: characters that would steer it are shown as what they are."""


def printable(text: str) -> str:
    """`text` with every character that is no picture (escapes, ends of lines, turns of direction) as its escape."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
