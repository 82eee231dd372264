"""The tokens a model is calibrated on: always the same text, in the model's own tokens."""

import random
from importlib.resources import files
from pathlib import Path

from tidemill.core.errors import ModelLoadError
from tidemill.models.spec import ModelSpec
from tidemill.text.tokenizer import Tokenizer

NUM_TOKENS = 384
"""Enough for every channel's reach to show; the float model's pass over them is most of the cost."""
_UNIT = 16
"""The number of tokens is a multiple of this, so that a row tile divides it."""


def calibration_tokens(folder: Path, spec: ModelSpec) -> list[int]:
    """At most NUM_TOKENS token ids: the calibration text, or random ones where `folder` has no usable tokenizer."""
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
    text = (files("tidemill.models.quantization") / "calibration.txt").read_text(encoding="utf-8")
    return [token_id for token_id in tokenizer.encode(text, add_special_tokens=True) if token_id < vocab_size]
