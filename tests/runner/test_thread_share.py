"""Threads are given up while their process waits for cores, and come back."""

from pathlib import Path

import pytest

from tidemill.core.clock import VirtualClock
from tidemill.runner.thread_share import (
    LEAST_HOLD_SECONDS,
    MOST_HOLD_SECONDS,
    WINDOW_SECONDS,
    ThreadShare,
    WaitingTime,
)


class Machine:
    """Steps of one window each; while `is_busy`, every thread beyond `free` cores waits half of the time."""

    def __init__(self, num_threads: int, *, free: int) -> None:
        self.clock = VirtualClock()
        self.num_threads, self.free, self.is_busy = num_threads, free, False
        self.waited: float | None = 0.0
        self.changes: list[int] = []
        self.share = ThreadShare(
            num_threads, clock=self.clock, waiting_time=lambda: self.waited, set_threads=self.set_threads
        )

    def set_threads(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self.changes.append(num_threads)

    def run(self, seconds: float) -> list[int]:
        """The numbers of threads of the steps."""
        seen = []
        for _ in range(round(seconds / WINDOW_SECONDS)):
            self.share.begin_step()
            seen.append(self.num_threads)
            self.clock.advance(WINDOW_SECONDS * 1.001)
            if self.is_busy and self.waited is not None:
                self.waited += WINDOW_SECONDS / 2 * max(0, self.num_threads - self.free)
        return seen


def test_a_quiet_machine_keeps_its_threads() -> None:
    machine = Machine(2, free=1)
    machine.run(10.0)
    assert machine.changes == []


def test_threads_go_while_cores_are_taken_and_come_back() -> None:
    machine = Machine(2, free=1)
    machine.is_busy = True
    machine.run(1.0)
    assert machine.num_threads == 1
    machine.is_busy = False
    machine.run(4 * LEAST_HOLD_SECONDS)
    assert machine.num_threads == 2


def test_trying_again_costs_little_however_long_it_lasts() -> None:
    machine = Machine(2, free=1)
    machine.is_busy = True
    machine.run(30.0)
    seen = machine.run(60.0)
    assert seen.count(2) <= 60.0 / MOST_HOLD_SECONDS + 1
    assert seen.count(2) >= 1


def test_of_many_threads_a_few_go() -> None:
    machine = Machine(32, free=26)
    machine.is_busy = True
    machine.run(9 * WINDOW_SECONDS)
    assert machine.changes[:2] == [28, 25]


@pytest.mark.parametrize("waited", [None, 0.0])
def test_a_system_that_tells_nothing_changes_nothing(waited: float | None) -> None:
    machine = Machine(2, free=1)
    machine.waited = waited
    machine.share = ThreadShare(
        2, clock=machine.clock, waiting_time=lambda: machine.waited, set_threads=machine.set_threads
    )
    machine.run(1.0)
    machine.waited = None
    machine.run(1.0)
    assert machine.changes == []


def test_waiting_is_summed_over_threads(tmp_path: Path) -> None:
    for task, text in (("7", "100 2500000000 3\n"), ("8", "5 500000000 1\n")):
        folder = tmp_path / "proc/self/task" / task
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(text)
    assert WaitingTime(tmp_path)() == 3.0
    (tmp_path / "proc/self/task/8/schedstat").unlink()
    assert WaitingTime(tmp_path)() is None
    assert WaitingTime(tmp_path / "nowhere")() is None
