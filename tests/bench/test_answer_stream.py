"""What counts as a piece of answer, in the streams that servers really send."""

import json
from typing import Any

import msgspec
import pytest

from tidemill.bench.answer_stream import MAX_LINE_BYTES, AnswerStream, Event, refusal_message
from tidemill.bench.exchange_failures import ExchangeFailedError, FailureKind
from tidemill.bench.record import RequestRecord

OK = {b"content-type": b"text/event-stream; charset=utf-8"}


def stream() -> tuple[AnswerStream, RequestRecord]:
    record = RequestRecord(0, 0.0, 0.0)
    made = AnswerStream(record, msgspec.json.Decoder(Event))
    made.head(200, OK)
    return made, record


def read(*events: dict[str, Any]) -> RequestRecord:
    """Each event a second later than the one before."""
    made, record = stream()
    for number, event in enumerate(events):
        made.body(float(number), f"data: {json.dumps(event)}\n\n".encode())
    made.body(99.0, b"data: [DONE]\n\n")
    made.finish()
    return record


def text(text: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": 0, "text": text, "finish_reason": finish, "logprobs": None}]}


def delta(finish: str | None = None, **fields: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}], "usage": None}


def usage(prompt: int, output: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": 0}}


def test_a_completion() -> None:
    record = read(text("a"), text(" b"), text("", "length"), usage(5, 7))
    assert list(record.piece_seconds) == [0.0, 1.0]
    assert record.last_seconds == 2.0
    assert (record.num_prompt_tokens, record.num_output_tokens, record.num_tokens) == (5, 7, 7)


def test_a_token_without_text_is_a_piece() -> None:
    assert list(read(text(""), text("b", "stop")).piece_seconds) == [0.0, 1.0]


def test_a_chat_begins_with_its_first_content_not_its_role() -> None:
    record = read(delta(role="assistant", content=""), delta(content="a"), delta(content="b"), delta("stop"))
    assert list(record.piece_seconds) == [1.0, 2.0]
    assert record.last_seconds == 3.0


@pytest.mark.parametrize(
    "fields",
    [{"role": "assistant", "content": "a"}, {"reasoning_content": "a"}, {"tool_calls": [{"index": 0}]}],
)
def test_content_reasoning_and_tool_calls_are_answer(fields: dict[str, Any]) -> None:
    assert list(read(delta(**fields), delta("stop")).piece_seconds) == [0.0]


def test_null_fields_are_none() -> None:
    record = read(delta(role="assistant", content=None, tool_calls=None), delta(content="a", error=None), delta("stop"))
    assert list(record.piece_seconds) == [1.0]


def test_an_answer_of_no_text_has_the_time_of_its_end() -> None:
    assert list(read(text("", "stop"), usage(5, 1)).piece_seconds) == [0.0]


def test_events_cut_anywhere_are_put_together() -> None:
    whole = b"".join(f"data: {json.dumps(e)}\r\n\r\n".encode() for e in (text("ä"), text("b", "stop"), usage(1, 2)))
    for size in range(1, 40):
        made, record = stream()
        for begin in range(0, len(whole), size):
            made.body(float(begin), whole[begin : begin + size])
        made.finish()
        assert len(record.piece_seconds) == 2
        assert record.num_output_tokens == 2


def test_cached_tokens_are_kept() -> None:
    event = usage(5, 1)
    event["usage"]["prompt_tokens_details"] = {"cached_tokens": 4}
    assert read(text("a", "stop"), event).num_cached_tokens == 4


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"data: {nonsense\n", FailureKind.PROTOCOL),
        (b'data: {"choices": 3}\n', FailureKind.PROTOCOL),
        (b'data: {"error": {"message": "engine died"}}\n', FailureKind.STREAM_ERROR),
        (b"x" * (MAX_LINE_BYTES + 1), FailureKind.PROTOCOL),
        (b'data: {"choices": null, "error": ' + b"[" * 100_000 + b"\n", FailureKind.PROTOCOL),
        (b'data: {"choices": null, "error": {"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}\n", FailureKind.PROTOCOL),
    ],
)
def test_what_is_no_answer_fails(data: bytes, kind: FailureKind) -> None:
    made, _ = stream()
    with pytest.raises(ExchangeFailedError) as failed:
        made.body(0.0, data)
    assert failed.value.kind is kind
    assert len(failed.value.detail) < 700


@pytest.mark.parametrize("events", [[], [text("a")], [delta(role="assistant", content="")]])
def test_half_an_answer_is_incomplete(events: list[dict[str, Any]]) -> None:
    with pytest.raises(ExchangeFailedError) as failed:
        read(*events)
    assert failed.value.kind is FailureKind.INCOMPLETE


def test_a_refusal_is_counted_by_its_status() -> None:
    made = AnswerStream(RequestRecord(0, 0.0, 0.0), msgspec.json.Decoder(Event))
    made.head(429, {})
    made.body(0.0, b'{"error": {"message": "the queue')
    made.body(0.0, b' is full"}}')
    with pytest.raises(ExchangeFailedError) as failed:
        made.finish()
    assert (failed.value.label, failed.value.detail) == ("status 429", "the queue is full")


@pytest.mark.parametrize(("header", "seconds"), [(b"7", 7.0), (b"9999", 60.0), (b"-1", None), (b"soon", None)])
def test_a_refusal_may_say_when_to_come_back(header: bytes, seconds: float | None) -> None:
    record = RequestRecord(0, 0.0, 0.0)
    AnswerStream(record, msgspec.json.Decoder(Event)).head(429, {b"retry-after": header})
    assert record.retry_after_seconds == seconds


@pytest.mark.parametrize("count", [-3, 10**26])
def test_a_count_that_cannot_be_is_no_answer(count: int) -> None:
    with pytest.raises(ExchangeFailedError):
        read(text("a", "length"), usage(3, count))


def test_a_page_is_no_stream() -> None:
    made = AnswerStream(RequestRecord(0, 0.0, 0.0), msgspec.json.Decoder(Event))
    with pytest.raises(ExchangeFailedError, match="text/html"):
        made.head(200, {b"content-type": b"text/html"})


def test_messages_of_refusals() -> None:
    assert refusal_message(b'{"error": "no"}') == "no"
    assert refusal_message(b'{"detail": "Not Found"}') == "Not Found"
    assert refusal_message(b"<html>") == "<html>"
    assert refusal_message(b"") == "(an empty body)"


@pytest.mark.parametrize("body", [b'{"error": "a\\u001b[2Jb\\u202ec\\nd"}', "a\x1b[2Jb\u202ec\nd".encode()])
def test_what_a_server_says_does_not_steer_a_terminal(body: bytes) -> None:
    assert refusal_message(body) == r"a\x1b[2Jb\u202ec\nd"


def test_a_document_nested_without_end_is_shown_as_it_is() -> None:
    assert refusal_message(b"[" * 100_000) == "[" * 200


def test_a_line_that_comes_byte_by_byte_is_put_together() -> None:
    made, record = stream()
    for byte in f"data: {json.dumps(text('a', 'stop'))}\n\n".encode():
        made.body(1.0, bytes([byte]))
    made.finish()
    assert list(record.piece_seconds) == [1.0]
