"""Silence judged in virtual time: stalls, deaths, hung loops, long loads, and watchers that were asleep."""

import pytest

from tests.fakes.fake_engine import INFO
from tidemill.config.settings import EngineSettings
from tidemill.core.clock import VirtualClock
from tidemill.engine.client.backoff import Backoff
from tidemill.engine.client.vitals import Verdict, Vitals
from tidemill.engine.protocol import Heartbeat, Loading, Ready


def beat(age: float = 0.0) -> Heartbeat:
    return Heartbeat(epoch=1, loop_age_seconds=age)


class Watch:
    """Vitals, ticked as the supervisor does."""

    def __init__(self) -> None:
        self.clock = VirtualClock(1000.0)
        self.vitals = Vitals(EngineSettings(), self.clock)

    def pass_seconds(self, seconds: float, *, frame: Heartbeat | Loading | None = None) -> Verdict:
        """Let time pass, with ticks, and with `frame` heard at each of them if there is one."""
        end = self.clock() + seconds
        verdict = self.vitals.tick()
        while self.clock() < end - 1e-9:
            self.clock.advance(min(self.vitals.tick_seconds, end - self.clock()))
            if frame is not None:
                self.vitals.heard(frame)
            verdict = self.vitals.tick()
        return verdict


def test_heartbeats_keep_an_engine_alive_for_ever() -> None:
    assert Watch().pass_seconds(3600.0, frame=beat()) is Verdict.ALIVE


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(4.9, Verdict.ALIVE), (5.0, Verdict.STALLED), (29.9, Verdict.STALLED), (30.0, Verdict.DEAD)],
)
def test_silence_is_a_stall_and_then_a_death(seconds: float, verdict: Verdict) -> None:
    assert Watch().pass_seconds(seconds) is verdict


def test_a_frame_ends_a_stall() -> None:
    watch = Watch()
    assert watch.pass_seconds(20.0) is Verdict.STALLED
    watch.vitals.heard(beat())
    assert watch.vitals.verdict() is Verdict.ALIVE


def test_a_long_step_is_no_stall_but_a_hung_loop_is_a_death() -> None:
    watch = Watch()
    for second in range(30):
        assert watch.pass_seconds(1.0, frame=beat(float(second))) is Verdict.ALIVE
    assert watch.pass_seconds(1.0, frame=beat(30.0)) is Verdict.DEAD


def test_a_loop_that_turns_again_is_forgiven() -> None:
    watch = Watch()
    watch.vitals.heard(beat(29.0))
    watch.vitals.heard(beat(0.0))
    assert watch.pass_seconds(4.0) is Verdict.ALIVE


def test_a_long_load_is_no_death() -> None:
    loading = Loading(epoch=1, stage="loading weights", fraction=0.1)
    assert Watch().pass_seconds(600.0, frame=loading) is Verdict.ALIVE


def test_an_age_below_zero_counts_as_none() -> None:
    watch = Watch()
    watch.vitals.heard(beat(-100.0))
    assert watch.vitals.loop_age_seconds == 0.0


def test_time_in_which_nobody_watched_is_not_held_against_the_engine() -> None:
    watch = Watch()
    watch.vitals.heard(Ready(epoch=1, info=INFO))
    watch.pass_seconds(2.0, frame=beat())
    watch.clock.advance(3600.0)
    assert watch.vitals.tick() is Verdict.ALIVE
    assert watch.pass_seconds(30.0) is Verdict.DEAD


def test_backoff_doubles_to_a_minute() -> None:
    backoff = Backoff(1.0, VirtualClock())
    assert [backoff.died() for _ in range(8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_backoff_is_reset_by_a_minute_of_health_and_by_no_less() -> None:
    clock = VirtualClock()
    backoff = Backoff(1.0, clock)
    backoff.died()
    backoff.ready()
    clock.advance(59.0)
    assert backoff.died() == 2.0
    backoff.ready()
    clock.advance(60.0)
    assert backoff.died() == 1.0
