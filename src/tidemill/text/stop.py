"""Finds stop strings in text that arrives in pieces. Owns the text held back because it may be the start of one."""

from collections.abc import Sequence as Seq


class StopMatcher:
    """Emits text up to the earliest stop string. After a match it emits nothing more.

    The earliest match is the one that ends first, as if the text arrived a character at a time; of those that end
    together the longest (it starts first). Work per character is bounded by the longest stop string times their number.
    """

    def __init__(self, stops: Seq[str], include_stop: bool) -> None:
        assert all(stops), "an empty stop string matches everywhere"
        self._stops = tuple(dict.fromkeys(stops))
        self._include_stop = include_stop
        self._max_length = max((len(stop) for stop in self._stops), default=0)
        self._held = ""
        self._matched = False

    def push(self, text: str) -> tuple[str, str | None]:
        """The text that `text` settles, and the stop string if one is complete."""
        if self._matched or not self._stops:
            return ("" if self._matched else text), None
        self._held += text
        if (match := self._first_match()) is not None:
            start, stop = match
            settled = self._held[: start + len(stop)] if self._include_stop else self._held[:start]
            self._held, self._matched = "", True
            return settled, stop
        cut = len(self._held) - self._num_held_back()
        settled, self._held = self._held[:cut], self._held[cut:]
        return settled, None

    def flush(self) -> str:
        """The text still held back, at the end of a sequence that no stop string ended."""
        held, self._held = self._held, ""
        return held

    def _first_match(self) -> tuple[int, str] | None:
        found = [(start, stop) for stop in self._stops if (start := self._held.find(stop)) >= 0]
        return min(found, key=lambda match: (match[0] + len(match[1]), match[0]), default=None)

    def _num_held_back(self) -> int:
        """Length of the longest end of the text that some stop string starts with."""
        longest = min(len(self._held), self._max_length - 1)
        for size in range(longest, 0, -1):
            tail = self._held[-size:]
            if any(stop.startswith(tail) for stop in self._stops):
                return size
        return 0
