"""A recorded fake backend, and its metrics as a scraper reads them."""

import contextlib
from typing import Any

from prometheus_client import CollectorRegistry

from tests.fakes.backend import FakeBackend
from tidemill.core.clock import VirtualClock
from tidemill.core.requests import GenerationRequest, SamplingParams, TextPrompt
from tidemill.telemetry.metrics import Metrics
from tidemill.telemetry.recorder import EngineRecorder, RecordedBackend


class Bench:
    """One server's recorders over one backend."""

    def __init__(self, **fake: Any) -> None:
        self.clock = VirtualClock()
        self.backend = FakeBackend(**fake)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, model_name="tiny", version="1.2.3")
        self.engine = EngineRecorder(self.metrics)
        self.recorded = RecordedBackend(self.backend, self.metrics, self.clock)

    async def run(self, *, n: int = 1, num_prompts: int = 1, stop_after: int | None = None) -> None:
        prompts = tuple(TextPrompt(text="x") for _ in range(num_prompts))
        request = GenerationRequest(request_id="r", model="tiny", prompts=prompts, n=n, sampling=SamplingParams(seed=1))
        async with contextlib.aclosing(self.recorded.generate(request)) as chunks:
            count = 0
            async for _ in chunks:
                self.clock.advance(0.5)
                count += 1
                if count == stop_after:
                    return

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"model_name": "tiny", **labels})

    def finished(self) -> dict[str, float | None]:
        reasons = ("stop", "length", "abort", "error")
        return {r: self.value("vllm:request_success_total", finished_reason=r) for r in reasons}
