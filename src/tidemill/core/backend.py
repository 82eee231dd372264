"""The one seam: whatever answers a `GenerationRequest`. Nothing above it knows what is below."""

import enum
from collections.abc import AsyncGenerator
from typing import Protocol

import msgspec

from tidemill.core.quantization import Quantization
from tidemill.core.requests import GenerationChunk, GenerationRequest


class BackendState(enum.Enum):
    """Where a backend is in its life. Only READY takes requests."""

    STARTING = "starting"
    READY = "ready"
    STALLED = "stalled"
    RESTARTING = "restarting"
    DRAINING = "draining"
    STOPPED = "stopped"


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A state and one sentence about it, for `/ready` and the log."""

    state: BackendState
    detail: str

    @property
    def is_ready(self) -> bool:
        """Whether a request sent now would be taken."""
        return self.state is BackendState.READY


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A served model as its users see it. `names` are the names it answers to; the first is the canonical one."""

    names: tuple[str, ...]
    created_unix_seconds: int
    max_model_len: int
    architecture: str
    family: str
    num_parameters: int
    weight_bytes: int
    precision: str
    precision_reason: str = ""
    """Why this precision was chosen, in words."""
    quantization: Quantization | None = None
    """Set if the weights are integers."""
    kv_precision: str = ""
    """Type of keys and values in the cache; empty where nothing is kept."""
    vocab_size: int
    chat_template: str | None
    digest: str
    """Hex SHA-256 that identifies the weights and the tokenizer."""
    license: str | None = None
    numerics_fingerprint: str | None = None
    """Names the arithmetic: backends with the same one give the same tokens."""
    default_sampling: dict[str, float | int] = {}
    """Defaults of the model's own generation_config.json (temperature, top_k, top_p, min_p, repetition_penalty)."""


class Backend(Protocol):
    """Something that generates."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationChunk, None]:
        """Answer `request`: one `Accepted`, then `Delta`s until every sequence has its `finish`.

        Closing the generator aborts what is still running. Raises any `RequestError` before the first chunk, and any
        `ServiceError` before it or in mid-stream: so does a request of which a sequence fails, and no finish says that
        one was aborted or failed.
        """
        ...

    def health(self) -> Health:
        """The state now; cheap, never blocks."""
        ...

    def models(self) -> tuple[ModelInfo, ...]:
        """What is served. Empty until the backend has been ready once."""
        ...
