"""Engine processes that tests play by hand: they speak the protocol on a real socket pair, in this process."""

import asyncio
import socket
from collections.abc import Sequence

import msgspec

from tidemill.core.requests import FinishReason
from tidemill.core.stats import StepStats
from tidemill.engine.protocol import (
    Abort,
    Boot,
    EngineInfo,
    FrameReader,
    FromEngine,
    Heartbeat,
    Ready,
    SequenceOutput,
    StepOutput,
    Submit,
    ToEngine,
    WireFinish,
    WireStart,
    encode_frame,
)

RECEIVE_SECONDS = 5.0
"""How long a test waits for the client before it fails; nothing takes that long."""
INFO = EngineInfo(
    architecture="LlamaForCausalLM",
    family="llama",
    num_parameters=1000,
    weight_bytes=4000,
    precision="fp32",
    device="cpu",
    vocab_size=259,
    max_model_len=512,
    block_size=16,
    num_blocks=100,
    kv_cache_bytes=1 << 20,
    num_threads=1,
    numerics_fingerprint="none",
    load_seconds=0.5,
)
STATS = StepStats(
    step=1,
    step_seconds=0.01,
    schedule_seconds=0.001,
    num_rows=1,
    num_prompt_rows=0,
    num_output_tokens=1,
    num_kv_tokens_read=1,
    num_running=1,
    num_waiting=0,
    num_used_blocks=1,
    num_total_blocks=99,
    num_preemptions=0,
    num_prefix_queries=0,
    num_prefix_hits=0,
    kv_waste_ratio=0.0,
)


def finish(reason: FinishReason = FinishReason.STOP, **fields: object) -> WireFinish:
    """The engine's end of a sequence."""
    facts: dict[str, object] = {"num_cached_tokens": 3, "num_preemptions": 1, "queue_seconds": 0.25}
    return msgspec.convert(msgspec.to_builtins({"reason": reason} | facts | fields), WireFinish)


class FakeEngine:
    """One engine's life. Implements what the supervisor needs of a process; the other methods are for the test."""

    def __init__(self, pid: int) -> None:
        self.sock, self._theirs = socket.socketpair()
        self._theirs.settimeout(0.0)
        self._pid = pid
        self._frames: FrameReader[ToEngine] = FrameReader(ToEngine)
        self._received: list[ToEngine] = []
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.boot: Boot | None = None
        self.was_killed = False

    # -- what the supervisor calls

    @property
    def pid(self) -> int:
        return self._pid

    async def wait(self) -> str:
        return await asyncio.shield(self._ended)

    async def kill(self) -> str:
        if not self._ended.done():
            self.was_killed = True
            self.exit("it was killed")
        return self._ended.result()

    # -- what the test calls

    async def take_boot(self) -> None:
        """Receive the first frame."""
        frame = await self.receive()
        assert isinstance(frame, Boot), frame
        self.boot = frame

    async def receive(self) -> ToEngine:
        """The next frame from the client; fails if none comes."""
        while not self._received:
            async with asyncio.timeout(RECEIVE_SECONDS):
                data = await asyncio.get_running_loop().sock_recv(self._theirs, 65536)
            if not data:
                raise EOFError
            self._received.extend(self._frames.feed(data))
        return self._received.pop(0)

    async def submitted(self, count: int) -> list[Submit]:
        """The next `count` submissions; fails on any other frame."""
        frames = [await self.receive() for _ in range(count)]
        assert all(isinstance(frame, Submit) for frame in frames), frames
        return [frame for frame in frames if isinstance(frame, Submit)]

    async def aborted(self) -> tuple[int, ...]:
        """The sequences of the next abort; fails on any other frame."""
        frame = await self.receive()
        assert isinstance(frame, Abort), frame
        return frame.sequence_ids

    async def send(self, frame: FromEngine) -> None:
        """Say something."""
        await self.send_bytes(encode_frame(frame))

    async def send_bytes(self, data: bytes) -> None:
        """Say anything."""
        await asyncio.get_running_loop().sock_sendall(self._theirs, data)

    async def ready(self) -> None:
        """Say that the model is loaded."""
        await self.send(Ready(epoch=self._pid, info=INFO))

    async def beat(self, loop_age_seconds: float = 0.0) -> None:
        """Say that the process is alive."""
        await self.send(Heartbeat(epoch=self._pid, loop_age_seconds=loop_age_seconds))

    async def step(self, *outputs: SequenceOutput) -> None:
        """Report a step."""
        await self.send(StepOutput(epoch=self._pid, outputs=outputs, stats=STATS))

    async def say(
        self, sequence_id: int, text: str | bytes | Sequence[int], end: WireFinish | None = None, first: bool = False
    ) -> None:
        """Report a step with tokens that spell `text`."""
        token_ids = tuple(text.encode() if isinstance(text, str) else text)
        start = WireStart(2, 0, 0.125) if first else None
        await self.step(SequenceOutput(sequence_id=sequence_id, token_ids=token_ids, finish=end, start=start))

    def exit(self, reason: str = "it exited with status 1") -> None:
        """End, as a process does: its socket closes."""
        self._theirs.close()
        if not self._ended.done():
            self._ended.set_result(reason)


class FakeYard:
    """Starts fake engines; their pids count from 1, as epochs do."""

    def __init__(self) -> None:
        self.engines: list[FakeEngine] = []
        self._started: asyncio.Queue[FakeEngine] = asyncio.Queue()

    async def spawn(self) -> FakeEngine:
        """What the supervisor calls."""
        engine = FakeEngine(len(self.engines) + 1)
        self.engines.append(engine)
        self._started.put_nowait(engine)
        return engine

    async def next(self) -> FakeEngine:
        """The next engine that is started, once it has been told what to be."""
        async with asyncio.timeout(RECEIVE_SECONDS):
            engine = await self._started.get()
        await engine.take_boot()
        return engine
