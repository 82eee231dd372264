"""One request and its answer: pulls chunks from a backend only as fast as the client reads, and stops when it leaves.

What the bytes look like is the dialect's business (`StreamRenderer`, `WholeRenderer`).
"""

import asyncio
import contextlib
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tidemill.api.errors import InternalError
from tidemill.api.service import RequestFacts
from tidemill.core.errors import EngineFailedError, RequestError, TidemillError
from tidemill.core.requests import Accepted, Delta, Finish, FinishReason, GenerationChunk, PositionLogprobs

log = logging.getLogger(__name__)


@dataclass(slots=True)
class SequenceText:
    """Everything one sequence has yielded."""

    text: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[PositionLogprobs] = field(default_factory=list)
    prompt_logprobs: list[PositionLogprobs | None] = field(default_factory=list)
    finish: Finish | None = None

    def add(self, delta: Delta) -> None:
        """Append a delta."""
        self.text.append(delta.text)
        self.token_ids += delta.token_ids
        self.logprobs += delta.logprobs
        self.prompt_logprobs += delta.prompt_logprobs
        self.finish = delta.finish or self.finish

    @property
    def ended(self) -> Finish:
        """The finish of a sequence that has one."""
        assert self.finish is not None
        return self.finish


@dataclass(frozen=True, slots=True)
class Completed:
    """A whole answer: one `SequenceText` a sequence, each with its finish."""

    accepted: Accepted
    sequences: tuple[SequenceText, ...]

    @property
    def finishes(self) -> list[Finish]:
        """The finish of every sequence."""
        return [s.ended for s in self.sequences]


class StreamRenderer(Protocol):
    """A dialect's stream. Every method returns the bytes to send, which may be none."""

    media_type: str

    def begin(self, accepted: Accepted, /) -> bytes:
        """Right after the status line."""
        ...

    def delta(self, delta: Delta) -> bytes:
        """More of a sequence, its finish included."""
        ...

    def end(self) -> bytes:
        """After every sequence has finished."""
        ...

    def error(self, error: TidemillError) -> bytes:
        """In the place of whatever was still to come."""
        ...


class WholeRenderer(Protocol):
    """A dialect's answer in one piece."""

    media_type: str

    def whole(self, completed: Completed) -> bytes:
        """The body."""
        ...


class ClientDisconnectedError(Exception):
    """The client went away before its answer was complete; nobody is left to be told."""


async def unless_disconnected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run `work`, and cancel it the moment the client goes away. Raises `ClientDisconnectedError` then.

    Returns only after `work` has wound up, so that a generator within it is closed by then.
    """
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnectedError
    finally:
        for each in (task, watcher):
            if not each.done():
                each.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)
    task.result()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Recorder:
    """Notes what passes by in the request's facts, and turns failed finishes into errors."""

    def __init__(self, facts: RequestFacts, num_samples: int) -> None:
        self._facts = facts
        self._num_samples = num_samples

    def accepted(self, chunk: Accepted) -> None:
        self._facts.num_prompt_tokens = sum(chunk.num_prompt_tokens)
        self._facts.num_output_tokens = 0
        self._facts.num_cached_tokens = 0

    def delta(self, chunk: Delta) -> None:
        facts = self._facts
        facts.num_output_tokens = (facts.num_output_tokens or 0) + len(chunk.token_ids)
        if chunk.finish is None:
            return
        facts.finish_reasons.append(chunk.finish.reason.value)
        if chunk.index % self._num_samples == 0:
            facts.num_cached_tokens = (facts.num_cached_tokens or 0) + chunk.finish.timings.num_cached_tokens
        if chunk.finish.reason in (FinishReason.ABORT, FinishReason.ERROR):
            raise EngineFailedError("The engine gave up this request before it was complete.", next_step="Try again.")


def in_dialect(error: RequestError, renamed: Mapping[str, str]) -> RequestError:
    """`error` with the name of its field as the client wrote it, in `param` and in the message."""
    ours = error.param
    if ours is None or ours not in renamed:
        return error
    error.param = renamed[ours]
    error.message = re.sub(rf"\b{re.escape(ours)}\b", error.param, error.message)
    return error


class _GenerationResponse(Response, ABC):
    """What both kinds of answer share: the first chunk decides the status, and a client that leaves ends the work."""

    def __init__(
        self,
        chunks: AsyncGenerator[GenerationChunk, None],
        *,
        num_samples: int,
        facts: RequestFacts,
        renamed: Mapping[str, str],
    ) -> None:
        self._chunks = chunks
        self._num_samples = num_samples
        self._facts = facts
        self._renamed = renamed

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Serve it. Raises what the backend raised before the first chunk."""
        await unless_disconnected(receive, self._serve(send))

    async def _serve(self, send: Send) -> None:
        async with contextlib.aclosing(self._chunks):
            try:
                accepted = await anext(self._chunks)
            except RequestError as error:
                raise in_dialect(error, self._renamed) from None
            assert isinstance(accepted, Accepted), accepted
            recorder = _Recorder(self._facts, self._num_samples)
            recorder.accepted(accepted)
            await self._answer(accepted, recorder, send)

    async def _deltas(self, recorder: _Recorder) -> AsyncGenerator[Delta, None]:
        async for chunk in self._chunks:
            assert isinstance(chunk, Delta), chunk
            recorder.delta(chunk)
            yield chunk

    @abstractmethod
    async def _answer(self, accepted: Accepted, recorder: _Recorder, send: Send) -> None:
        """Send the answer to what was accepted."""


class StreamedResponse(_GenerationResponse):
    """Sends every delta as it comes. Headers go out once the backend has accepted; a later error is the last event."""

    def __init__(
        self,
        chunks: AsyncGenerator[GenerationChunk, None],
        renderer: StreamRenderer,
        *,
        num_samples: int,
        facts: RequestFacts,
        renamed: Mapping[str, str],
    ) -> None:
        super().__init__(chunks, num_samples=num_samples, facts=facts, renamed=renamed)
        self._renderer = renderer

    async def _answer(self, accepted: Accepted, recorder: _Recorder, send: Send) -> None:
        renderer = self._renderer
        headers = [
            (b"content-type", renderer.media_type.encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            if opening := renderer.begin(accepted):
                await _send_more(send, opening)
            async with contextlib.aclosing(self._deltas(recorder)) as deltas:
                async for delta in deltas:
                    if piece := renderer.delta(delta):
                        await _send_more(send, piece)
            closing = renderer.end()
        except TidemillError as error:
            self._facts.error = type(error).__name__
            closing = renderer.error(error)
        except Exception as error:
            self._facts.error = type(error).__name__
            log.exception("a stream failed", extra={"fields": {"request_id": self._facts.request_id}})
            closing = renderer.error(InternalError())
        await self._chunks.aclose()
        await send({"type": "http.response.body", "body": closing, "more_body": False})


class WholeResponse(_GenerationResponse):
    """Collects every delta, then answers in one piece."""

    def __init__(
        self,
        chunks: AsyncGenerator[GenerationChunk, None],
        renderer: WholeRenderer,
        *,
        num_samples: int,
        facts: RequestFacts,
        renamed: Mapping[str, str],
    ) -> None:
        super().__init__(chunks, num_samples=num_samples, facts=facts, renamed=renamed)
        self._renderer = renderer

    async def _answer(self, accepted: Accepted, recorder: _Recorder, send: Send) -> None:
        sequences = tuple(SequenceText() for _ in range(len(accepted.num_prompt_tokens) * self._num_samples))
        async with contextlib.aclosing(self._deltas(recorder)) as deltas:
            async for delta in deltas:
                sequences[delta.index].add(delta)
        body = self._renderer.whole(Completed(accepted, sequences))
        headers = [(b"content-type", self._renderer.media_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


async def _send_more(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
    # Neither a send with room nor a backend with something buffered gives way: other streams would wait, and a client
    # that has left would not be noticed.
    await asyncio.sleep(0)
