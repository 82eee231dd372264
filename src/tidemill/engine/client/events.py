"""Small facts about an engine's life, for whoever logs, counts or shows progress. A step's facts are `StepStats`."""

from dataclasses import dataclass

from tidemill.core.backend import BackendState
from tidemill.engine.protocol import EngineInfo


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The backend went into `state`; `detail` is one sentence."""

    state: BackendState
    detail: str


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """The engine is starting: `fraction` in 0..1 of the current `stage`."""

    stage: str
    fraction: float


@dataclass(frozen=True, slots=True)
class EngineLoaded:
    """An engine is ready. `start` is 1 for the first and grows by one with each restart."""

    start: int
    info: EngineInfo


@dataclass(frozen=True, slots=True)
class EngineDied:
    """An engine ended or was killed; `num_failed_requests` streams ended with an error because of it."""

    reason: str
    num_failed_requests: int
    restart_in_seconds: float | None
    """None if it will not be restarted."""


EngineEvent = StateChanged | LoadProgress | EngineLoaded | EngineDied
