"""What of a model folder is text: tokenizer, chat template, end tokens, default sampling. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tidemill.core.errors import InvalidRequestError, ModelLoadError
from tidemill.core.requests import SamplingParams
from tidemill.text.sampling_checks import validate_sampling
from tidemill.text.template import ChatTemplate
from tidemill.text.tokenizer import Tokenizer, read_json

_MAX_TOKEN_ID = 2**31 - 1
_SAMPLING_DEFAULTS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


@dataclass(frozen=True, slots=True)
class ModelText:
    """What the client's side of an engine knows of its model.

    `vocab_size` is the number of the model's logits, which may be more than the tokenizer has tokens.
    `default_sampling` holds what the model's generation_config.json recommends.
    """

    tokenizer: Tokenizer
    template: ChatTemplate | None
    eos_token_ids: frozenset[int]
    bos_token_id: int | None
    vocab_size: int
    default_sampling: dict[str, float | int]

    @classmethod
    def load(cls, folder: Path) -> "ModelText":
        """Read a model folder. Raises `ModelLoadError` if a file is missing or malformed."""
        config = read_json(folder / "config.json")
        generation = read_json(folder / "generation_config.json")
        tokenizer = Tokenizer.load(folder)
        eos = _token_ids(config, "eos_token_id") | _token_ids(generation, "eos_token_id")
        if tokenizer.eos_token_id is not None:
            eos |= {tokenizer.eos_token_id}
        bos = tokenizer.bos_token_id
        if bos is None:
            bos = min(_token_ids(generation, "bos_token_id") or _token_ids(config, "bos_token_id"), default=None)
        vocab_size = config.get("vocab_size", tokenizer.vocab_size)
        if not isinstance(vocab_size, int) or isinstance(vocab_size, bool) or vocab_size < 1:
            raise ModelLoadError(f"The vocab_size in {folder / 'config.json'} is not a positive number.")
        return cls(
            tokenizer=tokenizer,
            template=ChatTemplate.load(folder),
            eos_token_ids=frozenset(eos),
            bos_token_id=bos,
            vocab_size=vocab_size,
            default_sampling=_default_sampling(generation, folder),
        )


def _token_ids(config: dict[str, Any], key: str) -> set[int]:
    """A token id or a list of them, as configs give it; empty if it is not set."""
    value = config.get(key)
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i <= _MAX_TOKEN_ID for i in values):
        raise ModelLoadError(
            f"The model's {key} is {str(value)[:100]}, which is no token id.",
            next_step="Correct the model's config.json.",
        )
    return set(values)


def _default_sampling(generation: dict[str, Any], folder: Path) -> dict[str, float | int]:
    """The recommended values that are set; a top_k of 0 or -1 is no limit and left out. do_sample false is greedy."""
    defaults: dict[str, float | int] = {"temperature": 0.0} if generation.get("do_sample") is False else {}
    for name in _SAMPLING_DEFAULTS:
        value = generation.get(name)
        if value is None or name in defaults or (name == "top_k" and value in (0, -1)):
            continue
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ModelLoadError(f"The {name} in {folder / 'generation_config.json'} is {value!r}, which is no number.")
        defaults[name] = value
    try:
        validate_sampling(msgspec.convert({"seed": 0} | defaults, SamplingParams), vocab_size=1)
    except (InvalidRequestError, msgspec.ValidationError) as error:
        raise ModelLoadError(
            f"{folder / 'generation_config.json'} recommends sampling that no request may ask for: {error}",
            next_step="Correct the value or remove it.",
        ) from error
    return defaults
