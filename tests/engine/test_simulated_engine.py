"""Real engine processes that simulate: killed, stopped, cut off and drained while they stream."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import psutil
import pytest

from tests.engine.conftest import MakeClient, ask, collect, settings_for
from tests.fakes.event_log import EventLog
from tidemill.core.backend import BackendState
from tidemill.core.errors import EngineFailedError, ModelLoadError, SetupError, SlowReaderError, UnavailableError
from tidemill.core.requests import Accepted, Delta, FinishReason, GenerationChunk
from tidemill.engine.client.client import EngineClient
from tidemill.engine.client.events import EngineDied, EngineLoaded
from tidemill.engine.client.process import EngineProcess
from tidemill.engine.protocol import Abort, Boot, FrameReader, FromEngine, Heartbeat, Ready, encode_frame
from tidemill.text.model_text import ModelText

FAST = {
    "sim_ttft_seconds": 0.0,
    "sim_seconds_per_token": 0.0005,
    "sim_seconds_per_prompt_token": 0.0,
    "sim_seconds_per_sequence": 0.0,
}
QUICK = {"heartbeat_seconds": 0.05, "stalled_after_seconds": 0.5, "restart_backoff_seconds": 0.05}
"""A quicker supervision; the thresholds of a real one are tested in virtual time."""


async def test_greedy_answers_do_not_depend_on_their_company(make_client: MakeClient) -> None:
    client, _ = await make_client(simulation=FAST)
    request = ask(client, max_tokens=20)
    alone = texts(await collect(client, request))
    together = await asyncio.gather(*(collect(client, request) for _ in range(30)))
    assert [texts(deltas) for deltas in together] == [alone] * 30
    assert len(alone[0]) == 20


async def test_n_and_prompts_are_numbered_prompt_major(make_client: MakeClient) -> None:
    client, _ = await make_client(simulation=FAST)
    alone = [texts(await collect(client, ask(client, prompt, max_tokens=8)))[0] for prompt in ("a", "b", "c")]
    together = texts(await collect(client, ask(client, "a", "b", "c", n=2, max_tokens=8)))
    assert together == {2 * i + j: alone[i] for i in range(3) for j in range(2)}
    sampled = texts(await collect(client, ask(client, "a", n=3, max_tokens=8, temperature=1.0)))
    assert len(set(sampled.values())) == 3


async def test_every_field_of_a_finish_is_measured(make_client: MakeClient) -> None:
    client, _ = await make_client(simulation=FAST)
    await collect(client, ask(client, "p" * 100, max_tokens=4))
    end = (await collect(client, ask(client, "p" * 100, max_tokens=4)))[0][-1].finish
    assert end is not None
    assert end.reason is FinishReason.LENGTH
    timings = end.timings
    assert (timings.num_prompt_tokens, timings.num_cached_tokens, timings.num_output_tokens) == (100, 96, 4)
    assert timings.time_to_first_token_seconds is not None
    assert 0.0 <= timings.queue_seconds <= timings.time_to_first_token_seconds <= timings.total_seconds


async def test_five_hundred_streams_cut_at_random_tokens_leave_no_block_used(make_client: MakeClient) -> None:
    client, log = await make_client(simulation=FAST, scheduler={"max_queue": 1000})
    rng = random.Random(7)

    async def cut(seed: int, after: int) -> int:
        stream = client.generate(ask(client, f"prompt {seed} " + "x" * rng.randrange(60), seed=seed, max_tokens=400))
        seen = 0
        async for _ in stream:
            seen += 1
            if seen > after:
                break
        await stream.aclose()
        return seen

    seen = await asyncio.gather(*(cut(seed, rng.randrange(30)) for seed in range(500)))
    assert sum(seen) > 500
    assert client.num_outstanding == 0
    await log.until(lambda: log.steps[-1].num_running + log.steps[-1].num_waiting == 0)
    assert log.steps[-1].num_used_blocks == 0
    assert client.health().is_ready


async def test_kill_nine_in_mid_stream_ends_each_stream_once_and_restarts(make_client: MakeClient) -> None:
    client, log = await make_client(simulation=FAST, engine=QUICK)
    streams = [client.generate(ask(client, f"{i}", max_tokens=400)) for i in range(16)]
    for stream in streams:
        assert isinstance(await anext(stream), Accepted)
        assert isinstance(await anext(stream), Delta)
    assert client.engine_pid is not None
    os.kill(client.engine_pid, signal.SIGKILL)
    for stream in streams:
        with pytest.raises(EngineFailedError, match="SIGKILL"):
            async for _ in stream:
                pass
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    await log.until(lambda: log.num_of(EngineLoaded) == 2)
    await log.until_state(BackendState.READY)
    assert len(texts(await collect(client, ask(client, max_tokens=5)))[0]) == 5
    assert client.num_outstanding == 0


async def test_a_stopped_engine_stalls_and_continues_its_streams(make_client: MakeClient) -> None:
    client, log = await make_client(simulation=FAST, engine=QUICK)
    expected = texts(await collect(client, ask(client, max_tokens=300)))
    stream = asyncio.create_task(collect(client, ask(client, max_tokens=300)))
    steps = len(log.steps)
    await log.until(lambda: len(log.steps) > steps + 20)
    pid = client.engine_pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await log.until_state(BackendState.STALLED)
    with pytest.raises(UnavailableError):
        await anext(client.generate(ask(client)))
    os.kill(pid, signal.SIGCONT)
    await log.until_state(BackendState.READY)
    assert texts(await stream) == expected
    assert log.num_of(EngineDied) == 0


async def test_an_engine_stopped_for_too_long_is_killed(make_client: MakeClient) -> None:
    client, log = await make_client(simulation=FAST, engine=QUICK | {"dead_after_seconds": 1.5})
    pid = client.engine_pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await log.until(lambda: log.num_of(EngineLoaded) == 2)
    assert not psutil.pid_exists(pid)
    assert client.engine_pid != pid
    await client.stop()
    assert BackendState.STALLED in log.states()


async def test_a_slow_reader_costs_no_more_than_its_buffer(make_client: MakeClient) -> None:
    client, log = await make_client(simulation=FAST, server={"max_stream_buffer_bytes": 4096})
    slow = client.generate(ask(client, n=8, max_tokens=400))
    await anext(slow)
    quick = [texts(await collect(client, ask(client, max_tokens=400))) for _ in range(3)]
    assert quick[0] == quick[2]
    await log.until(lambda: log.steps[-1].num_running == 0)
    assert client.num_outstanding == 0
    with pytest.raises(SlowReaderError):
        await anext(slow)


async def test_stop_strings_end_sequences_in_the_engine_too(make_client: MakeClient) -> None:
    client, log = await make_client(simulation=FAST)
    whole = texts(await collect(client, ask(client, max_tokens=100)))[0]
    stop = whole[40:43]
    deltas = await collect(client, ask(client, max_tokens=100, stop=[stop]))
    assert texts(deltas)[0] == whole[: whole.index(stop)]
    assert deltas[0][-1].finish is not None
    assert deltas[0][-1].finish.stop == stop
    await log.until(lambda: log.steps[-1].num_running == 0)
    assert log.steps[-1].num_used_blocks == 0


async def test_drain_loses_nothing_in_flight(make_client: MakeClient) -> None:
    client, _ = await make_client(simulation=FAST)
    streams = [client.generate(ask(client, max_tokens=50)) for _ in range(20)]
    for stream in streams:
        await anext(stream)
    results = [asyncio.create_task(num_tokens(stream)) for stream in streams]
    await client.drain(60.0)
    assert await asyncio.gather(*results) == [50] * 20
    with pytest.raises(UnavailableError):
        await anext(client.generate(ask(client)))
    pid = client.engine_pid
    await client.stop()
    assert pid is not None
    assert not psutil.pid_exists(pid)


async def test_set_failures_end_in_typed_errors_and_the_engine_lives(make_client: MakeClient) -> None:
    client, log = await make_client(simulation=FAST | {"sim_failure_rate": 0.5})
    results = await asyncio.gather(
        *(collect(client, ask(client, f"{i}", max_tokens=5)) for i in range(40)), return_exceptions=True
    )
    failed = [result for result in results if isinstance(result, BaseException)]
    assert {type(error) for error in failed} == {EngineFailedError}
    assert 5 < len(failed) < 35
    assert log.num_of(EngineDied) == 0


async def test_a_folder_without_a_model_is_one_sentence(folder: Path, text: ModelText, tmp_path: Path) -> None:
    log = EventLog()
    client = EngineClient(settings_for(folder), tmp_path, text, on_event=log.on_event)
    await client.start()
    with pytest.raises(ModelLoadError):
        await client.wait_ready()
    await client.stop()
    assert log.num_of(EngineDied) == 1


async def test_a_command_that_cannot_run_is_given_up(folder: Path, text: ModelText) -> None:
    client = EngineClient(
        settings_for(folder, engine=QUICK), folder, text, spawn=lambda: EngineProcess.spawn(("/does/not/exist",))
    )
    await client.start()
    with pytest.raises(SetupError, match="could not be started"):
        await client.wait_ready()
    await client.stop()


async def test_what_an_engine_says_is_logged_by_lines_of_bounded_length(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    script = "import sys; sys.stderr.write('WARNING careful\\n' + 'x' * 50_000 + '\\nplain'); sys.exit(3)"
    process = await EngineProcess.spawn((sys.executable, "-c", script))
    assert await process.wait() == "it exited with status 3 after saying: plain"
    records = [
        (record.levelname, record.getMessage()) for record in caplog.records if "engine: " in record.getMessage()
    ]
    assert records[0] == ("WARNING", "engine: careful")
    assert records[-1] == ("INFO", "engine: plain")
    assert sum(message.count("x") for _, message in records) == 50_000
    assert max(len(message) for _, message in records) <= 8192 + 20
    process.sock.close()


class Raw:
    """An engine process without a client: the test speaks the protocol itself."""

    def __init__(self, process: EngineProcess) -> None:
        self.process = process
        self._reader: FrameReader[FromEngine] = FrameReader(FromEngine)
        process.sock.settimeout(0.0)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.process.sock, data)

    async def until(self, kind: type) -> None:
        async with asyncio.timeout(20):
            while True:
                frames = self._reader.feed(await asyncio.get_running_loop().sock_recv(self.process.sock, 65536))
                if any(isinstance(frame, kind) for frame in frames):
                    return


async def raw_engine(folder: Path, *, heartbeat_seconds: float = 1.0) -> Raw:
    raw = Raw(await EngineProcess.spawn())
    settings = settings_for(folder, engine={"heartbeat_seconds": heartbeat_seconds})
    boot = Boot(epoch=1, settings=settings, model_folder=str(folder), eos_token_ids=())
    await raw.send(encode_frame(boot))
    await raw.until(Ready)
    return raw


async def test_an_engine_whose_client_is_gone_exits(folder: Path) -> None:
    raw = await raw_engine(folder)
    raw.process.sock.close()
    assert await asyncio.wait_for(raw.process.wait(), 20) == "it exited"


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
async def test_an_engine_leaves_its_end_to_its_client(folder: Path, signal_: signal.Signals) -> None:
    raw = await raw_engine(folder, heartbeat_seconds=0.05)
    os.kill(raw.process.pid, signal_)
    await raw.until(Heartbeat)
    await raw.until(Heartbeat)
    raw.process.sock.close()
    assert await asyncio.wait_for(raw.process.wait(), 20) == "it exited"


@pytest.mark.parametrize("data", [b"\xff" * 8, encode_frame(Abort(sequence_ids=()))], ids=["noise", "no boot"])
async def test_an_engine_that_is_sent_nonsense_exits(data: bytes) -> None:
    process = await EngineProcess.spawn()
    await asyncio.get_running_loop().sock_sendall(process.sock, data)
    assert "status 1" in await asyncio.wait_for(process.wait(), 20)
    process.sock.close()


async def test_a_simulated_engine_never_imports_torch(folder: Path) -> None:
    raw = await raw_engine(folder)
    process = psutil.Process(raw.process.pid)
    libraries = [mapping.path for mapping in process.memory_maps()]
    assert any("msgspec" in path for path in libraries)
    assert not any("torch" in path for path in libraries)
    await raw.process.kill()
    raw.process.sock.close()


async def test_the_client_never_imports_torch() -> None:
    script = "import sys, tidemill.engine.client.client; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    assert await process.wait() == 0


def texts(deltas: dict[int, list[Delta]]) -> dict[int, str]:
    return {index: "".join(delta.text for delta in parts) for index, parts in deltas.items()}


async def num_tokens(stream: AsyncGenerator[GenerationChunk, None]) -> int:
    """Tokens of the rest of a stream."""
    return sum([len(chunk.token_ids) async for chunk in stream if isinstance(chunk, Delta)])


async def test_many_sequences_with_many_logprobs_are_no_slow_reader(make_client: MakeClient) -> None:
    # One step of this request is more than the cap of a stream's buffer.
    client, _ = await make_client(simulation=FAST, server={"max_stream_buffer_bytes": 4096})
    deltas = await collect(client, ask(client, n=16, max_tokens=4, num_logprobs=20))
    assert {index: len(text) for index, text in texts(deltas).items()} == dict.fromkeys(range(16), 4)
