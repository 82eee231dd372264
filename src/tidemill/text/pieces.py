"""How a tokenizer's decoder turns one token into bytes. Owns the rule; the tokens and their texts are the tokenizer's.

A rule exists for the two kinds of decoder that language models use: byte-level BPE, and sentencepiece's metaspace with
byte fallback. Any other decoder has no rule, and text is then decoded by the library over a small window.
"""

import re
from dataclasses import dataclass
from typing import Any

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True, slots=True)
class PieceRule:
    """Bytes of a token, alone. The first token of a text may be treated differently (`first`, `strip_left`).

    `strip_left` is how many `strip_content` characters a text loses at its start; `drop_in_first` is a character that
    the first token of a text loses wherever it stands (the Metaspace decoder's rule).
    """

    byte_level: bool
    byte_fallback: bool
    replacements: tuple[tuple[str, str], ...]
    strip_content: str = " "
    strip_left: int = 0
    drop_in_first: str | None = None

    def to_bytes(self, token: str, *, is_added: bool, first: bool) -> bytes:
        """The bytes `token` stands for; those of an added token are its own text."""
        if self.byte_level:
            return token.encode("utf-8", "surrogatepass") if is_added else _byte_level_bytes(token)
        if self.byte_fallback and (match := _BYTE_TOKEN.fullmatch(token)):
            return bytes((int(match[1], 16),))
        if first and self.drop_in_first is not None:
            token = token.replace(self.drop_in_first, "")
        for old, new in self.replacements:
            token = token.replace(old, new)
        return token.encode("utf-8", "surrogatepass")


def rule_of(decoder: Any) -> PieceRule | None:
    """The rule of a tokenizer.json's `decoder` entry; None if it is of another kind."""
    if not isinstance(decoder, dict):
        return None
    steps = decoder["decoders"] if decoder.get("type") == "Sequence" else [decoder]
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"]:
        return PieceRule(byte_level=True, byte_fallback=False, replacements=())
    if kinds == ["Metaspace"]:
        return _metaspace_rule(steps[0])
    return _fallback_rule(steps, kinds)


def _metaspace_rule(step: dict[str, Any]) -> PieceRule:
    symbol = step["replacement"]
    prepends = step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never") != "never"
    return PieceRule(
        byte_level=False,
        byte_fallback=False,
        replacements=((symbol, " "),),
        drop_in_first=symbol if prepends else None,
    )


def _fallback_rule(steps: list[dict[str, Any]], kinds: list[str | None]) -> PieceRule | None:
    """Replace*, ByteFallback?, Fuse?, Strip?: in this order, as sentencepiece models are converted."""
    shape = "".join(
        {"Replace": "R", "ByteFallback": "B", "Fuse": "F", "Strip": "S"}.get(kind or "", "x") for kind in kinds
    )
    if not re.fullmatch(r"R+B?(FS?)?", shape):
        return None
    replacements, strip_content, strip_left = [], " ", 0
    for step in steps:
        if step["type"] == "Replace":
            if "String" not in step["pattern"]:
                return None
            replacements.append((step["pattern"]["String"], step["content"]))
        elif step["type"] == "Strip":
            if step["stop"]:
                return None
            strip_content, strip_left = step["content"], step["start"]
    return PieceRule(
        byte_level=False,
        byte_fallback="B" in shape,
        replacements=tuple(replacements),
        strip_content=strip_content,
        strip_left=strip_left,
    )


def _byte_alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in byte-level BPE (GPT-2, `bytes_to_unicode`), inverted.

    Bytes that print in Latin-1 stand for themselves; the others follow from U+0100 on, in order.
    """
    alphabet: dict[str, int] = {}
    shifted = 0
    for byte in range(256):
        if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or 0xAE <= byte <= 0xFF:
            alphabet[chr(byte)] = byte
        else:
            alphabet[chr(0x100 + shifted)] = byte
            shifted += 1
    return alphabet


_BYTE_ALPHABET = _byte_alphabet()


def _byte_level_bytes(token: str) -> bytes:
    """The bytes of a byte-level token; one with a character outside the alphabet is text, as it is for the library."""
    try:
        return bytes(_BYTE_ALPHABET[char] for char in token)
    except KeyError:
        return token.encode("utf-8", "surrogatepass")
