"""What is predicted beside streams that sit out."""

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
    make_stage: MakeStage, num_streams: int, **scheduler: int
) -> tuple[Stage, list[AsyncGenerator[GenerationChunk, None]]]:
    """A client that is promised 500 ms to the first token, with streams of one key at their eighth token."""
    stage = await make_stage(slo={"slo_ttft_seconds": 0.5, "slo_tpot_seconds": 0.2}, scheduler=scheduler)
    engine = await stage.yard.next()
    await engine.send(Ready(epoch=1, info=msgspec.structs.replace(INFO, costs=SLOW)))
    await stage.log.until(lambda: stage.client.health().is_ready)
    own = msgspec.structs.replace(ask(stage.client, max_tokens=400), tenant="flood")
    streams = [stage.client.generate(own) for _ in range(num_streams)]
    for stream in streams:
        await anext(stream)
    for submit in await engine.submitted(num_streams):
        await engine.say(submit.sequence_id, "abcdefgh", first=True)
    for stream in streams:
        await anext(stream)
    return stage, streams


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
    promise = stage.client._promise
    seconds = []
    for wait in (0.0, 10.0):
        stage.time.jump(wait)
        now = promise._clock()
        objectives = Objectives(ttft_seconds=0.5, tpot_seconds=0.2)
        offer = Offer(
            prompts=(OfferedPrompt(200, num_cached=0, chain=None),),
            max_new_tokens=10,
            is_length_asked=True,
            priority=0,
            tenant="quiet",
            objectives=objectives,
            asked=objectives,
            arrival=now,
        )
        prediction = promise.foresight.predict(offer)
        assert prediction is not None
        seconds.append(prediction.ttft_seconds)
    in_time, late = seconds
    assert late > in_time, "their rows are in each of its steps, though no step is under way any more"
    for stream in streams:
        await stream.aclose()
