"""The process that compiles the larger half of the kernels at a first start, while the engine compiles the other.

It is a help and never a need: what it has not left in Numba's cache, the engine compiles itself.
"""

import contextlib
import os
import subprocess
import sys
from types import TracebackType

import torch

from tidemill.config.settings import KVPrecision, Precision
from tidemill.runner.devices import usable_cores

COMMAND = (sys.executable, "-P", "-m", "tidemill.kernels.cpu.first_stack")
MOST_SECONDS = 120.0
"""Longest wait for it; a slow machine takes one minute."""


class CompilingAhead:
    """Use it as a context: whatever still runs at its end is killed. `wait` for what it was started for."""

    def __init__(self, command: tuple[str, ...] | None) -> None:
        """None starts nothing."""
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def choose(cls, device: torch.device, precision: Precision, kv_precision: KVPrecision) -> "CompilingAhead":
        """One that starts something at the first start of a CPU that may multiply integers, with a core to spare."""
        if device.type != "cpu" or precision not in ("auto", "int8", "int4") or usable_cores() < 2:
            return cls(None)
        from tidemill.kernels.cpu.first_stack import is_needed

        # Keys and values are bf16 under integer weights, unless something else is asked for.
        return cls((*COMMAND, "bf16" if kv_precision == "auto" else kv_precision) if is_needed() else None)

    def __enter__(self) -> "CompilingAhead":
        if self._command is not None:
            with contextlib.suppress(OSError):
                self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def is_started(self) -> bool:
        """Whether there is anything to wait for."""
        return self._process is not None

    def wait(self) -> None:
        """Until it is done, or takes too long."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(MOST_SECONDS)
