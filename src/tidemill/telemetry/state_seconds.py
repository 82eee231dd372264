"""How long the service has been in each state, to the moment somebody asks: availability by its own definition."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tidemill.core.backend import BackendState
from tidemill.core.clock import Clock


class StateSeconds(Collector):
    """A sum a state, from the start of this process on. Available is `ready`: a request sent then is taken."""

    def __init__(self, model_name: str, clock: Clock) -> None:
        self._model_name = model_name
        self._clock = clock
        self._seconds = dict.fromkeys(BackendState, 0.0)
        self._state = BackendState.STARTING
        self._since = clock()

    def enter(self, state: BackendState) -> None:
        """The service is in `state` from now on."""
        self._settle()
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """One sample a state."""
        self._settle()
        family = CounterMetricFamily(
            "tidemill_service_seconds",
            "Time since the server began, by the state it was in; requests are taken in the state ready only.",
            labels=["model_name", "state"],
        )
        for state, seconds in self._seconds.items():
            family.add_metric([self._model_name, state.value], seconds)
        yield family

    def _settle(self) -> None:
        now = self._clock()
        self._seconds[self._state] += now - self._since
        self._since = now
