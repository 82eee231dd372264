"""An open loop of completions over HTTP, with as little work of its own as can be: arrivals do not wait for answers.

    python -m benchmarks.open_loop '{"port": 8000, "model": "minnow", ...}' --out answers.json    # the fields of `Load`

writes what came, and the CPU time of this process: so that two loads need not share an event loop. Prompts are
random words, so that nothing is cached; arrivals and lengths depend on the seed alone: every contestant gets the same.
"""

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import uvloop

import tidemill.bundled


class Server(Protocol):
    """Where to ask."""

    port: int


@dataclass
class Answer:
    """One request as its client saw it; seconds of `time.perf_counter`."""

    started: float
    num_output: int
    """Tokens it has when it ends: a server that lags sends several in one event."""
    status: int = 0
    headed: float = 0.0
    tokens: list[float] = field(default_factory=list)

    @property
    def ttft(self) -> float:
        return self.tokens[0] - self.started

    @property
    def tpot(self) -> float:
        return (self.tokens[-1] - self.tokens[0]) / max(1, self.num_output - 1)


@dataclass(frozen=True)
class Load:
    """Poisson arrivals at `rate` a second for `seconds`, from `port`'s server; lengths are drawn from ranges."""

    port: int
    model: str
    words: list[int]
    seed: int
    rate: float
    seconds: float
    prompts: tuple[int, int]
    outputs: tuple[int, int]
    key: str | None = None

    async def run(self) -> list[Answer]:
        """Every answer, in order of arrival."""
        client = Client(self, self.model, self.words, self.seed)
        return await client.poisson(self.rate, self.seconds, self.prompts, self.outputs, self.key)

    async def run_apart(self) -> tuple[list[Answer], float]:
        """The same from a process of its own; and that process's CPU seconds."""
        with tempfile.NamedTemporaryFile() as out:
            load = json.dumps(asdict(self))
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks.open_loop", load, "--out", out.name
            )
            assert await process.wait() == 0, process.returncode
            told = json.load(out)
        return [Answer(**answer) for answer in told["answers"]], told["cpu_seconds"]


class Wire(asyncio.Protocol):
    """Sends one request and notes when events come: as little work as can be, for the server shares these cores."""

    def __init__(self, request: bytes, num_output: int) -> None:
        self.answer = Answer(time.perf_counter(), num_output)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request = request

    def connection_made(self, transport: Any) -> None:
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if not self.answer.status:
            self.answer.status, self.answer.headed = int(data[9:12]), now
        if self.answer.status == 200:
            self.answer.tokens += [now] * data.count(b"data: {")

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Client:
    """Asks one server."""

    def __init__(self, server: Server, model: str, words: Sequence[int], seed: int) -> None:
        self._server, self._model, self._vocabulary = server, model, words
        self._arrivals = random.Random(seed)
        self._words = random.Random(seed + 1_000_000)

    async def ask(
        self, num_prompt: int, num_output: int, key: str | None = None, begun: list[Answer] | None = None
    ) -> Answer:
        """Ask, and wait for the end; the answer is put into `begun` at once, to be looked at before."""
        prompt = self._words.choices(self._vocabulary, k=num_prompt)
        # Special tokens are to be seen: what goes on after the end of an answer often has no other ones.
        body = {
            "model": self._model, "prompt": prompt, "max_tokens": num_output, "temperature": 0,
            "ignore_eos": True, "stream": True, "skip_special_tokens": False,
        }  # fmt: skip
        payload = json.dumps(body).encode()
        auth = f"Authorization: Bearer {key}\r\n" if key else ""
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{self._server.port}\r\nConnection: close\r\n{auth}"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        request = head.encode() + payload
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(lambda: Wire(request, num_output), "127.0.0.1", self._server.port)
        if begun is not None:
            begun.append(wire.answer)
        await wire.done
        return wire.answer

    async def poisson(self, rate: float, seconds: float, prompts: tuple[int, int], outputs: tuple[int, int],
                      key: str | None = None, burst: int = 1) -> list[Answer]:  # fmt: skip
        """Open loop for `seconds`, `rate` requests a second, `burst` at a time; every answer, in order of arrival."""
        due, plan = self._arrivals.expovariate(rate / burst), []
        while due < seconds:
            plan += [(due, self._arrivals.randint(*prompts), self._arrivals.randint(*outputs)) for _ in range(burst)]
            due += self._arrivals.expovariate(rate / burst)
        began, tasks = time.perf_counter(), []
        for due, num_prompt, num_output in plan:
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            tasks.append(asyncio.create_task(self.ask(num_prompt, num_output, key)))
        return list(await asyncio.gather(*tasks))


def words_of(folder: str) -> list[int]:
    """The tokens of a model (a folder, or the name of a bundled one) that are words or parts of words."""
    at = Path(folder) if Path(folder).is_dir() else Path(tidemill.bundled.__file__).parent / folder
    vocabulary = json.loads((at / "tokenizer.json").read_text())["model"]["vocab"]
    return [number for token, number in vocabulary.items() if re.fullmatch("[\u0120\u2581]?[a-z]{2,}", token)]


def percentile(values: Iterable[float], share: float) -> float:
    """The value that `share` of `values` do not exceed; nan of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def milliseconds(seconds: float) -> float:
    """For reading."""
    return round(seconds * 1000.0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("load", help="the fields of a load, as JSON")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    answers = uvloop.run(Load(**json.loads(options.load)).run())
    told = {"answers": [asdict(answer) for answer in answers], "cpu_seconds": time.process_time()}
    options.out.write_text(json.dumps(told))


if __name__ == "__main__":
    main()
