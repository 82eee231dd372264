"""Text to token ids and back, for one model folder. Owns tokenizer.json and the special tokens; knows no template.

Decoding is by bytes: a text is the UTF-8 of its tokens' bytes, malformed bytes replaced as Unicode recommends. That is
what the tokenizers library gives for every well-formed text, and it does not depend on how the tokens arrive.
"""

import json
from collections.abc import Sequence as Seq
from pathlib import Path
from typing import Any

import tokenizers

from tidemill.core.errors import ModelLoadError
from tidemill.text.pieces import PieceRule, rule_of

_MAX_VOCAB = 2**22
"""Many times the largest there is. The tables have a place for every id up to the highest, whatever lies between."""
_SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class Tokenizer:
    """A model's tokenizer. Safe to share between threads: nothing in it changes after it is made."""

    def __init__(self, backend: tokenizers.Tokenizer, config: dict[str, Any]) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._rule: PieceRule | None = rule_of(
            None if backend.decoder is None else json.loads(backend.decoder.__getstate__())
        )
        added = backend.get_added_tokens_decoder()
        vocabulary = backend.get_vocab(with_added_tokens=True)
        self.vocab_size: int = max(vocabulary.values(), default=-1) + 1
        if self.vocab_size > _MAX_VOCAB:
            raise ModelLoadError(
                f"tokenizer.json has the token id {self.vocab_size - 1}; ids must be below {_MAX_VOCAB}.",
                next_step="Download the model again.",
            )
        self.special_tokens: dict[str, str] = special_tokens(config)
        named = {vocabulary[text] for text in self.special_tokens.values() if text in vocabulary}
        self._special_ids = frozenset(token_id for token_id, token in added.items() if token.special) | named
        self.special_texts: frozenset[str] = frozenset(added[i].content for i in self._special_ids if i in added)
        self._pieces, self._first_pieces = self._all_pieces(vocabulary, frozenset(added))
        self._longest_piece = max((len(piece) for piece in self._pieces), default=1) or 1
        self._keeps_all = self._rule is not None and backend.normalizer is None
        self.bos_token_id: int | None = self._id_of("bos_token")
        self.eos_token_id: int | None = self._id_of("eos_token")
        self._adds_bos: bool | None = config.get("add_bos_token") if self.bos_token_id is not None else None

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """The tokenizer of a model folder. Raises `ModelLoadError` if it is missing or cannot be read."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelLoadError(
                f"The model folder {folder} has no tokenizer.json.",
                next_step="Add the tokenizer in the format of the tokenizers library, or choose a model that has it.",
            )
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelLoadError(f"{path} cannot be read: {error}.", next_step="Download the model again.") from error
        config = read_json(folder / "special_tokens_map.json") | read_json(folder / "tokenizer_config.json")
        return cls(backend, config)

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        """Token ids of `text`, special tokens in it recognised. With `add_special_tokens` as the start of a prompt.

        tokenizer_config's `add_bos_token`, if it is there, decides whether a prompt starts with the beginning-of-text
        token; otherwise tokenizer.json's own post-processor does. An end-of-text token is never appended on the
        config's word: what is to be continued does not end.
        """
        if not add_special_tokens or self._adds_bos is None:
            return self._encode(text, add_special_tokens=add_special_tokens)
        token_ids = self._encode(text, add_special_tokens=False)
        if self._adds_bos and self.bos_token_id is not None:
            token_ids.insert(0, self.bos_token_id)
        return token_ids

    def _encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        # The library gives up Python's lock only for batches: `encode` of a long text would hold up every other thread.
        (encoding,) = self._backend.encode_batch_fast([text], add_special_tokens=add_special_tokens)
        return list(encoding.ids)

    def least_tokens(self, text: str) -> int:
        """How many tokens `text` has at the very least, not tokenized; 0 if the tokenizer may drop characters."""
        return -(-len(text.encode("utf-8", "surrogatepass")) // self._longest_piece) if self._keeps_all else 0

    def decode(self, token_ids: Seq[int], skip_special_tokens: bool) -> str:
        """The text of `token_ids`. Ids the tokenizer does not know are skipped."""
        kept = [i for i in token_ids if not (skip_special_tokens and i in self._special_ids)]
        if self._rule is None:
            return str(self._backend.decode([i for i in kept if i < self.vocab_size], skip_special_tokens=False))
        pieces = [self.piece(i, first=False) for i in kept]
        if kept:
            pieces[0] = self.piece(kept[0], first=True)
        return self.strip_start(b"".join(pieces).decode("utf-8", "replace"), self.num_stripped)[0]

    def token_text(self, token_id: int) -> str:
        """The token's text in the middle of a text; bytes that are no whole character show as U+FFFD."""
        return self.token_bytes(token_id).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The token's bytes in the middle of a text; empty for an id the tokenizer does not know."""
        return self._pieces[token_id] if 0 <= token_id < len(self._pieces) else b""

    def is_special(self, token_id: int) -> bool:
        """Whether `skip_special_tokens` leaves the token out."""
        return token_id in self._special_ids

    def token_to_id(self, token: str) -> int | None:
        """The id of a token by its exact text in the vocabulary."""
        token_id: int | None = self._backend.token_to_id(token)
        return token_id

    @property
    def has_piece_rule(self) -> bool:
        """Whether every token's bytes are known, so that a text is their concatenation."""
        return self._rule is not None

    @property
    def num_stripped(self) -> int:
        """How many spaces the decoder takes from the start of a text."""
        return self._rule.strip_left if self._rule else 0

    def piece(self, token_id: int, *, first: bool) -> bytes:
        """The token's bytes, as the first of a text or not."""
        if first and token_id in self._first_pieces:
            return self._first_pieces[token_id]
        return self.token_bytes(token_id)

    def strip_start(self, text: str, count: int) -> tuple[str, int]:
        """`text` without up to `count` of the characters a text loses at its start, and how many it may still lose."""
        if not count or not text or self._rule is None:
            return text, count
        taken = 0
        while taken < count and text[taken : taken + 1] == self._rule.strip_content:
            taken += 1
        # Any other character ends the start of the text.
        return text[taken:], count - taken if taken == len(text) else 0

    def _all_pieces(self, vocabulary: dict[str, int], added: frozenset[int]) -> tuple[list[bytes], dict[int, bytes]]:
        pieces = [b""] * self.vocab_size
        first_pieces: dict[int, bytes] = {}
        for token, token_id in vocabulary.items():
            if self._rule is None:
                pieces[token_id] = token.encode("utf-8", "surrogatepass")
                continue
            pieces[token_id] = self._rule.to_bytes(token, is_added=token_id in added, first=False)
            if self._rule.drop_in_first is not None and self._rule.drop_in_first in token:
                first_pieces[token_id] = self._rule.to_bytes(token, is_added=token_id in added, first=True)
        return pieces, first_pieces

    def _id_of(self, name: str) -> int | None:
        return self.token_to_id(self.special_tokens[name]) if name in self.special_tokens else None


def special_tokens(config: dict[str, Any]) -> dict[str, str]:
    """The named special tokens that are set, by name; each is a string or an object with `content`."""
    texts: dict[str, str] = {}
    for name in _SPECIAL_NAMES:
        value = config.get(name)
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str):
            texts[name] = value
    return texts


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model folder, empty if there is no such file. Raises `ModelLoadError`."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path} cannot be read: {error}.", next_step="Download the model again.") from error
    if not isinstance(value, dict):
        raise ModelLoadError(f"{path} does not hold a JSON object.", next_step="Download the model again.")
    return value
