"""Python runs this at the start of each process that has this folder on PYTHONPATH: telemetry with a switch.

A server and its engine that are sent SIGUSR1 leave out what is measured by step and by token, metrics, outcomes of
promises and books, and take it up again at the next one: what `telemetry_cost.py` compares.
"""

import signal
from collections.abc import Callable
from typing import Any

from tidemill.ledger.accounts import Accounts
from tidemill.ledger.books import EnergyBooks
from tidemill.telemetry.recorder import EngineRecorder, PromiseRecorder, RecordedBackend

_TOLD = [True]


def _turn(*_: object) -> None:
    _TOLD[0] = not _TOLD[0]


def _switched(method: Callable[..., None]) -> Callable[..., None]:
    def call(*args: Any) -> None:
        if _TOLD[0]:
            method(*args)

    return call


def _generate(self: RecordedBackend, request: Any, recorded: Any = RecordedBackend.generate) -> Any:
    return recorded(self, request) if _TOLD[0] else self._backend.generate(request)


signal.signal(signal.SIGUSR1, _turn)
EnergyBooks.stepped = _switched(EnergyBooks.stepped)  # type: ignore[method-assign]
EnergyBooks.left = _switched(EnergyBooks.left)  # type: ignore[method-assign]
Accounts.yielded = _switched(Accounts.yielded)  # type: ignore[method-assign]
Accounts.opened = _switched(Accounts.opened)  # type: ignore[method-assign]
EngineRecorder.step = _switched(EngineRecorder.step)  # type: ignore[method-assign]
PromiseRecorder.outcome = _switched(PromiseRecorder.outcome)  # type: ignore[method-assign]
RecordedBackend.generate = _generate  # type: ignore[method-assign]
