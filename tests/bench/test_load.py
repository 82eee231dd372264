"""Pacing on a virtual clock: who sends when, and what becomes of it when somebody stops it."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.fakes.virtual_time import VirtualTime, settle
from tidemill.bench.load import ClosedLoop, Load, OpenLoop
from tidemill.bench.record import RequestRecord
from tidemill.bench.workload import PlannedRequest


def planned(*offsets: float | None) -> Iterator[PlannedRequest]:
    return (PlannedRequest(index, "", 1, 1, offset) for index, offset in enumerate(offsets))


class Server:
    """Answers after `seconds` of virtual time."""

    def __init__(self, time: VirtualTime, seconds: float) -> None:
        self._time = time
        self.seconds = seconds

    async def send(self, request: PlannedRequest, record: RequestRecord) -> None:
        await self._time.sleep(self.seconds)
        record.piece_seconds.append(self._time())
        record.last_seconds = self._time()


async def run(time: VirtualTime, work: "asyncio.Task[None]", seconds: float) -> None:
    await settle()
    for _ in range(round(seconds / 0.25)):
        await time.advance(0.25)
    assert work.done()
    await work


def sent(load: Load) -> list[float]:
    return [record.sent_seconds for record in load.records]


async def test_users_ask_again_when_they_have_their_answer() -> None:
    time = VirtualTime()
    load = Load(Server(time, 1.0).send, time, time.sleep)
    work = asyncio.create_task(load.closed(ClosedLoop(2, 5), planned(*[None] * 9)))
    await run(time, work, 4)
    assert sent(load) == [0.0, 0.0, 1.0, 1.0, 2.0]
    assert [record.is_first_of_user for record in load.records] == [True, True, False, False, False]
    assert load.end_seconds - load.begin_seconds == 3.0
    assert [record.e2e_seconds for record in load.records] == [1.0] * 5


async def test_users_start_over_a_ramp_and_think() -> None:
    time = VirtualTime()
    load = Load(Server(time, 1.0).send, time, time.sleep)
    plan = ClosedLoop(2, None, duration_seconds=4.0, ramp_seconds=1.0, think_seconds=1.0)
    await run(time, asyncio.create_task(load.closed(plan, planned(*[None] * 99))), 6)
    assert sent(load) == [0.0, 0.5, 2.0, 2.5]  # at 4.0 and 4.5 no request may start any more


async def test_who_is_refused_comes_back_when_the_server_says() -> None:
    time = VirtualTime()
    server = Server(time, 0.0)

    async def refuse_first(request: PlannedRequest, record: RequestRecord) -> None:
        if request.index == 0:
            record.error, record.retry_after_seconds = "status 429", 3.0
        else:
            await server.send(request, record)

    load = Load(refuse_first, time, time.sleep)
    await run(time, asyncio.create_task(load.closed(ClosedLoop(1, 2), planned(None, None))), 4)
    assert sent(load) == [0.0, 3.0]


async def test_who_rests_does_not_hold_up_the_end() -> None:
    time = VirtualTime()

    async def refuse(request: PlannedRequest, record: RequestRecord) -> None:
        record.error, record.retry_after_seconds = "status 429", 50.0

    load = Load(refuse, time, time.sleep)
    await run(time, asyncio.create_task(load.closed(ClosedLoop(2, 2), planned(None, None))), 0)
    assert load.end_seconds == 0.0, "nothing is left to send"
    load = Load(refuse, time, time.sleep)
    await run(time, asyncio.create_task(load.closed(ClosedLoop(2, None, 4.0), planned(*[None] * 9))), 4)
    assert load.end_seconds - load.begin_seconds == 4.0
    load = Load(refuse, time, time.sleep)
    work = asyncio.create_task(load.closed(ClosedLoop(2, 9), planned(*[None] * 9)))
    await settle()
    load.stop_sending()
    await run(time, work, 0)
    assert len(load.records) == 2


async def test_an_open_loop_does_not_wait_for_answers() -> None:
    time = VirtualTime()
    load = Load(Server(time, 10.0).send, time, time.sleep)
    await run(time, asyncio.create_task(load.open(OpenLoop(None), planned(0.0, 0.5, 2.0))), 13)
    assert sent(load) == [0.0, 0.5, 2.0]


async def test_an_open_loop_ends_by_number_or_by_time() -> None:
    for plan in (OpenLoop(2), OpenLoop(None, duration_seconds=1.0)):
        time = VirtualTime()
        load = Load(Server(time, 1.0).send, time, time.sleep)
        await run(time, asyncio.create_task(load.open(plan, planned(0.0, 0.5, 1.0, 1.5))), 3)
        assert sent(load) == [0.0, 0.5]


async def test_latency_counts_from_when_a_late_request_was_due() -> None:
    time = VirtualTime()
    load = Load(Server(time, 1.0).send, time, time.sleep)
    work = asyncio.create_task(load.open(OpenLoop(None), planned(0.0, 0.5)))
    await settle()
    time.jump(3.0)  # the client's machine did something else
    await run(time, work, 5)
    late = load.records[1]
    assert (late.scheduled_seconds, late.sent_seconds) == (0.5, 3.0)
    assert late.ttft_seconds == pytest.approx(1.0 + 2.5, abs=0.26)


async def test_what_is_over_the_cap_is_a_failure_and_not_forgotten() -> None:
    time = VirtualTime()
    load = Load(Server(time, 2.0).send, time, time.sleep)
    told: list[int] = []
    load.watchers.append(lambda record: told.append(record.index))
    work = asyncio.create_task(load.open(OpenLoop(None, max_in_flight=2), planned(0.0, 0.5, 1.0, 2.5)))
    await run(time, work, 5)
    assert [record.error for record in load.records] == [None, None, "not_sent", None]
    assert told == [2, 0, 1, 3]


async def test_a_stop_keeps_what_there_is() -> None:
    time = VirtualTime()
    load = Load(Server(time, 1.0).send, time, time.sleep)
    work = asyncio.create_task(load.closed(ClosedLoop(2, 100), planned(*[None] * 100)))
    await settle()
    await time.advance(1.5)
    load.stop()
    await work
    assert [record.is_cancelled for record in load.records] == [False, False, True, True]
    assert [record.is_success for record in load.records] == [True, True, False, False]
    assert load.num_in_flight == 0


async def test_a_defect_ends_the_run() -> None:
    async def send(request: PlannedRequest, record: RequestRecord) -> None:
        raise ZeroDivisionError

    load = Load(send, VirtualTime(), asyncio.sleep)
    with pytest.raises(ZeroDivisionError):
        await load.closed(ClosedLoop(2, 100), planned(*[None] * 100))


async def test_who_stops_sending_still_gets_the_answers_under_way() -> None:
    for is_open in (False, True):
        time = VirtualTime()
        load = Load(Server(time, 1.0).send, time, time.sleep)
        if is_open:
            work = asyncio.create_task(load.open(OpenLoop(None), planned(0.0, 0.5, 1.0, 1.5, 2.0)))
        else:
            work = asyncio.create_task(load.closed(ClosedLoop(2, 9), planned(*[None] * 9)))
        load.watchers.append(lambda _, load=load: load.stop_sending())  # type: ignore[misc]
        await run(time, work, 4)
        # The first answer comes at 1.0, when the open loop's third request has just been sent or is not sent any more.
        assert all(record.is_success for record in load.records)
        assert max(sent(load)) <= 1.0
        assert len(load.records) in ({2, 3} if is_open else {2})
