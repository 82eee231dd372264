"""Readers that lag, leave or are cancelled, and full queues, against an engine that the test plays."""

import asyncio
import threading

import pytest

from tests.engine.conftest import MakeStage, ask, collect
from tests.fakes.fake_engine import finish
from tidemill.core.backend import BackendState
from tidemill.core.errors import (
    EngineFailedError,
    OverloadedError,
    SlowReaderError,
    UnavailableError,
)
from tidemill.core.requests import Delta, FinishReason
from tidemill.text.tokenizer import Tokenizer

LENGTH = FinishReason.LENGTH


class Gate:
    """A tokenizer that says when it is entered, and goes on when it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.leave = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def slow(_: Tokenizer, text: str, add_special_tokens: bool) -> list[int]:
            loop.call_soon_threadsafe(self.entered.set)
            self.leave.wait(10)
            return [1]

        monkeypatch.setattr(Tokenizer, "encode", slow)
        # Or it would be refused without being tokenized.
        monkeypatch.setattr(Tokenizer, "least_tokens", lambda *_: 0)


async def test_what_the_reader_has_not_taken_is_merged(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = stage.client.generate(ask(stage.client, n=2))
    await anext(stream)
    one, two = await engine.submitted(2)
    for letter in "abc":
        await engine.say(one.sequence_id, letter)
        await engine.say(two.sequence_id, letter.upper())
    await engine.say(one.sequence_id, "", end=finish(LENGTH))
    await engine.say(two.sequence_id, "", end=finish(LENGTH))
    await stage.log.until_steps(8)
    chunks = [chunk async for chunk in stream]
    assert [(c.index, c.text, c.finish is not None) for c in chunks if isinstance(c, Delta)] == [
        (0, "abc", True),
        (1, "ABC", True),
    ]


async def test_a_slow_reader_is_cut_off_and_its_sequences_aborted(make_stage: MakeStage) -> None:
    stage = await make_stage(server={"max_stream_buffer_bytes": 4096})
    engine = await stage.ready_engine()
    stream = stage.client.generate(ask(stage.client, n=2))
    await anext(stream)
    one, two = await engine.submitted(2)
    for count in range(1, 12):
        await engine.say(one.sequence_id, "x" * 100)
        await stage.log.until_steps(count)
    assert set(await engine.aborted()) == {one.sequence_id, two.sequence_id}
    assert stage.client.num_outstanding == 0
    with pytest.raises(SlowReaderError):
        await anext(stream)


async def test_closing_the_generator_aborts_at_once(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = stage.client.generate(ask(stage.client, n=3))
    await anext(stream)
    submits = await engine.submitted(3)
    await engine.say(submits[0].sequence_id, "x", end=finish(LENGTH))
    await anext(stream)
    await stream.aclose()
    assert await engine.aborted() == tuple(submit.sequence_id for submit in submits[1:])
    assert stage.client.num_outstanding == 0


async def test_cancelling_the_reader_aborts_at_once(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = asyncio.create_task(collect(stage.client, ask(stage.client)))
    (submit,) = await engine.submitted(1)
    stream.cancel()
    assert await engine.aborted() == (submit.sequence_id,)
    with pytest.raises(asyncio.CancelledError):
        await stream
    assert stage.client.num_outstanding == 0


async def test_outputs_that_cross_an_abort_are_dropped(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = stage.client.generate(ask(stage.client))
    await anext(stream)
    (submit,) = await engine.submitted(1)
    await stream.aclose()
    await engine.say(submit.sequence_id, "late", end=finish(LENGTH))
    await stage.log.until_steps(1)
    assert stage.client.health().is_ready
    assert stage.client.num_outstanding == 0


async def test_a_failed_sequence_ends_the_request_with_a_typed_error(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = stage.client.generate(ask(stage.client, n=2))
    await anext(stream)
    one, two = await engine.submitted(2)
    await engine.say(one.sequence_id, "text")
    await engine.say(one.sequence_id, "", end=finish(FinishReason.ERROR, error="A step failed."))
    delta = await anext(stream)
    assert isinstance(delta, Delta)
    assert delta.text == "text"
    with pytest.raises(EngineFailedError, match="A step failed"):
        await anext(stream)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert await engine.aborted() == (two.sequence_id,)


async def test_a_full_queue_refuses_and_says_when_to_come_back(make_stage: MakeStage) -> None:
    stage = await make_stage(scheduler={"max_num_seqs": 2, "max_queue": 2})
    engine = await stage.ready_engine()
    streams = [stage.client.generate(ask(stage.client)) for _ in range(4)]
    for stream in streams:
        await anext(stream)
    submits = await engine.submitted(4)
    with pytest.raises(OverloadedError) as caught:
        await anext(stage.client.generate(ask(stage.client)))
    assert caught.value.retry_after_seconds == 1.0
    for submit in submits[:2]:
        await stage.time.advance(3.0)
        await engine.beat()
        await engine.say(submit.sequence_id, "x", end=finish(LENGTH))
        await stage.log.until_steps(1 + submits.index(submit))
    again = stage.client.generate(ask(stage.client, n=2))
    await anext(again)
    with pytest.raises(OverloadedError) as caught:
        await anext(stage.client.generate(ask(stage.client, n=2)))
    # Two ended, 3 s apart, so two more are expected to take about as long again.
    assert caught.value.retry_after_seconds is not None
    assert 3.0 <= caught.value.retry_after_seconds <= 6.0
    for stream in [*streams, again]:
        await stream.aclose()
    assert stage.client.num_outstanding == 0


async def test_finished_requests_that_nobody_reads_are_bounded_too(make_stage: MakeStage) -> None:
    stage = await make_stage(scheduler={"max_num_seqs": 1, "max_queue": 1})
    engine = await stage.ready_engine()
    streams = []
    for count in range(1, 9):
        streams.append(stage.client.generate(ask(stage.client)))
        await anext(streams[-1])
        (submit,) = await engine.submitted(1)
        await engine.say(submit.sequence_id, "x", end=finish(LENGTH))
        await stage.log.until_steps(count)
    assert stage.client.num_outstanding == 0
    with pytest.raises(OverloadedError):
        await anext(stage.client.generate(ask(stage.client)))
    await streams.pop().aclose()
    await anext(stage.client.generate(ask(stage.client)))


async def test_a_request_cancelled_while_it_is_tokenized_leaves_nothing(
    make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await make_stage()
    await stage.ready_engine()
    gate = Gate(monkeypatch)
    stream = asyncio.create_task(collect(stage.client, ask(stage.client, "x" * 100_000)))
    await gate.entered.wait()
    assert stage.client.num_outstanding == 1
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream
    assert stage.client.num_outstanding == 0
    gate.leave.set()


async def test_an_engine_that_dies_while_a_prompt_is_tokenized_makes_the_request_unavailable(
    make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    gate = Gate(monkeypatch)
    stream = asyncio.create_task(collect(stage.client, ask(stage.client, "x" * 100_000)))
    await gate.entered.wait()
    engine.exit()
    await stage.log.until_state(BackendState.RESTARTING)
    gate.leave.set()
    with pytest.raises(UnavailableError):
        await stream
    assert stage.client.num_outstanding == 0
