"""Chooses the instruction path of integer products: the best that this CPU has and that computes what it should."""

import logging
import os
from collections.abc import Iterator

import torch

from tidemill.core.errors import ConfigurationError
from tidemill.kernels import reference
from tidemill.kernels.cpu import panels
from tidemill.kernels.cpu.instruction_path import PATH_NAMES, Portable, tags_of_this_cpu
from tidemill.kernels.cpu.integer_weight import IntegerMultiplier, IntegerWeight
from tidemill.kernels.quantized import GROUP, IntegerFormat, QuantizedRows, QuantizedWeight

PATH_VARIABLE = "TIDEMILL_INTEGER_PATH"
"""Environment variable: `portable` leaves byte instructions aside, to compare paths or to work around a CPU."""
CHANNELS, INPUTS, ROWS = 37, 71, 14
"""Of the probe: no multiples of anything, and more rows than a tile holds."""


def choose_multiplier(path: str | None = None) -> IntegerMultiplier | None:
    """The best path that passes the probe; None where not even the portable one does.

    `path` names the only vector path to consider; without it, the environment variable may. Raises `ConfigurationError`
    for a name that no path has; one that this CPU does not have leaves the portable path, with a warning.
    """
    path = path or os.environ.get(PATH_VARIABLE) or None
    logger = logging.getLogger(__name__)
    tags = tags_of_this_cpu()
    if path is not None and path not in PATH_NAMES:
        raise ConfigurationError(
            f"'{path:.40}' is no path of integer products.",
            next_step=f"Set {PATH_VARIABLE} to {', '.join(PATH_NAMES)}.",
        )
    if path is not None and path not in {tag.path().name for tag in tags}:
        logger.warning("This CPU does not have the %s path of integer products.", path)
    for tag in tags:
        if path not in (None, tag.path().name) and not isinstance(tag, Portable):
            continue
        multiplier = IntegerMultiplier(tag)
        try:
            is_right = all(_is_right(multiplier, *case) for case in _cases())
        except Exception as error:  # noqa: BLE001  a compiler can fail in any way; there is always another path
            logger.warning("The %s path of integer products does not work here: %s", multiplier.name, error)
            continue
        if is_right:
            logger.info("Integer products use the %s path.", multiplier.name)
            return multiplier
        logger.warning("The %s path computes wrong integers on this CPU; it is not used.", multiplier.name)
    return None


def _is_right(multiplier: IntegerMultiplier, weight: QuantizedWeight, rows: QuantizedRows) -> bool:
    got = IntegerWeight(panels.pack(weight), multiplier).multiply(rows)
    return torch.equal(got, reference.integer_product(rows, weight))


def _cases() -> Iterator[tuple[QuantizedWeight, QuantizedRows]]:
    """Products that saturate, wrap or lose a sign wherever an instruction does: extremes, and a mixture."""
    generator = torch.Generator().manual_seed(0)
    for count in (1, ROWS):
        mixed = torch.randint(-127, 128, (count, INPUTS), generator=generator, dtype=torch.int8)
        for values in (mixed, torch.full_like(mixed, 127), torch.full_like(mixed, -127)):
            padded = torch.nn.functional.pad(values, (0, -INPUTS % GROUP))
            rows = QuantizedRows(padded, torch.rand(count, generator=generator), padded.sum(-1, dtype=torch.int32))
            for kind in ("int8", "int4"):
                for extreme in (None, 1, -1):
                    yield _weight(kind, extreme, generator), rows


def _weight(kind: IntegerFormat, extreme: int | None, generator: torch.Generator) -> QuantizedWeight:
    """A weight of random integers, or of the largest or the smallest there are."""
    shape = (CHANNELS, INPUTS)
    scales, bias = torch.rand(CHANNELS, generator=generator), torch.rand(CHANNELS, generator=generator)
    if kind == "int8":
        values = torch.randint(-127, 128, shape, generator=generator)
        values = values if extreme is None else torch.full(shape, 127 * extreme)
        return QuantizedWeight("int8", values.to(torch.int8), None, scales, bias)
    num_groups = -(-INPUTS // GROUP)
    groups = torch.randint(1, 16, (CHANNELS, num_groups), generator=generator)
    q = torch.randint(0, 16, shape, generator=generator)
    if extreme is not None:
        groups, q = torch.full_like(groups, 15), torch.full_like(q, 15 if extreme > 0 else 0)
    values = (q - 8) * groups.repeat_interleave(GROUP, 1)[:, :INPUTS]
    return QuantizedWeight("int4", values.to(torch.int8), groups.to(torch.uint8), scales, None)
