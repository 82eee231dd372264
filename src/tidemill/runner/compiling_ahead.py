"""The process that compiles the larger half of the kernels at a first start, while the engine compiles the other.

It is a help and never a need: what it has not left in Numba's cache, the engine compiles itself. What is told of the
compiling is here too.
"""

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import IO

import torch

from tidemill.config.settings import KVPrecision, Precision
from tidemill.runner.devices import usable_cores

COMMAND = (sys.executable, "-P", "-m", "tidemill.kernels.cpu.first_stack")
MOST_SECONDS = 120.0
"""Longest wait for it; a slow machine takes one minute."""
LEAST_SPARE_BYTES = 2**30
"""With less beside the weights nothing is started: its imports alone take 280 MiB."""
_MOST_WORDS = 300
_log = logging.getLogger(__name__)


class CompilingAhead:
    """Use it as a context: whatever still runs at its end is killed. `wait` for what it was started for.

    The process holds one end of a pipe to us, and ends itself when ours is closed, however we die.
    """

    def __init__(self, command: tuple[str, ...] | None) -> None:
        """None starts nothing."""
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._open = contextlib.ExitStack()
        self._is_late = False

    @classmethod
    def choose(
        cls, device: torch.device, precision: Precision, kv_precision: KVPrecision, *, spare_bytes: int | None
    ) -> "CompilingAhead":
        """One that starts something at the first start of a CPU that may multiply integers, with a core to spare.

        `spare_bytes` is what memory there is beside the weights, None if nobody knows.
        """
        if device.type != "cpu" or precision not in ("auto", "int8", "int4") or usable_cores() < 2:
            return cls(None)
        if spare_bytes is not None and spare_bytes < LEAST_SPARE_BYTES:
            return cls(None)
        from tidemill.kernels.cpu.first_stack import is_needed

        # Keys and values are bf16 under integer weights, unless something else is asked for.
        return cls((*COMMAND, "bf16" if kv_precision == "auto" else kv_precision) if is_needed() else None)

    def __enter__(self) -> "CompilingAhead":
        if self._command is not None:
            with contextlib.suppress(OSError), contextlib.ExitStack() as opening:
                # A file, as a pipe that nobody reads while kernels are compiled would fill and stop it.
                self._said = opening.enter_context(tempfile.TemporaryFile())
                process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=self._said,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                )
                self._process = opening.enter_context(process)
                self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._open:
            if self._process is None:
                return
            if (trouble := self._trouble(self._process)) is not None:
                _log.warning("What compiles kernels ahead %s. They are compiled here, which takes longer.", trouble)
            self._process.kill()

    def _trouble(self, process: "subprocess.Popen[bytes]") -> str | None:
        if status := process.poll():
            return f"ended with status {status}" + self._last_words()
        return f"was not done after {MOST_SECONDS:.0f} s" + self._last_words() if self._is_late else None

    def _last_words(self) -> str:
        """The last line it has written to its standard error."""
        assert self._said is not None
        self._said.seek(-min(_MOST_WORDS, self._said.seek(0, os.SEEK_END)), os.SEEK_END)
        lines = self._said.read().decode("utf-8", "replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), None)
        return f" after saying: {said}" if said else ""

    @property
    def is_started(self) -> bool:
        """Whether there is anything to wait for."""
        return self._process is not None

    def told(self, device: torch.device) -> str | None:
        """What is said while kernels are compiled, and about how long it takes; None where next to nothing is."""
        if device.type != "cpu":
            return None
        if self.is_started:
            return "compiling kernels, this once: half a minute to a minute"
        from tidemill.kernels.cpu import numba_setup

        if not numba_setup.configure():
            return "compiling kernels, which cannot be kept: about a minute"
        return None if numba_setup.has_compiled() else "compiling kernels, this once: about a minute"

    def wait(self) -> None:
        """Until it is done, or takes too long."""
        if self._process is not None:
            try:
                self._process.wait(MOST_SECONDS)
            except subprocess.TimeoutExpired:
                self._is_late = True
