"""A backend that is not there yet: `/live` answers while the model's files are still on their way."""

from collections.abc import AsyncGenerator

from tidemill.core.backend import Backend, BackendState, Health, ModelInfo
from tidemill.core.errors import UnavailableError
from tidemill.core.requests import GenerationChunk, GenerationRequest


class DeferredBackend:
    """STARTING until `become` gives it the backend it stands for; DRAINING if it is told to end before that."""

    def __init__(self) -> None:
        self._backend: Backend | None = None
        self._health = Health(state=BackendState.STARTING, detail="The model's files are being fetched.")

    def become(self, backend: Backend) -> None:
        """From now on, be `backend`."""
        self._backend = backend

    def end(self) -> None:
        """The server stops before there was a backend."""
        self._health = Health(state=BackendState.DRAINING, detail="The server is stopping.")

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationChunk, None]:
        """See `Backend.generate`. Raises `UnavailableError` while there is no backend."""
        if self._backend is None:
            raise UnavailableError(self._health.detail, retry_after_seconds=2.0)
        chunks = self._backend.generate(request)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()

    def health(self) -> Health:
        """See `Backend.health`."""
        return self._health if self._backend is None else self._backend.health()

    def models(self) -> tuple[ModelInfo, ...]:
        """See `Backend.models`."""
        return () if self._backend is None else self._backend.models()
