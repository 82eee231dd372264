"""How well a real server predicts over HTTP what it was not fitted on: steps, first tokens, 99th percentiles, joules.

A server that has learnt nothing before meets chats, then documents, then documents in bursts, then chats again, open
loop (`open_loop.py`), at shares of what another server was found to take of the same load. Everything is read from its
metrics. Errors are counted in the buckets of histograms: the shares within 5, 10, 15, 20, 30 and 50 % are exact,
medians are interpolated between them. A step is learnt from after it was predicted, as in service. With `--ttft` or
`--tpot` the server promises something: then it calibrates before the first request, and refuses.
"""

import argparse
import asyncio
import contextlib
import math
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.machine import describe, write
from benchmarks.open_loop import Answer, Client, milliseconds, percentile
from benchmarks.served_model import Cores, ServedModel, scraped, unlearnt
from tests.fakes.live_server import LiveServer

Page = dict[str, float]
RUNNING_ERROR, RESIDUAL = "tidemill_step_prediction_error_ratio", "tidemill_energy_residual_ratio"
STEP, TTFT = "tidemill_step_prediction_ratio_bucket", "tidemill_ttft_prediction_ratio_bucket"
WITHIN, METER = "tidemill_ttft_predictions_total", "tidemill_energy_meter_joules_total"
NAMES = (RUNNING_ERROR, RESIDUAL, STEP, TTFT, WITHIN, METER)
IDLE_SECONDS = 12.0
"""Rest before the first load, in which the meter sees what the machine draws anyway: it is read every five."""
WATCH_SECONDS = 5.0
"""Each look takes time on cores that steps run on, and they are what is looked at."""
CLOSED_STREAMS = 12
LEAST_ENDED = 2 * CLOSED_STREAMS


@dataclass(frozen=True)
class Phase:
    """A load, and how many of its requests arrive at once."""

    name: str
    load: str
    burst: int = 1


LOADS = {"chat": ((20, 200), (16, 96)), "documents": ((400, 1500), (8, 64))}
"""Ranges of prompt and of output tokens."""
PHASES = (
    Phase("chat", "chat"),
    Phase("documents", "documents"),
    Phase("documents in bursts", "documents", burst=4),
    Phase("chat again", "chat"),
)


class Predictions:
    """One run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.model = ServedModel(options)
        promised = {"--slo-ttft-seconds": options.ttft, "--slo-tpot-seconds": options.tpot}
        self.promised = [word for name, value in promised.items() if value for word in (name, str(value))]

    def measured(self) -> dict[str, Any]:
        """Capacities from one server, then the phases on a fresh one."""
        with self._fresh() as server:
            capacities = uvloop.run(self._capacities(server))
        with self._fresh(*self.promised) as server:
            found = uvloop.run(self._phases(server, capacities))
        return {"capacities_per_second": {name: round(rate, 2) for name, rate in capacities.items()}, **found}

    @contextlib.contextmanager
    def _fresh(self, *args: str) -> Iterator[LiveServer]:
        """A server that knows nothing of earlier ones."""
        with tempfile.TemporaryDirectory() as at, self.model.served(*args, **unlearnt(Path(at))) as server:
            yield server

    async def _capacities(self, server: LiveServer) -> dict[str, float]:
        """Requests a second that a closed loop gets done, of the loads that arrive one by one, after a warm-up."""
        found: dict[str, float] = {}
        for load in LOADS:
            for seconds in (self.options.capacity_seconds / 2, self.options.capacity_seconds):
                began, ended = time.perf_counter(), list[float]()
                clients = [self.model.client(server, seed) for seed in range(CLOSED_STREAMS)]
                await asyncio.gather(*(_keep_asking(client, load, began + seconds, ended) for client in clients))
                until = max(began + seconds, ended[LEAST_ENDED - 1])
                found[load] = sum(moment <= until for moment in ended) / (until - began)
        return found

    async def _phases(self, server: LiveServer, capacities: dict[str, float]) -> dict[str, Any]:
        await asyncio.sleep(IDLE_SECONDS)
        rows = []
        for seed, (phase, share) in enumerate(zip(PHASES, self.options.rates, strict=True)):
            rate = share * capacities[phase.load]
            told = await self._phase(server, phase, rate, seed)
            rows.append({"phase": phase.name, "share_of_capacity": share, **told})
            print(rows[-1], flush=True)
        page = await asyncio.to_thread(scraped, server, *NAMES)
        return {"phases": rows, "all": {**_told(page, {}), "energy_residual": _rounded(_value(page, RESIDUAL))}}

    async def _phase(self, server: LiveServer, phase: Phase, rate: float, seed: int) -> dict[str, Any]:
        before, pages, cores = await asyncio.to_thread(scraped, server, *NAMES), list[Page](), Cores(server)
        watching = asyncio.create_task(_watch(server, pages))
        client = self.model.client(server, seed + 1)
        answers = await client.poisson(rate, self.options.seconds, *LOADS[phase.load], burst=phase.burst)
        busy = cores.told()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        pages.append(await asyncio.to_thread(scraped, server, *NAMES))
        running, residuals = (
            [value for page in pages if (value := _value(page, name)) is not None] for name in (RUNNING_ERROR, RESIDUAL)
        )
        return {
            "rate": round(rate, 2),
            **_seen(answers),
            **_told(pages[-1], before),
            "step_running_error_median": _rounded(statistics.median(running)) if running else None,
            "energy_residual_samples": _few(residuals),
            "meter_joules": round(_grown(pages[-1], before, METER), 1),
            "others_cores": busy["others"],
        }


async def _keep_asking(client: Client, load: str, ends: float, ended: list[float]) -> None:
    """Ask until `ends`, and on until enough have been answered to tell a rate."""
    lengths = random.Random(len(ended))
    while time.perf_counter() < ends or len(ended) < LEAST_ENDED:
        answer = await client.ask(*(lengths.randint(*bounds) for bounds in LOADS[load]))
        assert answer.status == 200, answer.status
        ended.append(time.perf_counter())


async def _watch(server: LiveServer, pages: list[Page]) -> None:
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        pages.append(await asyncio.to_thread(scraped, server, *NAMES))


def _seen(answers: Sequence[Answer]) -> dict[str, Any]:
    """What the clients saw."""
    served = [answer for answer in answers if answer.status == 200 and answer.tokens]
    return {
        "num_requests": len(answers),
        "num_refused": sum(answer.status == 429 for answer in answers),
        "num_failed": sum(answer.status not in (200, 429) for answer in answers),
        "seen_ttft_p50_ms": milliseconds(percentile((answer.ttft for answer in served), 0.5)),
        "seen_ttft_p99_ms": milliseconds(percentile((answer.ttft for answer in served), 0.99)),
    }


def _told(page: Page, before: Page) -> dict[str, Any]:
    """What the server says of its predictions since `before`."""
    outcomes, kept = _grown(page, before, WITHIN), _grown(page, before, WITHIN, 'within_p99="true"')
    return {
        "steps": _errors(page, before, STEP),
        "ttft": {**_errors(page, before, TTFT), "p99_covers_ratio": _rounded(kept / outcomes) if outcomes else None},
    }


def _errors(page: Page, before: Page, histogram: str) -> dict[str, Any]:
    """Of ratios of outcome to prediction since `before`: the median |ratio - 1|, and the median ratio."""
    edges = [name.partition('le="')[2].partition('"')[0] for name in page if name.startswith(histogram)]
    upto = {round(float(edge), 3): _grown(page, before, histogram, f'le="{edge}"') for edge in edges}
    total = upto.get(math.inf, 0.0)
    if not total:
        return {"count": 0}
    pairs = ((edge, round(2.0 - edge, 3)) for edge in upto if edge > 1.0)
    near = {round(high - 1.0, 3): upto[high] - upto[low] for high, low in pairs if low in upto}
    return {
        "count": round(total),
        "error_median": _rounded(_middle(near, total)),
        "share_within": {str(error): _rounded(count / total) for error, count in near.items()},
        "ratio_median": _rounded(_middle(upto, total)),
    }


def _middle(upto: dict[float, float], total: float) -> float | None:
    """The median of `total` values, from how many are up to each edge; None if it lies beyond the last finite one."""
    low, below = 0.0, 0.0
    for edge, count in sorted(upto.items()):
        if count >= total / 2.0:
            return low + (edge - low) * (total / 2.0 - below) / (count - below) if edge < math.inf else None
        low, below = edge, count
    return None


def _grown(page: Page, before: Page, name: str, label: str = "") -> float:
    """By how much the samples of `name` with `label` have grown."""
    names = [sample for sample in page if sample.startswith(name) and label in sample]
    return sum(page[sample] - before.get(sample, 0.0) for sample in names)


def _value(page: Page, name: str) -> float | None:
    """The gauge `name`; None as long as there is nothing to tell."""
    return next((value for sample, value in page.items() if sample.startswith(name)), None)


def _few(values: Sequence[float]) -> list[float | None]:
    """About ten of `values`, evenly, the last among them."""
    return [_rounded(value) for value in values[:: -max(1, len(values) // 10)]][::-1]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ServedModel.add_options(parser)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each phase lasts")
    parser.add_argument("--rates", type=float, nargs=len(PHASES), default=[0.5, 0.5, 0.4, 0.7], help="of capacity")
    parser.add_argument("--capacity-seconds", type=float, default=8.0, help="how long each capacity is looked for")
    parser.add_argument("--ttft", type=float, help="objective, seconds")
    parser.add_argument("--tpot", type=float, help="objective, seconds")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    asked = {name: value for name, value in vars(options).items() if name not in ("out", "folder")}
    what = "predictions on loads they were not fitted on"
    write({"what": what, "machine": describe(), "options": asked, **Predictions(options).measured()}, options.out)


if __name__ == "__main__":
    main()
