"""What is predicted beside streams that sit out, and beside those that have all the places."""

from collections.abc import AsyncGenerator

import msgspec
import pytest

from tests.engine.conftest import MakeStage, Stage, ask
from tests.engine.test_promise import SLOW
from tests.fakes.fake_engine import INFO
from tidemill.core.errors import OverloadedError
from tidemill.core.objectives import Objectives
from tidemill.core.requests import Accepted, GenerationChunk
from tidemill.engine.client.offer import Offer, OfferedPrompt
from tidemill.engine.protocol import Ready


async def flooded(
    make_stage: MakeStage, num_streams: int, *, ignore_eos: bool = False, **scheduler: int
) -> tuple[Stage, list[AsyncGenerator[GenerationChunk, None]]]:
    """A client that is promised 500 ms to the first token, with streams of one key at their eighth token."""
    stage = await make_stage(slo={"slo_ttft_seconds": 0.5, "slo_tpot_seconds": 0.2}, scheduler=scheduler)
    engine = await stage.yard.next()
    await engine.send(Ready(epoch=1, info=msgspec.structs.replace(INFO, costs=SLOW)))
    await stage.log.until(lambda: stage.client.health().is_ready)
    asked = ask(stage.client, max_tokens=400, ignore_eos=ignore_eos)
    own = msgspec.structs.replace(asked, tenant="flood")
    streams = [stage.client.generate(own) for _ in range(num_streams)]
    for stream in streams:
        await anext(stream)
    for submit in await engine.submitted(num_streams):
        await engine.say(submit.sequence_id, "abcdefgh", first=True)
    for stream in streams:
        await anext(stream)
    return stage, streams


def predicted_seconds(stage: Stage) -> float:
    """When a prompt of 200 tokens of another key would have its first token."""
    promise = stage.client._promise
    objectives = Objectives(ttft_seconds=0.5, tpot_seconds=0.2)
    offer = Offer(
        prompts=(OfferedPrompt(200, num_cached=0, chain=None),),
        max_new_tokens=10,
        is_length_asked=True,
        is_length_known=False,
        priority=0,
        tenant="quiet",
        objectives=objectives,
        asked=objectives,
        arrival=promise._clock(),
    )
    prediction = promise.foresight.predict(offer)
    assert prediction is not None
    return prediction.ttft_seconds


async def test_an_answer_that_nothing_else_ends_holds_its_place_to_its_length(make_stage: MakeStage) -> None:
    seconds = []
    for ignore_eos in (False, True):
        stage, streams = await flooded(make_stage, 4, ignore_eos=ignore_eos, max_num_seqs=4)
        seconds.append(predicted_seconds(stage))
        for stream in streams:
            await stream.aclose()
    usual, known = seconds
    assert known > 5.0 * usual, "392 tokens of each are to come, and not the 56 that are usual"


async def test_streams_that_sit_out_hold_their_places(make_stage: MakeStage) -> None:
    for places, is_taken in ((4, False), (5, True)):
        stage, streams = await flooded(make_stage, 4, max_num_seqs=places)
        quiet = stage.client.generate(msgspec.structs.replace(ask(stage.client), tenant="quiet"))
        if is_taken:
            assert isinstance(await anext(quiet), Accepted)
            await quiet.aclose()
        else:
            with pytest.raises(OverloadedError, match="time to the first token"):
                await anext(quiet)
        for stream in streams:
            await stream.aclose()


async def test_streams_that_are_late_are_not_thought_to_sit_out(make_stage: MakeStage) -> None:
    stage, streams = await flooded(make_stage, 12, max_num_seqs=32)
    seconds = []
    for wait in (0.0, 10.0):
        stage.time.jump(wait)
        seconds.append(predicted_seconds(stage))
    in_time, late = seconds
    assert late > in_time, "their rows are in each of its steps, though no step is under way any more"
    for stream in streams:
        await stream.aclose()
