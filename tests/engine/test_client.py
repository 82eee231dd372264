"""What a request becomes and what comes back, against an engine that the test plays."""

import asyncio
import threading

import msgspec
import pytest

from tests.engine.conftest import MakeStage, ask, collect
from tests.fakes.event_log import EventLog
from tests.fakes.fake_engine import finish
from tests.fakes.virtual_time import settle
from tidemill.core.backend import BackendState
from tidemill.core.errors import (
    ContextLengthError,
    EngineFailedError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    SlowReaderError,
    UnavailableError,
)
from tidemill.core.messages import Message
from tidemill.core.requests import Accepted, ChatPrompt, Delta, FinishReason, TokensPrompt
from tidemill.engine.protocol import SequenceOutput, WireLogprobs
from tidemill.text.tokenizer import Tokenizer

LENGTH = FinishReason.LENGTH


async def test_a_request_becomes_submissions_prompt_major_with_their_random_keys(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    request = ask(stage.client, "ab", "c", n=2, stop=["zz"], max_tokens=7)
    stream = asyncio.create_task(collect(stage.client, request))
    submits = await engine.submitted(4)
    assert [(s.prompt_index, s.sample_index) for s in submits] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [s.prompt_token_ids for s in submits] == [(97, 98), (97, 98), (99,), (99,)]
    assert [s.max_new_tokens for s in submits] == [7] * 4
    assert {s.sampling.stop for s in submits} == {()}
    for submit in reversed(submits):
        await engine.say(submit.sequence_id, f"{submit.sequence_id}", end=finish(LENGTH))
    deltas = await stream
    texts = {index: "".join(d.text for d in parts) for index, parts in deltas.items()}
    assert texts == {index: str(submit.sequence_id) for index, submit in enumerate(submits)}


async def test_accepted_comes_first_with_the_prompt_tokens(make_stage: MakeStage) -> None:
    stage = await make_stage()
    await stage.ready_engine()
    request = msgspec.structs.replace(ask(stage.client), prompts=(TokensPrompt(token_ids=(5, 6, 7)),))
    stream = stage.client.generate(request)
    assert await anext(stream) == Accepted(num_prompt_tokens=(3,), prompt_token_ids=((5, 6, 7),))
    await stream.aclose()


async def test_a_chat_is_rendered_by_the_template(make_stage: MakeStage) -> None:
    stage = await make_stage()
    await stage.ready_engine()
    chat = ChatPrompt(messages=(Message(role="user", content="hi"),))
    stream = stage.client.generate(msgspec.structs.replace(ask(stage.client), prompts=(chat,)))
    accepted = await anext(stream)
    assert isinstance(accepted, Accepted)
    start, end = 257, 258
    assert accepted.prompt_token_ids[0] == (start, *b"user\nhi", end, *b"\n", start, *b"assistant\n")
    await stream.aclose()


async def test_timings_are_measured_from_the_arrival(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = asyncio.create_task(collect(stage.client, ask(stage.client)))
    (submit,) = await engine.submitted(1)
    await stage.time.advance(0.5)
    await engine.say(submit.sequence_id, "ab", first=True)
    await until_steps(stage.log, 1)
    await stage.time.advance(1.5)
    await engine.say(submit.sequence_id, "c", end=finish(LENGTH))
    end = (await stream)[0][-1].finish
    assert end is not None
    assert end.reason is LENGTH
    timings = end.timings
    assert (timings.time_to_first_token_seconds, timings.total_seconds) == (0.5, 2.0)
    assert (timings.num_prompt_tokens, timings.num_output_tokens, timings.num_cached_tokens) == (5, 3, 3)
    assert (timings.num_preemptions, timings.queue_seconds) == (1, 0.25)


async def test_a_stop_string_over_token_boundaries_ends_and_aborts(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = asyncio.create_task(collect(stage.client, ask(stage.client, stop=["END", "never"])))
    (submit,) = await engine.submitted(1)
    await engine.say(submit.sequence_id, "a E", first=True)
    for letter in "ND more":
        await engine.say(submit.sequence_id, letter)
    deltas = (await stream)[0]
    assert "".join(delta.text for delta in deltas) == "a "
    assert [token for delta in deltas for token in delta.token_ids] == list(b"a END")
    end = deltas[-1].finish
    assert end is not None
    assert (end.reason, end.stop, end.timings.num_output_tokens) == (FinishReason.STOP, "END", 5)
    assert (end.timings.num_cached_tokens, end.timings.queue_seconds) == (2, 0.125)
    assert await engine.aborted() == (submit.sequence_id,)
    assert stage.client.num_outstanding == 0


async def test_tokens_after_a_stop_string_in_the_same_step_do_not_count(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = asyncio.create_task(collect(stage.client, ask(stage.client, stop=["x"], num_logprobs=0)))
    (submit,) = await engine.submitted(1)
    logprobs = tuple(WireLogprobs(byte, -1.0, (), ()) for byte in b"abxyz")
    await engine.step(SequenceOutput(sequence_id=submit.sequence_id, token_ids=tuple(b"abxyz"), logprobs=logprobs))
    (delta,) = (await stream)[0]
    assert (delta.text, delta.token_ids, len(delta.logprobs)) == ("ab", tuple(b"abx"), 3)


async def test_a_possible_stop_string_is_held_back_and_given_at_the_end(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = stage.client.generate(ask(stage.client, stop=["END"]))
    await anext(stream)
    (submit,) = await engine.submitted(1)
    await engine.say(submit.sequence_id, "a EN")
    delta = await anext(stream)
    assert isinstance(delta, Delta)
    assert delta.text == "a "
    await engine.say(submit.sequence_id, "", end=finish(LENGTH))
    assert [chunk.text async for chunk in stream if isinstance(chunk, Delta)] == ["EN"]


async def test_stop_strings_count_only_after_min_tokens(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = asyncio.create_task(collect(stage.client, ask(stage.client, stop=["x"], min_tokens=3)))
    (submit,) = await engine.submitted(1)
    await engine.say(submit.sequence_id, "axbcxd")
    assert "".join(delta.text for delta in (await stream)[0]) == "axbc"


async def test_characters_are_whole(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = asyncio.create_task(collect(stage.client, ask(stage.client)))
    (submit,) = await engine.submitted(1)
    for byte in "é🙂".encode():
        await engine.say(submit.sequence_id, bytes([byte]))
    await engine.say(submit.sequence_id, b"\xe2", end=finish(LENGTH))
    assert "".join(delta.text for delta in (await stream)[0]) == "é🙂\ufffd"


@pytest.mark.parametrize(("include", "expected"), [(False, "ab"), (True, "ab.")])
async def test_a_stop_token_is_text_only_if_asked_for(make_stage: MakeStage, include: bool, expected: str) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    request = ask(stage.client, stop_token_ids=[ord(".")], include_stop=include)
    stream = asyncio.create_task(collect(stage.client, request))
    (submit,) = await engine.submitted(1)
    await engine.say(submit.sequence_id, "ab.", end=finish(stop_token_id=ord(".")))
    deltas = (await stream)[0]
    assert "".join(delta.text for delta in deltas) == expected
    end = deltas[-1].finish
    assert end is not None
    assert end.stop == ord(".")


async def test_log_probabilities_become_texts_and_bytes(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = asyncio.create_task(collect(stage.client, ask(stage.client, num_logprobs=2)))
    (submit,) = await engine.submitted(1)
    raw = WireLogprobs(0xE2, -0.5, (0xE2, ord("a")), (-0.5, -2.0))
    await engine.step(
        SequenceOutput(sequence_id=submit.sequence_id, token_ids=(0xE2,), logprobs=(raw,), finish=finish(LENGTH))
    )
    (delta,) = (await stream)[0]
    (position,) = delta.logprobs
    assert (position.chosen.utf8, position.chosen.text, position.chosen.logprob) == (b"\xe2", "\ufffd", -0.5)
    assert [(top.text, top.logprob) for top in position.top] == [("\ufffd", -0.5), ("a", -2.0)]


async def test_echo_returns_each_prompt_before_its_continuation(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = asyncio.create_task(collect(stage.client, ask(stage.client, "one", "two", n=2, echo=True)))
    for submit in await engine.submitted(4):
        await engine.say(submit.sequence_id, "!", end=finish(LENGTH))
    deltas = await stream
    assert ["".join(delta.text for delta in deltas[i]) for i in range(4)] == ["one!", "one!", "two!", "two!"]
    assert all(deltas[i][0].token_ids == () for i in range(4))


async def test_prompt_log_probabilities_come_with_the_echo_once_complete(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    request = ask(stage.client, "abc", echo=True, num_prompt_logprobs=0)
    stream = asyncio.create_task(collect(stage.client, request))
    (submit,) = await engine.submitted(1)
    for byte in b"bc":
        raw = (WireLogprobs(byte, -1.0, (), ()),)
        await engine.step(SequenceOutput(sequence_id=submit.sequence_id, prompt_logprobs=raw))
    await until_steps(stage.log, 2)
    await engine.say(submit.sequence_id, "d", end=finish(LENGTH))
    first, *rest = (await stream)[0]
    assert first.text.startswith("abc")
    assert [p.chosen.text if p else None for p in first.prompt_logprobs] == [None, "b", "c"]
    assert first.text + "".join(delta.text for delta in rest) == "abcd"


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
    await until_steps(stage.log, 8)
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
        await until_steps(stage.log, count)
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
    await until_steps(stage.log, 1)
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
        await until_steps(stage.log, 1 + submits.index(submit))
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
        await until_steps(stage.log, count)
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
    entered, leave = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(self: Tokenizer, text: str, add_special_tokens: bool) -> list[int]:
        loop.call_soon_threadsafe(entered.set)
        leave.wait(10)
        return [1]

    monkeypatch.setattr(Tokenizer, "encode", slow)
    monkeypatch.setattr(Tokenizer, "least_tokens", lambda *_: 0)  # or it would be refused without being tokenized
    stream = asyncio.create_task(collect(stage.client, ask(stage.client, "x" * 100_000)))
    await entered.wait()
    assert stage.client.num_outstanding == 1
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream
    assert stage.client.num_outstanding == 0
    leave.set()


async def test_an_engine_that_dies_while_a_prompt_is_tokenized_makes_the_request_unavailable(
    make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    entered, leave = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(self: Tokenizer, text: str, add_special_tokens: bool) -> list[int]:
        loop.call_soon_threadsafe(entered.set)
        leave.wait(10)
        return [1]

    monkeypatch.setattr(Tokenizer, "encode", slow)
    monkeypatch.setattr(Tokenizer, "least_tokens", lambda *_: 0)  # or it would be refused without being tokenized
    stream = asyncio.create_task(collect(stage.client, ask(stage.client, "x" * 100_000)))
    await entered.wait()
    engine.exit()
    await stage.log.until_state(BackendState.RESTARTING)
    leave.set()
    with pytest.raises(UnavailableError):
        await stream
    assert stage.client.num_outstanding == 0


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
    await until_steps(stage.log, 1)
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


async def until_steps(log: EventLog, count: int) -> None:
    await log.until(lambda: len(log.steps) >= count)
