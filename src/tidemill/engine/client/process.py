"""The engine's process: started with one end of a socket pair, its standard error logged, killed at the end.

No path, no port and no file is needed, so nothing has to be cleaned up and nobody else can connect.
"""

import asyncio
import collections
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence as Seq

logger = logging.getLogger(__name__)

ENGINE_COMMAND = (sys.executable, "-P", "-m", "tidemill.engine.core")
_MAX_LINE_BYTES = 8192
_NUM_LAST_LINES = 20
_LOG_GRACE_SECONDS = 1.0
_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}


class EngineProcess:
    """A running engine process and our end of its socket.

    It lives in a session of its own, so that Ctrl-C at a terminal reaches only us and we decide when it ends. If we
    die without deciding, the engine sees the end of its socket and exits by itself.
    """

    def __init__(self, process: asyncio.subprocess.Process, sock: socket.socket) -> None:
        self._process = process
        self.sock = sock
        self._last_lines: collections.deque[str] = collections.deque(maxlen=_NUM_LAST_LINES)
        self._log_task = asyncio.create_task(self._log_stderr(), name="engine-stderr")

    @classmethod
    async def spawn(cls, command: Seq[str] = ENGINE_COMMAND) -> "EngineProcess":
        """Start `command --socket-fd N`. Raises OSError if it cannot be started."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                "--socket-fd",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                limit=_MAX_LINE_BYTES,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, ours)

    @property
    def pid(self) -> int:
        """The engine's process id."""
        return self._process.pid

    async def wait(self) -> str:
        """Wait for the process to end, and say in a few words how it did."""
        code = await self._process.wait()
        # Bounded, because a child of the engine may still hold its standard error; not awaited, so that a cancelled
        # waiter does not cancel it.
        await asyncio.wait({self._log_task}, timeout=_LOG_GRACE_SECONDS)
        return describe_exit(code, tuple(self._last_lines))

    async def kill(self) -> str:
        """SIGKILL the process and what it started, which works on stopped ones too, and wait for it."""
        # Once it has been waited for, its number may be somebody else's.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        ended = await self.wait()
        self._log_task.cancel()
        return ended

    async def _log_stderr(self) -> None:
        """Log the engine's standard error by lines of bounded length, and remember the last few."""
        stream = self._process.stderr
        assert stream is not None
        while True:
            try:
                data = await stream.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                data = error.partial
                if not data:
                    return
            except asyncio.LimitOverrunError as error:
                data = await stream.readexactly(min(max(error.consumed, 1), _MAX_LINE_BYTES))
            line = data.decode("utf-8", "replace").rstrip()
            if line:
                self._last_lines.append(line)
                level, _, rest = line.partition(" ")
                logger.log(_LEVELS.get(level, logging.INFO), "engine: %s", rest if level in _LEVELS else line)


def describe_exit(code: int, last_lines: Seq[str]) -> str:
    """How a process ended, with the last thing it said if it failed."""
    if code == 0:
        return "it exited"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"it was ended by {name}"
    said = next((line for line in reversed(last_lines) if line.strip()), None)
    return f"it exited with status {code}" + (f" after saying: {said[:300]}" if said else "")
