"""Token ids to text as they arrive. Owns the half-finished character at the end; the tokens' bytes are the tokenizer's.

What was pushed and flushed equals `Tokenizer.decode` of the whole; no text is emitted that a later token could change.
"""

import codecs
from collections.abc import Sequence as Seq

from tidemill.text.tokenizer import Tokenizer

_MAX_HELD_TOKENS = 16
"""Longest run of tokens held back for a character by the windowed decoder: UTF-8 needs four bytes at most."""


class IncrementalDetokenizer:
    """The text of one sequence. `continues_text` says that it goes on from other text: then it keeps a leading space
    that sentencepiece decoders take from the start of a text. The work per token is constant.
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_special_tokens: bool, continues_text: bool = False) -> None:
        self._tokenizer = tokenizer
        self._skips_special = skip_special_tokens
        self._first = not continues_text
        self._num_to_strip = 0 if continues_text else tokenizer.num_stripped
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._window = None if tokenizer.has_piece_rule else _Window(tokenizer)

    def push(self, token_ids: Seq[int]) -> str:
        """The text that `token_ids` settle; may be empty while a character is incomplete."""
        kept = [i for i in token_ids if not (self._skips_special and self._tokenizer.is_special(i))]
        if self._window is not None:
            return self._window.push(kept)
        pieces = []
        for token_id in kept:
            pieces.append(self._tokenizer.piece(token_id, first=self._first))
            self._first = False
        return self._stripped(self._utf8.decode(b"".join(pieces)))

    def flush(self) -> str:
        """What is left at the end of the sequence: U+FFFD for a character that was never completed."""
        return self._window.flush() if self._window is not None else self._stripped(self._utf8.decode(b"", final=True))

    def _stripped(self, text: str) -> str:
        text, self._num_to_strip = self._tokenizer.strip_start(text, self._num_to_strip)
        return text


class _Window:
    """Decodes with the library over the last few tokens, for decoders that have no rule by token.

    `_context` has been emitted and is decoded again in front of `_held`, so that the decoder sees what goes before.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._context: list[int] = []
        self._held: list[int] = []

    def push(self, token_ids: Seq[int]) -> str:
        settled = []
        for token_id in token_ids:
            self._held.append(token_id)
            text = self._held_text()
            if text.endswith("\ufffd") and len(self._held) < _MAX_HELD_TOKENS:
                continue
            settled.append(text)
            self._context, self._held = self._held, []
        return "".join(settled)

    def flush(self) -> str:
        text = self._held_text() if self._held else ""
        self._context, self._held = self._held, []
        return text

    def _held_text(self) -> str:
        before = self._tokenizer.decode(self._context, skip_special_tokens=False)
        return self._tokenizer.decode([*self._context, *self._held], skip_special_tokens=False)[len(before) :]
