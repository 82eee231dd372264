"""What a meter is: cumulative joules of something, and how they are known. `choice.py` says which one is used."""

from typing import Protocol

from tidemill.core.footprint import MeterKind


class Meter(Protocol):
    """Joules since some start, never falling."""

    @property
    def kind(self) -> MeterKind:
        """How the joules are known, and of what they are."""
        ...

    def joules(self) -> float | None:
        """The reading now; None if it cannot be had this time."""
        ...
