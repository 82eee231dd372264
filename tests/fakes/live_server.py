"""A real `tidemill serve` in a process of its own, for tests that speak to it from outside."""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

READY_WITHIN_SECONDS = 120.0


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class LiveServer:
    """A running server: its address, its process, and every line it has printed so far."""

    url: str
    port: int
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    _arrivals: "queue.Queue[str | None]" = field(default_factory=queue.Queue)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._arrivals.put(line)
        self._arrivals.put(None)

    def wait_for_line(self, needle: str, seconds: float = READY_WITHIN_SECONDS) -> None:
        """Return once a line with `needle` was printed; fail with the whole output if the process ended before."""
        while True:
            try:
                line = self._arrivals.get(timeout=seconds)
            except queue.Empty:
                raise AssertionError(f"no {needle!r} within {seconds} s:\n" + "\n".join(self.lines)) from None
            if line is None:
                raise AssertionError(f"the server ended before {needle!r}:\n" + "\n".join(self.lines))
            if needle in line:
                return

    def terminate(self, seconds: float = 60.0) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def engine_pid(self) -> int:
        """The process id of the server's engine: its only child that runs `tidemill.engine.core`."""
        import psutil

        for child in psutil.Process(self.process.pid).children(recursive=True):
            if "tidemill.engine.core" in " ".join(child.cmdline()):
                return child.pid
        raise AssertionError("no engine process:\n" + "\n".join(self.lines))


@contextlib.contextmanager
def live_server(
    *args: str,
    port: int | None = None,
    cwd: Path | None = None,
    wait: bool = True,
    **environment: str,
) -> Iterator[LiveServer]:
    """`tidemill serve ARGS` until the block ends; ready on entry unless `wait` is false."""
    port = port or free_port()
    command = [sys.executable, "-m", "tidemill", "serve", *args, "--port", str(port)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    server = LiveServer(f"http://127.0.0.1:{port}", port, process)
    reader = threading.Thread(target=server._read, daemon=True)
    reader.start()
    try:
        if wait:
            server.wait_for_line("curl ")
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        reader.join(5)
