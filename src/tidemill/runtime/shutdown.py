"""Signals: the first asks to end in order, the second to end now."""

import asyncio
import signal
from types import TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ShutdownSignals:
    """Within its context, SIGTERM and SIGINT set `asked` and then `insisted`, and do nothing else."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()

    def __enter__(self) -> "ShutdownSignals":
        loop = asyncio.get_running_loop()
        for each in _SIGNALS:
            loop.add_signal_handler(each, self.receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for each in _SIGNALS:
            loop.remove_signal_handler(each)

    def receive(self) -> None:
        """One of the signals has come."""
        (self.insisted if self.asked.is_set() else self.asked).set()
