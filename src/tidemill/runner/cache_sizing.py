"""How many blocks the KV cache gets, from what there is and what is wanted. Arithmetic only: it measures nothing."""

from collections.abc import Callable
from dataclasses import dataclass

from tidemill.core.errors import CapacityError, ConfigurationError
from tidemill.core.kv_cache import KVCacheGroup
from tidemill.runner.byte_words import byte_words

_MARGIN_RATIO = 0.05
_LEAST_MARGIN_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What determines how many blocks sequences need."""

    groups: tuple[KVCacheGroup, ...]
    block_size: int
    block_bytes: int
    max_num_seqs: int
    max_step_tokens: int

    def blocks_of_sequence(self, num_tokens: int) -> int:
        """Most blocks one sequence of `num_tokens` holds at once, over all groups.

        Behind a window w, a step of n rows looks at w + n - 1 positions in a row, at any alignment to the blocks.
        """
        full = -(-num_tokens // self.block_size)
        return sum(
            full
            if group.window is None
            else min(full, (group.window + self.max_step_tokens - 3) // self.block_size + 2)
            for group in self.groups
        )

    def least_blocks(self, max_model_len: int) -> int:
        """Blocks without which one sequence of `max_model_len` could not run: its own and the null page."""
        return self.blocks_of_sequence(max_model_len) + 1

    def most_blocks(self, max_model_len: int) -> int:
        """Blocks with which every slot could hold a sequence of `max_model_len`."""
        return self.max_num_seqs * self.blocks_of_sequence(max_model_len) + 1

    def longest_sequence(self, num_blocks: int, at_most: int) -> int:
        """The most tokens, up to `at_most`, that one sequence can have with `num_blocks`; 0 if none."""
        return _longest(at_most, lambda num_tokens: self.least_blocks(num_tokens) <= num_blocks)


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """What was measured once the weights were loaded, in bytes.

    `default_share_ratio` is how much of what is usable the cache takes unasked.
    """

    available_bytes: int
    activation_bytes: int
    default_share_ratio: float

    @property
    def margin_bytes(self) -> int:
        """Left alone for everything that was not measured."""
        return max(_LEAST_MARGIN_BYTES, int(self.available_bytes * _MARGIN_RATIO))

    @property
    def usable_bytes(self) -> int:
        """What the cache may take at most."""
        return max(0, self.available_bytes - self.activation_bytes - self.margin_bytes)

    def __str__(self) -> str:
        return (
            f"{byte_words(self.usable_bytes)} can be used ({byte_words(self.available_bytes)} available, less "
            f"{byte_words(self.activation_bytes)} for activations and a margin of {byte_words(self.margin_bytes)})"
        )


def size_cache(
    shape: CacheShape,
    budget: MemoryBudget | None,
    *,
    max_model_len: int,
    is_len_chosen: bool,
    requested_bytes: int | None,
) -> int:
    """Number of blocks, the null page included. `is_len_chosen` says whether `max_model_len` was asked for.

    Unasked it is what all slots could need at `max_model_len`, within a share of what is usable; more than the share is
    taken only as far as one sequence needs it. `budget` is None where the system does not tell its memory.
    Raises CapacityError, with the numbers, if one sequence does not fit; ConfigurationError if nothing says how much.
    """
    least = shape.least_blocks(max_model_len)
    if budget is None and requested_bytes is None:
        raise ConfigurationError(
            "This system does not say how much memory is available.", next_step="Pass --kv-cache-memory."
        )
    if requested_bytes is not None:
        if budget is not None and requested_bytes > budget.usable_bytes:
            raise CapacityError(
                f"A KV cache of {byte_words(requested_bytes)} was asked for, but {budget}.",
                next_step="Lower --kv-cache-memory or leave it out.",
            )
        num_blocks = requested_bytes // shape.block_bytes
    else:
        assert budget is not None
        share = int(budget.usable_bytes * budget.default_share_ratio) // shape.block_bytes
        wanted = min(shape.most_blocks(max_model_len), max(share, least))
        num_blocks = min(wanted, budget.usable_bytes // shape.block_bytes)
    if num_blocks < least:
        raise _too_small(
            shape,
            budget,
            num_blocks=num_blocks,
            max_model_len=max_model_len,
            is_len_chosen=is_len_chosen,
            requested_bytes=requested_bytes,
        )
    return num_blocks


def check_weights_fit(weight_bytes: int, available_bytes: int | None) -> None:
    """Raise CapacityError before anything is loaded if the weights alone exceed the memory that is available."""
    if available_bytes is not None and weight_bytes > available_bytes:
        raise CapacityError(
            f"The weights need {byte_words(weight_bytes)}, but only {byte_words(available_bytes)} are available.",
            next_step="Take a smaller model, --precision bf16, or a machine with more memory.",
        )


def check_context_fits(
    shape: CacheShape,
    available_bytes: int | None,
    *,
    max_model_len: int,
    is_len_chosen: bool,
    requested_bytes: int | None,
    position_bytes: int,
) -> None:
    """Raise CapacityError, before anything is loaded, if all that the weights leave is too little for one sequence.

    `position_bytes` is what each position takes beside keys and values. What passes may still be refused later, when
    it is known what else takes memory.
    """
    if requested_bytes is not None:
        size_cache(
            shape, None, max_model_len=max_model_len, is_len_chosen=is_len_chosen, requested_bytes=requested_bytes
        )
    if available_bytes is None:
        return

    def needed(num_tokens: int) -> int:
        return shape.least_blocks(num_tokens) * shape.block_bytes + num_tokens * position_bytes

    if needed(max_model_len) <= available_bytes:
        return
    longest = _longest(max_model_len, lambda num_tokens: needed(num_tokens) <= available_bytes)
    raise CapacityError(
        f"{_context(max_model_len, is_len_chosen)} needs at least {byte_words(needed(max_model_len))}, but "
        f"{byte_words(available_bytes)} are there for it, which is too little beyond {longest} tokens.",
        next_step=f"Pass --max-model-len with less than {longest}.",
    )


def _longest(at_most: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `at_most` that fits, where whatever is below one that fits does too; 0 if none."""
    low, high = 0, at_most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _context(max_model_len: int, is_len_chosen: bool) -> str:
    return f"A context of {max_model_len} tokens" + ("" if is_len_chosen else " (the model's own)")


def _too_small(
    shape: CacheShape,
    budget: MemoryBudget | None,
    *,
    num_blocks: int,
    max_model_len: int,
    is_len_chosen: bool,
    requested_bytes: int | None,
) -> CapacityError:
    needed = byte_words(shape.least_blocks(max_model_len) * shape.block_bytes)
    context = _context(max_model_len, is_len_chosen)
    room = str(budget) if requested_bytes is None else f"--kv-cache-memory allows {byte_words(requested_bytes)}"
    longest = shape.longest_sequence(num_blocks, max_model_len)
    if longest == 0:
        return CapacityError(
            f"{context} needs {needed} of KV cache, but {room}: not even one block of it fits.",
            next_step="Free memory, or take a smaller model.",
        )
    return CapacityError(
        f"{context} needs {needed} of KV cache, but {room}; the longest context that fits has {longest} tokens.",
        next_step=f"Pass --max-model-len {longest} or less"
        + (", or free memory." if requested_bytes is None else ", or raise --kv-cache-memory."),
    )
