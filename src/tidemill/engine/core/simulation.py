"""A whole trace in virtual time: the real scheduler over a runner on a `VirtualClock`, fed by arrivals, open loop.

For planning and tests. Nothing waits for real, and nothing but the steps takes time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tidemill.core.clock import VirtualClock
from tidemill.core.errors import OverloadedError
from tidemill.scheduler.batch import Runner
from tidemill.scheduler.outputs import SequenceFinish
from tidemill.scheduler.scheduler import Scheduler
from tidemill.scheduler.sequence import SequenceRequest


@dataclass(slots=True)
class SequenceRecord:
    """What became of one arrival. Times are on the virtual clock, one a token; `finish` is None for a refused one."""

    request: SequenceRequest
    token_ids: list[int] = field(default_factory=list)
    token_seconds: list[float] = field(default_factory=list)
    finish: SequenceFinish | None = None
    finished_seconds: float | None = None

    @property
    def was_refused(self) -> bool:
        """Whether the queue was full when it came."""
        return self.finish is None

    @property
    def time_to_first_token_seconds(self) -> float | None:
        """TTFT: the first token's time minus the arrival."""
        return self.token_seconds[0] - self.request.arrival if self.token_seconds else None


def simulate(
    scheduler: Scheduler, runner: Runner, arrivals: Iterable[SequenceRequest], clock: VirtualClock
) -> tuple[SequenceRecord, ...]:
    """Serve `arrivals` (each at its own `arrival`, which scheduler and runner share the clock of) to the end.

    Returns one record an arrival, in order of arrival.
    """
    records = {r.sequence_id: SequenceRecord(r) for r in sorted(arrivals, key=lambda r: r.arrival)}
    due = list(reversed([record.request for record in records.values()]))
    while due or scheduler.has_work:
        if not scheduler.has_work:
            clock.advance(max(0.0, due[-1].arrival - clock()))
        while due and due[-1].arrival <= clock():
            _offer(scheduler, due.pop())
        _step(scheduler, runner, records, clock)
    return tuple(records.values())


def _offer(scheduler: Scheduler, request: SequenceRequest) -> None:
    try:
        scheduler.add(request)
    except OverloadedError:
        return  # its record stays without a finish, which says so


def _step(scheduler: Scheduler, runner: Runner, records: dict[int, SequenceRecord], clock: VirtualClock) -> None:
    batch = scheduler.schedule()
    if batch is None:
        return
    started = clock()
    outputs = scheduler.update(batch, runner.launch(batch).result())
    scheduler.learn(clock() - started)
    for output in outputs:
        record = records[output.sequence_id]
        record.token_ids.extend(output.token_ids)
        record.token_seconds.extend([clock()] * len(output.token_ids))
        if output.finish is not None:
            record.finish = output.finish
            record.finished_seconds = clock()
