"""Bodies that arrive together share one bound."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.requests import Request

from tidemill.api.body import BodyReader
from tidemill.core.errors import OverloadedError


def slow_request(first: bytes, more: asyncio.Event) -> Request:
    async def pieces() -> AsyncIterator[dict[str, object]]:
        yield {"type": "http.request", "body": first, "more_body": True}
        await more.wait()
        yield {"type": "http.request", "body": b"!", "more_body": False}

    messages = pieces()
    return Request({"type": "http", "method": "POST", "headers": []}, lambda: anext(messages))  # type: ignore[arg-type]


async def test_what_arrives_at_one_time_is_bounded_and_given_back() -> None:
    reader = BodyReader(max_bytes=100, max_arriving_bytes=150)
    more = asyncio.Event()
    first = asyncio.create_task(reader.read(slow_request(b"a" * 90, more)))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as caught:
        await reader.read(slow_request(b"b" * 90, more))
    assert caught.value.retry_after_seconds == 1.0
    more.set()
    assert await first == b"a" * 90 + b"!"
    assert await reader.read(slow_request(b"c" * 99, more)) == b"c" * 99 + b"!"


async def test_a_body_whose_client_leaves_gives_its_room_back() -> None:
    reader = BodyReader(max_bytes=100, max_arriving_bytes=150)
    left = asyncio.create_task(reader.read(slow_request(b"a" * 90, asyncio.Event())))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    more = asyncio.Event()
    more.set()
    assert len(await reader.read(slow_request(b"b" * 90, more))) == 91
