"""A model that is measured over HTTP: its server, its clients, what the server says of itself, and who used the cores.

Neither loads nor figures of theirs: those are the scripts'.
"""

import argparse
import contextlib
import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.machine import make_checkpoint
from benchmarks.open_loop import Client, words_of
from tests.fakes.live_server import LiveServer, live_server
from tidemill.core.private_folder import private_cache_folder


class ServedModel:
    """What `--model`, `--precision` and `--folder` name, to be served as often as need be."""

    def __init__(self, options: argparse.Namespace) -> None:
        is_shape = options.model in ("1B", "115M")
        self.folder = str(make_checkpoint(options.folder, options.model)) if is_shape else options.model
        self.name = Path(self.folder).name
        self.words = words_of(self.folder)
        self._common = (self.folder, "--no-prefix-caching", "--max-num-seqs", "32", "--precision", options.precision)

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """The options that it is made of."""
        parser.add_argument("--model", default="minnow", help="a model, or 1B or 115M for random weights of that shape")
        parser.add_argument("--precision", default="auto")
        parser.add_argument("--folder", type=Path, default=Path("~/.cache/tidemill-benchmarks").expanduser())

    @contextlib.contextmanager
    def served(self, *args: str, **environment: str) -> Iterator[LiveServer]:
        """A server of the model, ready: a large one may take its time."""
        with live_server(*self._common, *args, wait=False, **environment) as server:
            server.wait_for_line("curl ", seconds=600.0)
            yield server

    def client(self, server: LiveServer, seed: int = 1) -> Client:
        """A client whose arrivals and prompts depend on `seed` alone."""
        return Client(server, self.name, self.words, seed)


class Cores:
    """How many cores the server's processes and everybody else kept busy, since it was made."""

    def __init__(self, server: LiveServer) -> None:
        self._processes = {"api": psutil.Process(server.process.pid), "engine": psutil.Process(server.engine_pid())}
        self._began, self._first = time.perf_counter(), self._spent()

    def _spent(self) -> dict[str, float]:
        every = psutil.cpu_times()
        spent = {name: sum(process.cpu_times()[:2]) for name, process in self._processes.items()}
        spent["machine"] = sum(every) - every.idle - every.iowait - every.guest - every.guest_nice
        spent["self"] = time.process_time()
        return spent

    def told(self, **elsewhere: float) -> dict[str, float]:
        """Cores by whom; `elsewhere` are CPU seconds of further processes that belong to the measurement."""
        seconds, now = time.perf_counter() - self._began, self._spent()
        own = {name: now[name] - self._first[name] for name in now} | elsewhere
        machine = own.pop("machine")
        own["others"] = max(0.0, machine - sum(own.values()))
        return {name: round(spent / seconds, 3) for name, spent in own.items()}


def unlearnt(folder: Path) -> dict[str, str]:
    """Environment of a server that finds nothing learnt or booked before it, but the kernels compiled by others."""
    kernels = os.environ.get("NUMBA_CACHE_DIR") or private_cache_folder("numba")
    private = {"XDG_CACHE_HOME": str(folder / "cache"), "XDG_DATA_HOME": str(folder / "data")}
    return private | ({} if kernels is None else {"NUMBA_CACHE_DIR": str(kernels)})


def samples(text: str, *names: str) -> dict[str, float]:
    """The samples of a page of metrics whose names begin with one of `names`, labels and all."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(names))
    return {name: float(value) for name, value in lines}


def scraped(server: LiveServer, *names: str) -> dict[str, float]:
    """What the server says of itself at this moment. Asked for cheaply: a new client of httpx takes 22 ms of a core."""
    with urllib.request.urlopen(f"{server.url}/metrics") as answer:
        return samples(answer.read().decode(), *names)
