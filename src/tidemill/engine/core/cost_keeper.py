"""What becomes of the cost model beside learning: the client is told of it now and then, and it is kept on disk.

Owns when; the model belongs to the scheduler, the file to the store.
"""

from tidemill.core.clock import Clock
from tidemill.cost.model import CostModel
from tidemill.cost.step_times import CostParameters
from tidemill.cost.store import CostStore

NEWS_SECONDS = 0.5
SAVE_SECONDS = 60.0


class CostKeeper:
    """One engine's. Nothing is written while there is work: only at rest, and at the end."""

    def __init__(self, model: CostModel, store: CostStore, clock: Clock) -> None:
        self._model = model
        self._store = store
        self._clock = clock
        self._told_at = self._saved_at = clock()
        self._num_saved = model.num_steps

    def news(self) -> CostParameters | None:
        """What the client should be told with this step; None most of the time."""
        now = self._clock()
        if not self._model.is_calibrated or now - self._told_at < NEWS_SECONDS:
            return None
        self._told_at = now
        return self._model.parameters()

    def rest(self) -> None:
        """There is nothing to compute: think over what was learnt, and keep it once a minute."""
        if self._clock() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Keep what was learnt since the last time. A disk that takes nothing is no reason to stop."""
        if self._model.num_steps == self._num_saved or not self._model.is_calibrated:
            return
        self._model.settle()
        self._saved_at, self._num_saved = self._clock(), self._model.num_steps
        self._store.save(self._model.memory())
