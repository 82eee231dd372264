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


def _either(recorded: Callable[..., Any]) -> Callable[..., Any]:
    def generate(self: RecordedBackend, request: Any) -> Any:
        return recorded(self, request) if _TOLD[0] else self._backend.generate(request)

    return generate


_TELLING = (
    *((EnergyBooks, name) for name in ("stepped", "left")),
    *((Accounts, name) for name in ("opened", "yielded")),
    *((EngineRecorder, "step"), (PromiseRecorder, "outcome")),
)
for owner, name in _TELLING:
    setattr(owner, name, _switched(getattr(owner, name)))
setattr(RecordedBackend, "generate", _either(RecordedBackend.generate))  # noqa: B010 - a switch, not a definition
signal.signal(signal.SIGUSR1, _turn)
