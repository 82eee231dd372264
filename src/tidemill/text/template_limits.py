"""Bounds on what one operation of a chat template may make: checked before it is made.

The budget of a whole rendering is the sandbox's; this is about single values.
"""

import re
from collections.abc import Iterable
from typing import Any

import jinja2

MAX_STRING = 16 * 1024 * 1024
MAX_ITEMS = 1_000_000
_MAX_WIDTH = 10_000
_MAX_INT_BITS = 4096


class TemplateBudgetError(jinja2.TemplateError):
    """The template asked for more work or memory than a rendering may take."""


def check_product(left: Any, right: Any) -> None:
    """Refuse `left * right` that makes too long a string or list, or too large a number."""
    for sequence, count in ((left, right), (right, left)):
        if isinstance(sequence, str | list | tuple) and isinstance(count, int):
            limit = MAX_STRING if isinstance(sequence, str) else MAX_ITEMS
            if len(sequence) * max(count, 0) > limit:
                raise TemplateBudgetError("it repeats a value too often")
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _MAX_INT_BITS:
        raise TemplateBudgetError("it makes a number that is too large")


def check_power(base: Any, exponent: Any) -> None:
    """Refuse `base ** exponent` that makes too large a number."""
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > _MAX_INT_BITS:
        raise TemplateBudgetError("it makes a number that is too large")


def check_widths(values: Iterable[Any]) -> None:
    """Refuse to pad to so many characters."""
    if any(isinstance(value, int) and abs(value) > _MAX_WIDTH for value in values):
        raise TemplateBudgetError("it pads to a width that is too large")


def check_format(text: str) -> None:
    """Refuse a `str.format` pattern with large widths, or widths that are themselves formatted."""
    if re.search(r"\d{5}", text) or re.search(r":[^}]*\{", text):
        raise TemplateBudgetError("it formats to a width that is too large")
