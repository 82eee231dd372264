"""What a request becomes and the text that comes back, against an engine that the test plays."""

import asyncio

import msgspec
import pytest

from tests.engine.conftest import MakeStage, ask, collect
from tests.fakes.fake_engine import STATS, finish
from tidemill.core.messages import Message
from tidemill.core.requests import Accepted, ChatPrompt, Delta, FinishReason, TokensPrompt
from tidemill.engine.protocol import SequenceOutput, WireLogprobs

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
    await stage.log.until_steps(1)
    await stage.time.advance(1.5)
    await engine.say(submit.sequence_id, "c", end=finish(LENGTH))
    end = (await stream)[0][-1].finish
    assert end is not None
    assert end.reason is LENGTH
    timings = end.timings
    assert (timings.time_to_first_token_seconds, timings.decode_seconds, timings.total_seconds) == (0.5, 1.5, 2.0)
    assert (timings.num_prompt_tokens, timings.num_output_tokens, timings.num_cached_tokens) == (5, 3, 3)
    assert (timings.num_preemptions, timings.queue_seconds) == (1, 0.25)


async def test_steps_that_are_reported_in_one_go_have_taken_their_time(make_stage: MakeStage) -> None:
    stage = await make_stage()
    engine = await stage.ready_engine()
    stream = asyncio.create_task(collect(stage.client, ask(stage.client)))
    (submit,) = await engine.submitted(1)
    await engine.say(submit.sequence_id, "a", first=True)
    for letter in "bcd":
        await engine.say(submit.sequence_id, letter)
    await engine.say(submit.sequence_id, "e", end=finish(LENGTH))
    end = (await stream)[0][-1].finish
    assert end is not None
    assert end.timings.total_seconds == 0.0, "nobody has waited"
    assert end.timings.decode_seconds == pytest.approx(4 * STATS.step_seconds)


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
    await stage.log.until_steps(2)
    await engine.say(submit.sequence_id, "d", end=finish(LENGTH))
    first, *rest = (await stream)[0]
    assert first.text.startswith("abc")
    assert [p.chosen.text if p else None for p in first.prompt_logprobs] == [None, "b", "c"]
    assert first.text + "".join(delta.text for delta in rest) == "abcd"
