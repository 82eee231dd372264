"""The instruments of one server: its registry, and the recorders that turn facts into metrics, wired once."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from tidemill import __version__
from tidemill.config.settings import Settings
from tidemill.core.backend import Backend, BackendState
from tidemill.core.clock import Clock
from tidemill.core.errors import UnavailableError
from tidemill.core.objectives import Objectives
from tidemill.engine.client.model_info import names_of
from tidemill.engine.protocol import EngineInfo
from tidemill.telemetry.error_recorder import ErrorRecorder
from tidemill.telemetry.metrics import Metrics, render
from tidemill.telemetry.processes import ProcessMemoryCollector
from tidemill.telemetry.recorder import EngineRecorder, PromiseRecorder, RecordedBackend
from tidemill.telemetry.state_seconds import StateSeconds


class Instruments:
    """Every recorder of a server, on one registry. All counts live in this process: a new engine lowers none."""

    def __init__(self, settings: Settings, *, engine_pid: Callable[[], int | None], clock: Clock) -> None:
        self._clock = clock
        self.registry = CollectorRegistry()
        self.model_name = names_of(settings.model)[0]
        self._metrics = Metrics(self.registry, model_name=self.model_name, version=__version__)
        self._seconds = StateSeconds(self.model_name, clock)
        self.registry.register(self._seconds)
        self.registry.register(ProcessMemoryCollector(engine_pid))
        self._metrics.max_sequences("running").set(settings.scheduler.max_num_seqs)
        self._metrics.max_sequences("waiting").set(settings.scheduler.max_queue)
        self.engine = EngineRecorder(self._metrics)
        self.promises = PromiseRecorder(self._metrics, settings.slo)
        self.errors = ErrorRecorder(self._metrics)

    def over(self, backend: Backend) -> RecordedBackend:
        """`backend` with its requests counted."""
        return RecordedBackend(backend, self._metrics, self._clock)

    def refused(self, error: str, asked: Objectives | None) -> None:
        """No engine took a request, for an error of class `error`; it asked to keep `asked`, or for no tokens."""
        self.errors.refused(error, asks_for_tokens=asked is not None)
        if asked is not None and error == UnavailableError.__name__:
            # The engine's own client tells of what it refuses, and of these it cannot know while there is none.
            self.promises.unavailable(asked)

    def state(self, state: BackendState) -> None:
        """The service is in `state` now."""
        self.engine.state(state)
        self._seconds.enter(state)

    def loaded(self, info: EngineInfo) -> None:
        """An engine is ready."""
        self.engine.loaded(
            architecture=info.architecture,
            precision=info.precision,
            kv_precision=info.kv_precision,
            device=info.device,
        )

    def page(self) -> tuple[bytes, str]:
        """Everything as Prometheus reads it, and the media type of that."""
        return render(self.registry)
