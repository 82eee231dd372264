"""A model opened for one person at a terminal: an engine client of its own, driven from ordinary blocking code.

The event loop runs in a thread, so that a prompt can wait for input and Ctrl-C stops an answer, not the engine.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Self, TypeVar

from tidemill.config.settings import Settings
from tidemill.core.backend import Backend, ModelInfo
from tidemill.core.requests import GenerationChunk, GenerationRequest
from tidemill.engine.client.client import EngineClient
from tidemill.engine.client.events import EngineEvent, LoadProgress
from tidemill.models.weights.hub import resolve_model
from tidemill.text.model_text import ModelText

T = TypeVar("T")
Progress = Callable[[str, float | None], None]
"""Told the stage of loading and its fraction (None: not known)."""


class Session:
    """One model, loaded on entry and gone on exit. One generation at a time."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self._settings = settings
        self._progress = progress
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="session", daemon=True)
        self._client: EngineClient | None = None

    def __enter__(self) -> Self:
        """Load the model. Raises `SetupError` if it cannot be had or does not fit."""
        model = self._settings.model
        folder = resolve_model(
            model.model,
            revision=model.revision,
            offline=model.offline,
            progress=lambda stage: self._progress(stage, None),
        )
        text = ModelText.load(folder)
        self._thread.start()
        try:
            self._client = EngineClient(self._settings, folder, text, on_event=self._on_event)
            self._wait(self._client.start())
            self._wait(self._client.wait_ready())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the engine."""
        self.close()

    @property
    def backend(self) -> Backend:
        """The engine client; its coroutines belong to the session's own loop."""
        assert self._client is not None, "not entered"
        return self._client

    @property
    def model(self) -> ModelInfo:
        """The model as it is served."""
        return self.backend.models()[0]

    def generate(self, request: GenerationRequest) -> Generator[GenerationChunk, None, None]:
        """The request's chunks. Leaving the iteration early, by Ctrl-C too, aborts the request."""
        stream = _Stream(self.backend.generate(request))
        try:
            while (chunk := self._wait(stream.next())) is not None:
                yield chunk
        finally:
            self._wait(stream.close())

    def close(self) -> None:
        """Stop the engine and the loop. Safe to call twice."""
        if self._client is not None:
            self._wait(self._client.stop())
            self._client = None
        if self._thread.is_alive():
            self._wait(_cancel_others())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        if not self._loop.is_closed():
            self._loop.close()

    def _on_event(self, event: EngineEvent) -> None:
        if isinstance(event, LoadProgress):
            self._progress(event.stage, event.fraction)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _cancel_others() -> None:
    """End what an interrupted wait has left on the loop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class _Stream:
    """A generator on the loop that can be closed while a chunk of it is awaited."""

    def __init__(self, chunks: AsyncGenerator[GenerationChunk, None]) -> None:
        self._chunks = chunks
        self._next: asyncio.Future[GenerationChunk | None] | None = None

    async def next(self) -> GenerationChunk | None:
        self._next = asyncio.ensure_future(self._take())
        return await self._next

    async def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._chunks.aclose()

    async def _take(self) -> GenerationChunk | None:
        return await anext(self._chunks, None)
