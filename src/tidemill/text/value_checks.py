"""Checks of single values: a number's range, a text's characters, a label's length. Each names the field it refuses."""

import math

from tidemill.core.errors import InvalidRequestError

MAX_LABEL_CHARS = 512
"""Length of a request id, a cache salt, or a name within a message."""


def check_text(param: str, text: str) -> None:
    """Refuse what no text holds: U+0000, and surrogates without their pair, which have no UTF-8."""
    if "\x00" in text:
        raise InvalidRequestError(f"'{param}' contains the character U+0000.", param=param)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"'{param}' contains half of a surrogate pair.", param=param) from error


def check_token_id(param: str, token_id: int, vocab_size: int) -> None:
    """Refuse a token id that the vocabulary does not have."""
    if not 0 <= token_id < vocab_size:
        raise InvalidRequestError(
            f"The token id {token_id} in {param} is not in the vocabulary of {vocab_size} tokens.", param=param
        )


def check_int(param: str, value: int, low: int, high: int) -> None:
    """Refuse what is not a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequestError(f"{param} must be a whole number.", param=param)
    if not low <= value <= high:
        raise InvalidRequestError(f"{param} is {_shown(value)}; it must be from {low} to {high}.", param=param)


def check_float(param: str, value: float, low: float, high: float, *, above_low: bool = False) -> None:
    """Refuse what is not a finite number from `low` to `high`."""
    # An int is checked before it is turned into a float: a huge one has none.
    within = (low < value if above_low else low <= value) and value <= high and math.isfinite(value)
    if not within:
        bounds = f"above {low:g} and at most {high:g}" if above_low else f"from {low:g} to {high:g}"
        raise InvalidRequestError(f"{param} is {_shown(value)}; it must be {bounds}.", param=param)


def _shown(value: float) -> str:
    """The value for a message. A whole number of thousands of digits is not spelled out (Python refuses to)."""
    return "a huge number" if isinstance(value, int) and value.bit_length() > 128 else f"{value!r}"


def check_label(param: str, label: str) -> None:
    """Refuse an identifier or name that is too long, or is no text."""
    check_text(param, label)
    if len(label) > MAX_LABEL_CHARS:
        raise InvalidRequestError(
            f"'{param}' has {len(label)} characters; at most {MAX_LABEL_CHARS} are allowed.", param=param
        )
