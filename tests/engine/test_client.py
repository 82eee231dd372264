"""What is refused, told and drained, against an engine that the test plays."""

import asyncio
import threading

import msgspec
import pytest

from tests.engine.conftest import MakeStage, ask, collect
from tests.fakes.fake_engine import finish
from tests.fakes.virtual_time import settle
from tidemill.core.backend import BackendState
from tidemill.core.errors import (
    ContextLengthError,
    EngineFailedError,
    InvalidRequestError,
    ModelNotFoundError,
    UnavailableError,
)
from tidemill.core.requests import FinishReason
from tidemill.engine.protocol import SequenceOutput, WireLogprobs
from tidemill.text.tokenizer import Tokenizer

LENGTH = FinishReason.LENGTH


async def test_a_request_that_could_never_fit_is_the_clients_fault(make_stage: MakeStage) -> None:
    stage = await make_stage(scheduler={"max_num_seqs": 1, "max_queue": 1})
    await stage.ready_engine()
    with pytest.raises(InvalidRequestError, match="3 sequences"):
        await anext(stage.client.generate(ask(stage.client, n=3)))


async def test_invalid_requests_raise_before_the_first_chunk_and_leave_nothing(make_stage: MakeStage) -> None:
    stage = await make_stage()
    await stage.ready_engine()
    for request, error in [
        (ask(stage.client, max_tokens=0), InvalidRequestError),
        (ask(stage.client, n=0), InvalidRequestError),
        (ask(stage.client, n=-5), InvalidRequestError),
        (ask(stage.client, "x" * 600), ContextLengthError),
        (ask(stage.client, "x" * 5000), ContextLengthError),
        (msgspec.structs.replace(ask(stage.client), prompts=()), InvalidRequestError),
        (msgspec.structs.replace(ask(stage.client), model="other"), ModelNotFoundError),
    ]:
        with pytest.raises(error):
            await anext(stage.client.generate(request))
    assert stage.client.num_outstanding == 0


async def test_long_prompts_are_tokenized_off_the_event_loop(
    make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await make_stage()
    await stage.ready_engine()
    threads: list[str] = []
    encode = Tokenizer.encode

    def spy(self: Tokenizer, text: str, add_special_tokens: bool) -> list[int]:
        threads.append(threading.current_thread().name)
        return encode(self, text, add_special_tokens)

    monkeypatch.setattr(Tokenizer, "encode", spy)
    monkeypatch.setattr(Tokenizer, "least_tokens", lambda *_: 0)
    with pytest.raises(ContextLengthError):
        await anext(stage.client.generate(ask(stage.client, "x" * 100_000)))
    await stage.client.generate(ask(stage.client, "short")).aclose()
    assert len(threads) == 1
    assert threads[0].startswith("prompt")


async def test_steps_are_told(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    await engine.step()
    await stage.log.until_steps(1)
    assert stage.log.steps[0].num_total_blocks == 99


async def test_drain_refuses_new_requests_and_waits_for_those_under_way(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = asyncio.create_task(collect(stage.client, ask(stage.client)))
    (submit,) = await engine.submitted(1)
    draining = asyncio.create_task(stage.client.drain(30.0))
    await settle()
    assert stage.client.health().state is BackendState.DRAINING
    with pytest.raises(UnavailableError):
        await anext(stage.client.generate(ask(stage.client)))
    assert not draining.done()
    await engine.say(submit.sequence_id, "done", end=finish(LENGTH))
    assert (await stream)[0][-1].text == "done"
    await draining


async def test_drain_ends_what_does_not_finish_in_time(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = asyncio.create_task(collect(stage.client, ask(stage.client)))
    (submit,) = await engine.submitted(1)
    await stage.client.drain(0.0)
    with pytest.raises(UnavailableError):
        await stream
    assert await engine.aborted() == (submit.sequence_id,)


async def test_an_output_that_breaks_the_text_ends_only_its_request(
    make_stage: MakeStage, caplog: pytest.LogCaptureFixture
) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    bad = asyncio.create_task(collect(stage.client, ask(stage.client, num_logprobs=1)))
    (broken,) = await engine.submitted(1)
    good = asyncio.create_task(collect(stage.client, ask(stage.client)))
    (whole,) = await engine.submitted(1)
    uneven = (WireLogprobs(1, -1.0, (1, 2), (-1.0,)),)
    await engine.step(SequenceOutput(sequence_id=broken.sequence_id, token_ids=(1,), logprobs=uneven))
    with pytest.raises(EngineFailedError):
        await bad
    assert "could not be turned into text" in caplog.text
    await engine.say(whole.sequence_id, "fine", end=finish(LENGTH))
    assert (await good)[0][-1].text == "fine"
