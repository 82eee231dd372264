"""Progress of a long walk: plain lines where no terminal looks on, at times of a clock that the test turns."""

import io
from collections.abc import Sequence

from training.progress import EVERY_SECONDS, told


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def walk(out: io.StringIO, batches: Sequence[Sequence[int]], seconds_a_batch: float) -> list[list[int]]:
    now = [0.0]
    seen = []
    for batch in told(batches, "Questions", out=out, clock=lambda: now[0]):
        seen.append(list(batch))
        now[0] += seconds_a_batch
    return seen


def test_a_file_gets_a_line_at_the_beginning_now_and_then_and_at_the_end() -> None:
    out = io.StringIO()
    batches = [[1, 2], [3, 4], [5, 6], [7]]
    assert walk(out, batches, EVERY_SECONDS / 2) == batches
    assert out.getvalue().splitlines() == [
        "Questions: 7 to do",
        "Questions: 4 of 7 after 10 s",
        "Questions: 7 of 7 after 20 s",
    ]


def test_a_quick_walk_is_two_lines() -> None:
    out = io.StringIO()
    walk(out, [[item] for item in range(100)], 0.001)
    assert out.getvalue().splitlines() == ["Questions: 100 to do", "Questions: 100 of 100 after 0 s"]


def test_a_terminal_gets_a_bar_and_every_batch_comes() -> None:
    out = Terminal()
    assert walk(out, [[1, 2], [3]], 0.0) == [[1, 2], [3]]
    assert "to do" not in out.getvalue()
    assert "Questions" in out.getvalue()
