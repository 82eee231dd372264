"""What a request produced and its reader has not taken: merged per sequence, bounded, ended well or by an error."""

import array
import asyncio
import io

from tidemill.core.errors import SlowReaderError, TidemillError
from tidemill.core.requests import Delta, Finish, PositionLogprobs

_TOKEN_BYTES = 8
_LOGPROB_BYTES = 256
"""About what one `TokenLogprob` takes, so that the cap holds for requests with log-probabilities too."""
_TEXT_BYTES = 16
_MIN_STEPS = 16


def least_buffer_bytes(num_sequences: int, num_logprobs: int | None) -> int:
    """The cap below which even a prompt reader would be cut off: a step's output comes at once, and steps may bunch."""
    logprob_bytes = 0 if num_logprobs is None else _LOGPROB_BYTES * (1 + num_logprobs)
    return _MIN_STEPS * num_sequences * (_TOKEN_BYTES + _TEXT_BYTES + logprob_bytes)


class _Pending:
    """The merged deltas of one sequence."""

    def __init__(self) -> None:
        self.text = io.StringIO()
        self.token_ids = array.array("q")
        self.logprobs: list[PositionLogprobs] = []
        self.prompt_logprobs: tuple[PositionLogprobs | None, ...] = ()
        self.finish: Finish | None = None
        self.num_bytes = 0

    def add(self, delta: Delta) -> None:
        self.text.write(delta.text)
        self.token_ids.extend(delta.token_ids)
        self.logprobs.extend(delta.logprobs)
        self.prompt_logprobs += delta.prompt_logprobs
        self.finish = delta.finish or self.finish

    def take(self, index: int) -> Delta:
        return Delta(
            index=index,
            text=self.text.getvalue(),
            token_ids=tuple(self.token_ids),
            logprobs=tuple(self.logprobs),
            prompt_logprobs=self.prompt_logprobs,
            finish=self.finish,
        )


class DeltaBuffer:
    """One writer (the engine's frames), one reader (the request's generator).

    Over `max_bytes` of undelivered output the buffer is dropped and ends in `SlowReaderError`. What belongs to the
    prompt (echo and its log-probabilities) is not counted: it comes at once, before a reader could have taken it, and
    is bounded where it is asked for: the validator caps a request's prompt log-probabilities.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._pending: dict[int, _Pending] = {}
        self._num_bytes = 0
        self._is_closed = False
        self._error: TidemillError | None = None
        self._changed = asyncio.Event()

    @property
    def num_bytes(self) -> int:
        """Undelivered output, as it is counted against the cap."""
        return self._num_bytes

    @property
    def is_closed(self) -> bool:
        """Whether nothing more can be put."""
        return self._is_closed

    def put(self, delta: Delta) -> None:
        """Add to what is undelivered; closes the buffer with `SlowReaderError` if that is too much."""
        if self._is_closed:
            return
        pending = self._pending.setdefault(delta.index, _Pending())
        pending.add(delta)
        size = 0 if delta.prompt_logprobs else _size_of(delta)
        pending.num_bytes += size
        self._num_bytes += size
        if self._num_bytes > self._max_bytes:
            self._pending.clear()
            self._num_bytes = 0
            self.close(
                SlowReaderError(f"The stream was cut off: its reader left over {self._max_bytes} bytes untaken.")
            )
        self._changed.set()

    def close(self, error: TidemillError | None = None) -> None:
        """End the stream after what is undelivered, with `error` or well. The first close counts."""
        if not self._is_closed:
            self._is_closed = True
            self._error = error
            self._changed.set()

    async def get(self) -> Delta | None:
        """The delta of the sequence that waits longest; None at a good end. Raises what the buffer was closed with."""
        while not self._pending:
            if self._is_closed:
                if self._error is not None:
                    raise self._error
                return None
            self._changed.clear()
            await self._changed.wait()
        index = next(iter(self._pending))
        pending = self._pending.pop(index)
        self._num_bytes -= pending.num_bytes
        return pending.take(index)


def _size_of(delta: Delta) -> int:
    num_logprobs = sum(1 + len(position.top) for position in delta.logprobs)
    return len(delta.text.encode()) + _TOKEN_BYTES * len(delta.token_ids) + _LOGPROB_BYTES * num_logprobs
