"""A model folder for engines that have no weights, and clients that are always stopped."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from tests.fakes.byte_model import make_byte_model
from tests.fakes.event_log import EventLog
from tests.fakes.fake_engine import FakeEngine, FakeYard
from tests.fakes.virtual_time import VirtualTime
from tidemill.config.settings import EngineSettings, ModelSettings, Settings
from tidemill.core.requests import Delta, GenerationRequest, SamplingParams, TextPrompt
from tidemill.engine.client.client import EngineClient
from tidemill.text.model_text import ModelText


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_byte_model(tmp_path_factory.mktemp("byte-model"))


@pytest.fixture(scope="session")
def text(folder: Path) -> ModelText:
    return ModelText.load(folder)


def settings_for(folder: Path, **sections: dict[str, object]) -> Settings:
    """Settings for a simulated engine on `folder`, with fields of sections overridden."""
    settings = Settings(model=ModelSettings(model=str(folder)), engine=EngineSettings(engine="simulated"))
    for name, fields in sections.items():
        section = msgspec.structs.replace(getattr(settings, name), **fields)
        settings = msgspec.structs.replace(settings, **{name: section})
    return settings


def ask(client: EngineClient, *prompts: str, n: int = 1, echo: bool = False, **sampling: object) -> GenerationRequest:
    """A request with text prompts for the model of `client`."""
    return GenerationRequest(
        request_id="test",
        model=client.models()[0].names[0],
        prompts=tuple(TextPrompt(text=prompt) for prompt in prompts or ("hello",)),
        sampling=msgspec.convert({"seed": 1, "temperature": 0.0} | sampling, SamplingParams),
        n=n,
        echo=echo,
    )


def ask_anything() -> GenerationRequest:
    """A request that is made before any model is known."""
    return GenerationRequest(
        request_id="r", model="any", prompts=(TextPrompt(text="x"),), sampling=SamplingParams(seed=1)
    )


async def collect(client: EngineClient, request: GenerationRequest) -> dict[int, list[Delta]]:
    """Every delta of a request, by sequence."""
    deltas: dict[int, list[Delta]] = {}
    async for chunk in client.generate(request):
        if isinstance(chunk, Delta):
            deltas.setdefault(chunk.index, []).append(chunk)
    return deltas


async def wait_for(happened: Callable[[], bool]) -> None:
    """Turn the event loop until something outside of virtual time (a socket) has made it happen."""
    async with asyncio.timeout(10):
        while not happened():  # nothing signals that bytes went through a socket
            await asyncio.sleep(0)


class Stage:
    """A client over engines that the test plays."""

    def __init__(self, client: EngineClient, yard: FakeYard, time: VirtualTime, log: EventLog) -> None:
        self.client = client
        self.yard = yard
        self.time = time
        self.log = log

    async def ready_engine(self) -> FakeEngine:
        """The next engine that is started, made ready."""
        engine = await self.yard.next()
        await engine.ready()
        loaded = len(self.yard.engines)
        await self.log.until(lambda: self.client.health().is_ready and len(self.yard.engines) == loaded)
        return engine


MakeStage = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def make_stage(folder: Path, text: ModelText) -> AsyncIterator[MakeStage]:
    """Starts clients over fake engines in virtual time; keyword arguments are settings by section."""
    stages: list[Stage] = []

    async def make(**sections: dict[str, object]) -> Stage:
        yard, time, log = FakeYard(), VirtualTime(), EventLog()
        client = EngineClient(
            settings_for(folder, **sections),
            folder,
            text,
            on_step=log.on_step,
            on_event=log.on_event,
            clock=time,
            spawn=yard.spawn,
            sleep=time.sleep,
        )
        stages.append(Stage(client, yard, time, log))
        await client.start()
        return stages[-1]

    yield make
    for stage in stages:
        for engine in stage.yard.engines:
            engine.exit()
        await stage.client.stop()


MakeClient = Callable[..., Awaitable[tuple[EngineClient, EventLog]]]


@pytest.fixture
async def make_client(folder: Path, text: ModelText) -> AsyncIterator[MakeClient]:
    """Starts clients over real engine processes that simulate, and waits until they are ready."""
    clients: list[EngineClient] = []

    async def make(**sections: dict[str, object]) -> tuple[EngineClient, EventLog]:
        log = EventLog()
        settings = settings_for(folder, **sections)
        client = EngineClient(settings, folder, text, on_step=log.on_step, on_event=log.on_event)
        clients.append(client)
        await client.start()
        await client.wait_ready()
        return client, log

    yield make
    for client in clients:
        await client.stop()
