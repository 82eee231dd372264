"""How many threads a step uses: all it was given, and fewer for a while when other processes want the same cores.

Threads meet after every product, so one that waits for a core holds up the others: beside a single busy process a step
of two threads takes from two to forty times as long as one of one thread. Numbers do not depend on the threads.
"""

from collections.abc import Callable
from pathlib import Path

from tidemill.core.clock import Clock

WINDOW_SECONDS = 0.1
"""Time over which waiting is looked at: many steps of a small model, a few of a large one."""
MOST_WAITING_RATIO = 0.25
"""Waiting for a core, summed over threads, as a share of the time, above which there are too many threads.

Two threads beside one busy process on two cores wait for about 0.7; what a machine does now and then stays below 0.2.
"""
LEAST_HOLD_SECONDS, MOST_HOLD_SECONDS = 0.25, 8.0
"""For how long fewer threads are used before all are tried again; doubled each time that they are too many again."""


class WaitingTime:
    """How long this process's threads were ready to run but had no core, as Linux counts it; `root` is proc's."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._tasks = root / "proc/self/task"

    def __call__(self) -> float | None:
        """Seconds since the threads began, over all of them; None where the system does not say."""
        total = 0
        try:
            tasks = list(self._tasks.iterdir())
        except OSError:
            return None
        for task in tasks:
            try:
                # Three numbers: time on a core, time waiting for one (both in nanoseconds), times on a core.
                total += int((task / "schedstat").read_bytes().split()[1])
            except FileNotFoundError:
                if not task.exists():
                    continue  # a thread that has just ended
                return None
            except (OSError, ValueError, IndexError):
                return None
        return total / 1e9


class ThreadShare:
    """Owns the number of threads; `begin_step` is called before each step and changes it through `set_threads`."""

    def __init__(
        self,
        num_threads: int,
        *,
        clock: Clock,
        waiting_time: Callable[[], float | None],
        set_threads: Callable[[int], None],
    ) -> None:
        self._most = self._current = num_threads
        self._clock = clock
        self._waiting_time = waiting_time
        self._set_threads = set_threads
        self._hold_seconds = LEAST_HOLD_SECONDS
        self._held_until = 0.0
        self._window_start = clock()
        self._waited = waiting_time()

    def begin_step(self) -> None:
        """Look back once in a window, and use fewer threads, or all again."""
        now = self._clock()
        elapsed = now - self._window_start
        if elapsed < WINDOW_SECONDS or self._waited is None:
            return
        before, self._waited, self._window_start = self._waited, self._waiting_time(), now
        if self._waited is None:
            return
        if self._waited - before > MOST_WAITING_RATIO * elapsed:
            self._shrink(now)
        elif self._current < self._most and now >= self._held_until:
            self._use(self._most)
        elif self._current == self._most:
            self._hold_seconds = LEAST_HOLD_SECONDS

    def _shrink(self, now: float) -> None:
        """Give up an eighth of the threads, at least one, and keep one."""
        self._held_until = now + self._hold_seconds
        if self._current == self._most:
            self._hold_seconds = min(2 * self._hold_seconds, MOST_HOLD_SECONDS)
        self._use(max(1, self._current - max(1, self._current // 8)))

    def _use(self, num_threads: int) -> None:
        if num_threads != self._current:
            self._current = num_threads
            self._set_threads(num_threads)
