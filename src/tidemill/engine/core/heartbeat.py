"""The thread that says the engine is alive, and how long ago its loop last got somewhere."""

import threading
from collections.abc import Callable
from typing import Protocol

from tidemill.core.clock import Clock
from tidemill.engine.core.channel import PeerGoneError
from tidemill.engine.protocol import FromEngine, Heartbeat


class Sender(Protocol):
    """Where heartbeats go."""

    def send(self, frame: FromEngine) -> None:
        """Send a frame. Raises `PeerGoneError`."""
        ...


class Pulse:
    """When the loop last got somewhere. Written by the loop, read by the heartbeat; each field is one atomic store.

    A loop that loads or waits for work rests: its age is 0 however long that takes.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turned_at: float | None = None

    def turn(self) -> None:
        """The loop begins a turn."""
        self._turned_at = self._clock()

    def beat(self) -> None:
        """The turn goes on and has got somewhere: a long step is no hang as long as its layers follow one another."""
        if self._turned_at is not None:
            self._turned_at = self._clock()

    def rest(self) -> None:
        """The loop waits, which may take any time."""
        self._turned_at = None

    def age_seconds(self) -> float:
        """Since when the present turn has got nowhere; 0 at rest."""
        turned_at = self._turned_at
        return 0.0 if turned_at is None else max(0.0, self._clock() - turned_at)


class HeartbeatThread:
    """Sends a heartbeat at once and then at intervals, from before the model loads to the end of the process.

    `on_peer_gone` is called on this thread when nobody listens any more; the loop may be deep in a load or a step.
    """

    def __init__(
        self, channel: Sender, epoch: int, interval_seconds: float, pulse: Pulse, on_peer_gone: Callable[[], None]
    ) -> None:
        self._channel = channel
        self._epoch = epoch
        self._interval_seconds = interval_seconds
        self._pulse = pulse
        self._on_peer_gone = on_peer_gone
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the last heartbeat to be out."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._channel.send(Heartbeat(epoch=self._epoch, loop_age_seconds=self._pulse.age_seconds()))
            except PeerGoneError:
                self._on_peer_gone()
                return
            if self._stopped.wait(self._interval_seconds):
                return
