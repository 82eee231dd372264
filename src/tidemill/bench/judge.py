"""Judges the requests of one probe of a search: which count, how many met them all, when there is no hope left."""

from dataclasses import dataclass

from tidemill.bench.objectives import Objectives
from tidemill.bench.record import RequestRecord


@dataclass(slots=True)
class Judge:
    """Requests before `first_index`, and each user's first one, meet a server that is not loaded yet: not judged.

    `num_planned` requests are to be judged, and `target_ratio` of them must meet the objectives.
    """

    objectives: Objectives
    target_ratio: float
    first_index: int
    num_planned: int
    num_met: int = 0
    num_judged: int = 0

    def see(self, record: RequestRecord) -> None:
        """Judge a request that has ended. One that was cut short is not judged."""
        if record.index < self.first_index or record.is_first_of_user or record.is_cancelled:
            return
        self.num_judged += 1
        self.num_met += not self.objectives.missed(record)

    @property
    def is_hopeless(self) -> bool:
        """Whether the load fails however the rest may go."""
        return self.num_met + (self.num_planned - self.num_judged) < self.target_ratio * self.num_planned
