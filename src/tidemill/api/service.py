"""What every route needs, handed in once: the backend, the settings, clocks, and randomness for ids and seeds."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from tidemill.api.body import BodyReader
from tidemill.api.limits import KeyLimits
from tidemill.config.settings import ServerSettings
from tidemill.core.backend import Backend, ModelInfo
from tidemill.core.clock import Clock
from tidemill.core.errors import ModelNotFoundError, UnavailableError
from tidemill.core.objectives import Objectives

_SEED_BITS = 63
_ID_BITS = 96


@dataclass(frozen=True, slots=True)
class Service:
    """The surroundings of a route. `wall_clock` gives Unix seconds."""

    backend: Backend
    settings: ServerSettings
    clock: Clock
    wall_clock: Clock
    random: Random
    bodies: BodyReader
    footprint_in_answers: bool = False

    def new_id(self) -> str:
        """An identifier that no other request has."""
        return f"{self.random.getrandbits(_ID_BITS):024x}"

    def draw_seed(self) -> int:
        """A seed for a request that brought none."""
        return self.random.getrandbits(_SEED_BITS)

    def wants_footprint(self, asked: bool | None) -> bool:
        """Whether an answer says what it took: as asked for, else as the server is set."""
        return self.footprint_in_answers if asked is None else asked

    def now(self) -> datetime:
        """The time of day."""
        return datetime.fromtimestamp(self.wall_clock(), UTC)

    def models(self) -> tuple[ModelInfo, ...]:
        """What is served. Raises `UnavailableError` until something is."""
        models = self.backend.models()
        if not models:
            raise UnavailableError(f"No model is ready: {self.backend.health().detail}", retry_after_seconds=2.0)
        return models

    def model(self, name: str) -> ModelInfo:
        """The model that answers to `name`. Raises `ModelNotFoundError` with the names there are."""
        models = self.models()
        for info in models:
            if name in info.names:
                return info
        known = ", ".join(f"'{n}'" for info in models for n in info.names)
        raise ModelNotFoundError(
            f"The model '{name[:200]}' is not served here.", param="model", next_step=f"Served here: {known}."
        )


@dataclass(slots=True)
class RequestFacts:
    """What the access log tells about a request, filled in as it becomes known. Never holds prompt or output text."""

    request_id: str
    key: str | None = None
    cache_salt: str = ""
    tenant: str = ""
    limits: KeyLimits = field(default_factory=KeyLimits)
    reads_metrics: bool = True
    asked: Objectives | None = None
    """What the answer is to keep, if it asks for any tokens; None if it does not."""
    generation_id: str | None = None
    model: str | None = None
    num_prompt_tokens: int | None = None
    num_cached_tokens: int | None = None
    num_output_tokens: int | None = None
    finish_reasons: list[str] = field(default_factory=list)
    error: str | None = None
    refused_status: int | None = None
    """The status of an answer that was given below the application."""
    disconnected: bool = False
