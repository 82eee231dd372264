"""Whether an engine is alive, judged by what was heard from it. Pure: told of frames and ticks, it reads a clock.

It sends nothing and kills nothing; `supervisor.py` acts on its verdict.
"""

import enum

from tidemill.config.settings import EngineSettings
from tidemill.core.clock import Clock
from tidemill.engine.protocol import FromEngine, Heartbeat


class Verdict(enum.Enum):
    """What the silence of an engine means."""

    ALIVE = "alive"
    STALLED = "stalled"
    DEAD = "dead"


class Vitals:
    """The silence of one engine.

    Two ages are kept: of the last frame, and of the last turn of the engine's loop as its heartbeats tell it. A long
    step or a long load is no stall: a loop that does not turn only counts once its turn is as old as a dead engine.
    Time during which nobody watched (this process was stopped, or its event loop busy) is not held against the engine.
    """

    def __init__(self, settings: EngineSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        now = clock()
        self._last_heard = now
        self._last_turn = now
        self._last_tick = now

    @property
    def tick_seconds(self) -> float:
        """How often `tick` wants to be called: often enough that a stall is seen soon after its threshold."""
        return min(self._settings.heartbeat_seconds, self._settings.stalled_after_seconds / 10.0, 1.0)

    def heard(self, frame: FromEngine) -> None:
        """A frame arrived."""
        now = self._clock()
        self._last_heard = now
        age = frame.loop_age_seconds if isinstance(frame, Heartbeat) else 0.0
        self._last_turn = max(self._last_turn, now - max(age, 0.0))

    def tick(self) -> Verdict:
        """Note that somebody watches, and judge."""
        now = self._clock()
        blind = now - self._last_tick - 2.0 * self.tick_seconds
        if blind > 0.0:
            self._last_heard = min(now, self._last_heard + blind)
            self._last_turn = min(now, self._last_turn + blind)
        self._last_tick = now
        return self.verdict()

    def verdict(self) -> Verdict:
        """Judge by what is known now."""
        if max(self.silence_seconds, self.loop_age_seconds) >= self._settings.dead_after_seconds:
            return Verdict.DEAD
        if self.silence_seconds >= self._settings.stalled_after_seconds:
            return Verdict.STALLED
        return Verdict.ALIVE

    def cause_of_death(self) -> str:
        """Why it counts as dead, for whoever reads how it ended."""
        if self.silence_seconds >= self._settings.dead_after_seconds:
            return f"it was silent for {self.silence_seconds:.0f} s and was killed"
        return f"its loop hung for {self.loop_age_seconds:.0f} s and it was killed"

    @property
    def silence_seconds(self) -> float:
        """Time since the last frame."""
        return self._clock() - self._last_heard

    @property
    def loop_age_seconds(self) -> float:
        """Time since the engine's loop last got somewhere, as far as this side knows."""
        return self._clock() - self._last_turn
