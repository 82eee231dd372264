"""Reads the streamed answer of a completion or a chat into a record. Owns what counts as a piece of answer."""

from typing import Annotated

import msgspec

from tidemill.bench.exchange_failures import ExchangeFailedError, FailureKind
from tidemill.bench.record import RequestRecord
from tidemill.core.printable import printable

MAX_LINE_BYTES = 4 * 1024 * 1024
MAX_REFUSAL_BYTES = 64 * 1024
MAX_RETRY_SECONDS = 60.0
_MAX_TOKENS = 2**31


class Delta(msgspec.Struct):
    """What a chat's event adds. Anything of `content`, reasoning or a tool call is answer; a role alone is not."""

    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw()


class Choice(msgspec.Struct):
    """One choice of an event, of either interface."""

    text: str | None = None
    delta: Delta | None = None
    finish_reason: str | None = None


class TokensDetails(msgspec.Struct):
    """Of a prompt's tokens."""

    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    """The server's own count."""

    prompt_tokens: Annotated[int, msgspec.Meta(ge=0, le=_MAX_TOKENS)]
    completion_tokens: Annotated[int, msgspec.Meta(ge=0, le=_MAX_TOKENS)] = 0
    prompt_tokens_details: TokensDetails | None = None


class Event(msgspec.Struct):
    """One event of a stream."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: msgspec.Raw = msgspec.Raw()


class AnswerStream:
    """A `Receiver` that fills `record`. Call `finish` once the exchange is over."""

    def __init__(self, record: RequestRecord, decoder: "msgspec.json.Decoder[Event]") -> None:
        self._record = record
        self._decoder = decoder
        self._status = 0
        self._rest = bytearray()
        """The beginning of a line, grown in place: a server may send it byte by byte."""
        self._has_finish = False

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """Remember the status; a 200 that is no event stream is refused."""
        self._status = status
        if status in (429, 503):
            self._record.retry_after_seconds = _seconds_in(headers.get(b"retry-after", b""))
        kind = headers.get(b"content-type", b"")
        if status == 200 and not kind.lower().startswith(b"text/event-stream"):
            raise ExchangeFailedError(
                FailureKind.PROTOCOL, f"The answer is {kind.decode('latin-1') or 'untyped'}, not an event stream."
            )

    def body(self, now: float, data: bytes) -> None:
        """Take the complete lines of what has come."""
        if self._status != 200:
            self._rest += data[: MAX_REFUSAL_BYTES - len(self._rest)]
            return
        lines: list[bytes] = []
        if b"\n" in data:
            lines = (bytes(self._rest) + data if self._rest else data).split(b"\n")
            self._rest = bytearray(lines.pop())
        else:
            self._rest += data
        if len(self._rest) > MAX_LINE_BYTES:
            raise ExchangeFailedError(FailureKind.PROTOCOL, f"A line of the stream is over {MAX_LINE_BYTES} bytes.")
        for line in lines:
            if line.startswith(b"data:"):
                self._event(now, line[5:].strip())

    def finish(self) -> None:
        """The exchange is complete. Raises `ExchangeFailedError` if the answer is not a whole one."""
        if self._status != 200:
            raise ExchangeFailedError(FailureKind.STATUS, refusal_message(bytes(self._rest)), status=self._status)
        if not self._record.piece_seconds:
            raise ExchangeFailedError(FailureKind.INCOMPLETE, "The stream ended without a token.")
        if not self._has_finish:
            raise ExchangeFailedError(FailureKind.INCOMPLETE, "The stream ended without a finish reason.")

    def _event(self, now: float, text: bytes) -> None:
        if text == b"[DONE]":
            return
        try:
            event = self._decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ExchangeFailedError(
                FailureKind.PROTOCOL, f"An event is not of this interface: {printable(str(error))} In: {_shown(text)}"
            ) from error
        if _is_given(event.error):
            raise ExchangeFailedError(FailureKind.STREAM_ERROR, refusal_message(text))
        if event.choices:
            self._choice(now, event.choices[0])
        if event.usage is not None:
            self._usage(event.usage)

    def _choice(self, now: float, choice: Choice) -> None:
        record = self._record
        if choice.finish_reason:
            self._has_finish = True
        if _is_piece(choice):
            record.piece_seconds.append(now)
        elif not choice.finish_reason:
            return
        elif not record.piece_seconds:
            record.piece_seconds.append(now)  # an answer of no visible text: its end is all there is to see
        record.last_seconds = now

    def _usage(self, usage: Usage) -> None:
        record = self._record
        record.num_prompt_tokens, record.num_output_tokens = usage.prompt_tokens, usage.completion_tokens
        if usage.prompt_tokens_details is not None:
            record.num_cached_tokens = usage.prompt_tokens_details.cached_tokens


def _is_piece(choice: Choice) -> bool:
    delta = choice.delta
    if delta is None:
        # A token whose text is withheld (half a character) comes as an empty text; so does a bare finish.
        return bool(choice.text) or (choice.text is not None and choice.finish_reason is None)
    if delta.content or delta.reasoning_content or delta.reasoning or _is_given(delta.tool_calls):
        return True
    return delta.content is not None and delta.role is None and choice.finish_reason is None


def _is_given(value: msgspec.Raw) -> bool:
    return bytes(value) not in {b"", b"null", b"[]"}


def refusal_message(body: bytes) -> str:
    """The message of an error document, in any of the usual shapes, else the beginning of the body."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _shown(body)
    found = document.get("error", document) if isinstance(document, dict) else document
    if isinstance(found, dict):
        found = found.get("message") or found.get("detail") or document
    return printable(str(found)[:300])


def _shown(body: bytes) -> str:
    return printable(body[:200].decode(errors="replace").strip()) or "(an empty body)"


def _seconds_in(retry_after: bytes) -> float | None:
    """The header's number of seconds, a minute at most; a date is not understood."""
    return min(MAX_RETRY_SECONDS, float(retry_after)) if retry_after.isdigit() and len(retry_after) < 10 else None
