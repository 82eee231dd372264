"""The tokens a model is calibrated on: the text beside it, or one that suits most, in the model's own tokens."""

import random
from importlib.resources import files
from pathlib import Path

from tidemill.core.errors import ModelLoadError
from tidemill.models.spec import ModelSpec
from tidemill.text.tokenizer import Tokenizer

NUM_TOKENS = 384
"""Enough for every channel's reach to show; the float model's pass over them is most of the cost."""
FILE = "calibration.txt"
"""In the model's folder: text as the model reads and writes it, markup of chats included."""
_MAX_FILE_BYTES = 256 * 1024
_UNIT = 16
"""The number of tokens is a multiple of this, so that a row tile divides it."""


def calibration_tokens(folder: Path, spec: ModelSpec) -> list[int]:
    """At most NUM_TOKENS token ids: of the text in `folder` or of ours, or random ones without a tokenizer."""
    most = min(NUM_TOKENS, spec.max_position_embeddings)
    token_ids = _text_tokens(folder, spec.vocab_size)[:most]
    if len(token_ids) < min(most, _UNIT):
        draw = random.Random(0)
        token_ids = [draw.randrange(spec.vocab_size) for _ in range(most)]
    return token_ids[: max(1, len(token_ids) // _UNIT) * _UNIT]


def _text_tokens(folder: Path, vocab_size: int) -> list[int]:
    try:
        tokenizer = Tokenizer.load(folder)
    except ModelLoadError:
        return []
    token_ids = tokenizer.encode(_own_text(folder) or _text_for_most(), add_special_tokens=True)
    return [token_id for token_id in token_ids if token_id < vocab_size]


def _own_text(folder: Path) -> str:
    try:
        with (folder / FILE).open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode(errors="ignore")
    except OSError:
        return ""


def _text_for_most() -> str:
    return (files("tidemill.models.quantization") / "calibration.txt").read_text(encoding="utf-8")
