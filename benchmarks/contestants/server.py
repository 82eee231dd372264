"""One server under test: its process from the command line to the first answer, and what it holds in memory."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready."""

    url: str
    process: psutil.Process
    ready_seconds: float
    """From the command to the first probe that said it is ready."""

    def processes(self) -> list[psutil.Process]:
        """The server and all it has started."""
        return [self.process, *self.process.children(recursive=True)]

    def memory_bytes(self) -> dict[str, int]:
        """Bytes of all processes together: resident, theirs alone, and with shared pages shared out."""
        infos = [process.memory_full_info() for process in self.processes()]
        return {
            "resident": sum(info.rss for info in infos),
            "unique": sum(info.uss for info in infos),
            "proportional": sum(info.pss for info in infos),
        }


@contextlib.contextmanager
def started(
    command: list[str], port: int, ready_path: str, environment: dict[str, str], *, within_seconds: float
) -> Iterator[Running]:
    """Run `command` until the block ends; on entry `ready_path` answers 200. Raises RuntimeError."""
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as output, httpx.Client(trust_env=False) as client:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        try:
            while not _is_ready(client, url + ready_path):
                if process.poll() is not None or time.perf_counter() - begin > within_seconds:
                    output.seek(0)
                    raise RuntimeError(f"{' '.join(command)} was never ready:\n{output.read()[-4000:]}")
                time.sleep(POLL_SECONDS)
            yield Running(url, psutil.Process(process.pid), time.perf_counter() - begin)
        finally:
            _stop(process)


def first_token_seconds(url: str, model: str, prompt: str) -> float:
    """Seconds until the first piece of a streamed answer."""
    body = {"model": model, "prompt": prompt, "max_tokens": 2, "temperature": 0, "stream": True, "ignore_eos": True}
    begin = time.perf_counter()
    with (
        httpx.Client(trust_env=False, timeout=120) as client,
        client.stream("POST", f"{url}/v1/completions", json=body) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line.startswith("data:"):
                return time.perf_counter() - begin
    raise RuntimeError("the answer had no token")


def folder_bytes(path: Path) -> int:
    """Bytes of a file, or of the weights in a folder."""
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.glob("*.safetensors"))


def _is_ready(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, then the whole group is killed if it lingers."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
