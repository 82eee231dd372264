"""Whether a real server keeps its promise over HTTP: chunk sizes beside streams, overload, and a flooding key.

    python -m benchmarks.promise chunks      # p99 ITL and TTFT beside eight streams, against fixed chunk budgets
    python -m benchmarks.promise overload    # goodput, refusals and admitted requests at 0.5, 1, 2 and 3 x capacity
    python -m benchmarks.promise tenants     # a quiet key beside a flooding one

Open loop: arrivals do not wait for answers. Prompts are random tokens, so that nothing is cached.
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.machine import describe, make_checkpoint, write
from tests.fakes.live_server import LiveServer, live_server

BUDGETS = (64, 128, 256, 512, 1024, 2048)
KEYS = {"quiet": "quiet-key-for-a-benchmark", "flood": "flood-key-for-a-benchmark"}


@dataclass
class Answer:
    """One request as its client saw it; seconds of `time.perf_counter`."""

    started: float
    status: int = 0
    headed: float = 0.0
    tokens: list[float] = field(default_factory=list)

    @property
    def ttft(self) -> float:
        return self.tokens[0] - self.started

    @property
    def tpot(self) -> float:
        return (self.tokens[-1] - self.tokens[0]) / max(1, len(self.tokens) - 1)


class Wire(asyncio.Protocol):
    """Sends one request and notes when events come: as little work as can be, for the server shares these cores."""

    def __init__(self, request: bytes) -> None:
        self.answer = Answer(time.perf_counter())
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

    def __init__(self, server: LiveServer, model: str, vocabulary: int, seed: int) -> None:
        self._server, self._model, self._vocabulary = server, model, vocabulary
        self.rng = random.Random(seed)

    async def ask(
        self, num_prompt: int, num_output: int, key: str | None = None, begun: list[Answer] | None = None
    ) -> Answer:
        """Ask, and wait for the end; the answer is put into `begun` at once, to be looked at before."""
        prompt = [self.rng.randrange(300, self._vocabulary) for _ in range(num_prompt)]
        body = {
            "model": self._model, "prompt": prompt, "max_tokens": num_output, "temperature": 0,
            "ignore_eos": True, "stream": True,
        }  # fmt: skip
        payload = json.dumps(body).encode()
        auth = f"Authorization: Bearer {key}\r\n" if key else ""
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{self._server.port}\r\nConnection: close\r\n{auth}"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        request = head.encode() + payload
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(lambda: Wire(request), "127.0.0.1", self._server.port)
        if begun is not None:
            begun.append(wire.answer)
        await wire.done
        return wire.answer

    async def poisson(self, rate: float, seconds: float, prompts: tuple[int, int], outputs: tuple[int, int],
                      key: str | None = None) -> list[Answer]:  # fmt: skip
        """Open loop for `seconds`; every answer, in order of arrival."""
        ends, tasks = time.perf_counter() + seconds, []
        due = time.perf_counter() + self.rng.expovariate(rate)
        while due < ends:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(self.ask(self.rng.randint(*prompts), self.rng.randint(*outputs), key)))
            due += self.rng.expovariate(rate)
        return list(await asyncio.gather(*tasks))


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def milliseconds(seconds: float) -> float:
    return round(seconds * 1000.0, 1)


class Benchmark:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        is_shape = options.model in ("1B", "115M")
        self.folder = str(make_checkpoint(options.folder, options.model)) if is_shape else options.model
        self.name = Path(self.folder).name
        self.vocabulary = 16_000 if is_shape else 4_000
        self.common = (self.folder, "--no-prefix-caching", "--max-num-seqs", "32", "--precision", options.precision)

    def client(self, server: LiveServer, seed: int = 1) -> Client:
        return Client(server, self.name, self.vocabulary, seed)

    def promised(self) -> tuple[str, ...]:
        return ("--slo-ttft-seconds", str(self.options.ttft), "--slo-tpot-seconds", str(self.options.tpot))

    # -- chunks

    def prefill_rate(self, num_prompt: int) -> float:
        """Prompt tokens a second of lone prompts."""
        with live_server(*self.common, "--max-num-batched-tokens", "2048") as server:

            async def measure() -> float:
                client = self.client(server)
                await client.ask(num_prompt, 1)
                answers = [await client.ask(num_prompt, 1) for _ in range(5)]
                return num_prompt / statistics.median(answer.ttft for answer in answers)

            return uvloop.run(measure())

    async def _beside_streams(self, client: Client, rate: float, num_prompt: int) -> dict[str, float]:
        seconds, begun = self.options.seconds, []
        began = time.perf_counter() + 1.0

        async def stream() -> None:
            while time.perf_counter() < began + seconds:
                answer = await client.ask(64, self.options.stream_tokens, begun=begun)
                assert answer.status == 200, answer.status

        streams = [asyncio.create_task(stream()) for _ in range(8)]
        await asyncio.sleep(1.0)
        prompts = await client.poisson(rate, seconds, (num_prompt, num_prompt), (1, 1))
        for task in streams:
            task.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
        pairs = (pair for answer in begun for pair in itertools.pairwise(answer.tokens))
        gaps = [b - a for a, b in pairs if began < b < began + seconds]
        served = [answer for answer in prompts if answer.status == 200 and answer.tokens]
        return {
            "num_prompts": len(prompts),
            "num_served": len(served),
            "p99_itl_ms": milliseconds(percentile(gaps, 0.99)),
            "mean_itl_ms": milliseconds(statistics.mean(gaps)) if gaps else float("nan"),
            "p99_itl_over_tpot": round(percentile(gaps, 0.99) / self.options.tpot, 3),
            "ttft_mean_ms": milliseconds(statistics.mean(a.ttft for a in served)),
            "ttft_p50_ms": milliseconds(percentile((a.ttft for a in served), 0.5)),
            "ttft_p95_ms": milliseconds(percentile((a.ttft for a in served), 0.95)),
        }

    def chunks(self) -> dict[str, Any]:
        tables = []
        for num_prompt in self.options.prompt_tokens:
            capacity = self.prefill_rate(num_prompt)
            rate = 0.5 * capacity / num_prompt
            rows = []
            for budget in (*self.options.budgets, None):
                args = ("--max-num-batched-tokens", str(budget or 2048))
                promised = () if budget else ("--slo-tpot-seconds", str(self.options.tpot))
                with live_server(*self.common, *args, *promised) as server:
                    row = uvloop.run(self._beside_streams(self.client(server), rate, num_prompt))
                rows.append({"budget": budget or "by time per token", **row})
                print(rows[-1], flush=True)
            kept = [r for r in rows if r["p99_itl_over_tpot"] <= 1.25]
            fixed = [r["ttft_mean_ms"] for r in kept if isinstance(r["budget"], int)]
            tables.append(
                {
                    "num_prompt_tokens": num_prompt,
                    "prefill_tokens_per_second": round(capacity),
                    "prompts_per_second": round(rate, 2),
                    "rows": rows,
                    "ours_keeps_itl": rows[-1] in kept,
                    "ttft_over_best_fixed": round(rows[-1]["ttft_mean_ms"] / min(fixed), 3) if fixed else None,
                }
            )
        return {"tables": tables}

    # -- overload

    def _load(self) -> tuple[tuple[int, int], tuple[int, int]]:
        low, high = self.options.load_prompts
        return (low, high), (16, 64)

    async def _at(self, server: LiveServer, rate: float, seconds: float, seed: int) -> dict[str, Any]:
        answers = await self.client(server, seed).poisson(rate, seconds, *self._load())
        admitted = [a for a in answers if a.status == 200 and a.tokens]
        refused = [a for a in answers if a.status == 429]
        met = [a for a in admitted if a.ttft <= self.options.ttft and a.tpot <= self.options.tpot]
        return {
            "rate": round(rate, 2),
            "offered": len(answers),
            "admitted": len(admitted),
            "refused": len(refused),
            "other": len(answers) - len(admitted) - len(refused),
            "attainment_offered": round(len(met) / max(1, len(answers)), 4),
            "attainment_admitted": round(len(met) / max(1, len(admitted)), 4),
            "goodput_per_second": round(len(met) / seconds, 2),
            "refusal_p99_ms": milliseconds(percentile((a.headed - a.started for a in refused), 0.99))
            if refused
            else None,
            "admitted_within_1.2_ttft": round(
                sum(a.ttft <= 1.2 * self.options.ttft for a in admitted) / max(1, len(admitted)), 4
            ),
            "ttft_p50_ms": milliseconds(percentile((a.ttft for a in admitted), 0.5)),
            "ttft_p99_ms": milliseconds(percentile((a.ttft for a in admitted), 0.99)),
        }

    def overload(self) -> dict[str, Any]:
        with live_server(*self.common, *self.promised()) as server:

            async def measure() -> dict[str, Any]:
                await self._at(server, self.options.first_rate, 4.0, 7)  # warm
                search, capacity, rate = [], 0.0, self.options.first_rate
                for number in range(12):
                    search.append(await self._at(server, rate, self.options.seconds / 2, 10 + number))
                    print(search[-1], flush=True)
                    if search[-1]["attainment_offered"] < 0.95:
                        break
                    capacity, rate = rate, rate * 1.3
                capacity = capacity or self.options.first_rate
                rows = []
                for multiple in (0.5, 1.0, 2.0, 3.0):
                    row = await self._at(server, multiple * capacity, self.options.seconds, 100)
                    rows.append({"multiple": multiple, **row})
                    print(rows[-1], flush=True)
                peak = max(row["goodput_per_second"] for row in rows)
                return {
                    "capacity_per_second": round(capacity, 2),
                    "search": search,
                    "rows": rows,
                    "goodput_at_3_over_peak": round(rows[-1]["goodput_per_second"] / peak, 3),
                }

            found = uvloop.run(measure())
            return found | {"metrics": _promise_metrics(server)}

    # -- tenants

    def tenants(self) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "keys"
            path.write_text("".join(f"{key} name={name}\n" for name, key in KEYS.items()))
            with live_server(*self.common, *self.promised(), "--api-key-file", str(path)) as server:

                async def measure() -> dict[str, Any]:
                    seconds, rate, flood = self.options.seconds, self.options.quiet_rate, self.options.flood_rate
                    await self.client(server, 5).poisson(rate, 3.0, *self._load(), KEYS["quiet"])
                    alone = await self.client(server, 6).poisson(rate, seconds, *self._load(), KEYS["quiet"])
                    flooding = asyncio.create_task(
                        self.client(server, 8).poisson(flood, seconds + 2.0, *self._load(), KEYS["flood"])
                    )
                    await asyncio.sleep(2.0)
                    beside = await self.client(server, 6).poisson(rate, seconds, *self._load(), KEYS["quiet"])
                    others = await flooding
                    rows = {"alone": alone, "beside": beside, "flood": others}
                    result = {name: _summary(answers) for name, answers in rows.items()}
                    ratio = result["beside"]["ttft_p95_ms"] / result["alone"]["ttft_p95_ms"]
                    return {**result, "quiet_p95_ratio": round(ratio, 3)}

                return uvloop.run(measure())


def _summary(answers: list[Answer]) -> dict[str, Any]:
    served = [a for a in answers if a.status == 200 and a.tokens]
    return {
        "offered": len(answers),
        "refused": sum(a.status == 429 for a in answers),
        "ttft_p50_ms": milliseconds(percentile((a.ttft for a in served), 0.5)),
        "ttft_p95_ms": milliseconds(percentile((a.ttft for a in served), 0.95)),
        "tpot_p95_ms": milliseconds(percentile((a.tpot for a in served), 0.95)),
    }


def _promise_metrics(server: LiveServer) -> dict[str, float]:
    """What the server itself says of its predictions."""
    import httpx

    names = ("tidemill_step_prediction", "tidemill_ttft_prediction", "tidemill_slo_outcomes_total")
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(names)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("chunks", "overload", "tenants"))
    parser.add_argument("--model", default="minnow", help="a model, or 1B or 115M for random weights of that shape")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--ttft", type=float, default=0.150, help="objective, seconds")
    parser.add_argument("--tpot", type=float, default=0.045, help="objective, seconds")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long each load lasts")
    parser.add_argument("--prompt-tokens", type=int, nargs="+", default=[1500, 600], help="chunks: one table each")
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS), help="chunks: fixed ones")
    parser.add_argument("--stream-tokens", type=int, default=1900, help="chunks: length of a stream")
    parser.add_argument("--load-prompts", type=int, nargs=2, default=[50, 400], help="overload, tenants: prompt tokens")
    parser.add_argument("--first-rate", type=float, default=8.0, help="overload: where the search begins")
    parser.add_argument("--quiet-rate", type=float, default=2.0)
    parser.add_argument("--flood-rate", type=float, default=60.0)
    parser.add_argument("--folder", type=Path, default=Path("~/.cache/tidemill-benchmarks").expanduser())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = getattr(Benchmark(options), options.part)()
    asked = {k: v for k, v in vars(options).items() if k not in ("out", "folder")}
    write({"what": f"the promise: {options.part}", "machine": describe(), "options": asked, **result}, options.out)


if __name__ == "__main__":
    main()
