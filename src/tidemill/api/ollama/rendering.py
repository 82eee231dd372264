"""Chunks as Ollama's answers: one JSON document, or one a line."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from tidemill.api.errors import ollama_error
from tidemill.api.exchange import Completed
from tidemill.api.footprint import footprint_of
from tidemill.api.ollama.answers import (
    DoneReason,
    OllamaAnswerMessage,
    OllamaChatResponse,
    OllamaGenerateResponse,
    OllamaLogprob,
    OllamaRival,
)
from tidemill.api.service import Service
from tidemill.core.errors import TidemillError
from tidemill.core.requests import Accepted, Delta, Finish, FinishReason, PositionLogprobs, TokenLogprob

NDJSON = "application/x-ndjson"
_NANOSECONDS = 1_000_000_000
_REASONS: dict[FinishReason, DoneReason] = {FinishReason.STOP: "stop", FinishReason.LENGTH: "length"}
_LEAST = -9999.0

Shape = Callable[..., OllamaGenerateResponse | OllamaChatResponse]


def generate_shape(text: str, **fields: Any) -> OllamaGenerateResponse:
    """A piece of an answer to generate."""
    return OllamaGenerateResponse(response=text, **fields)


def chat_shape(text: str, **fields: Any) -> OllamaChatResponse:
    """A piece of an answer to chat."""
    return OllamaChatResponse(message=OllamaAnswerMessage(content=text), **fields)


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * _NANOSECONDS))


def counts_of(finish: Finish, *, with_footprint: bool) -> dict[str, Any]:
    """Counts and durations of a finished answer, from its measured times."""
    timings = finish.timings
    return {
        "done": True,
        "done_reason": _REASONS[finish.reason],
        "total_duration": _nanoseconds(timings.total_seconds),
        "load_duration": 0,
        "prompt_eval_count": timings.num_prompt_tokens,
        "prompt_eval_duration": _nanoseconds(timings.total_seconds - timings.queue_seconds - timings.decode_seconds),
        "eval_count": timings.num_output_tokens,
        "eval_duration": _nanoseconds(timings.decode_seconds),
        "footprint": footprint_of([finish], is_wanted=with_footprint),
    }


def _logprobs(positions: Sequence[PositionLogprobs]) -> list[OllamaLogprob] | UnsetType:
    if not positions:
        return UNSET
    return [
        OllamaLogprob(
            token=p.chosen.text,
            logprob=max(p.chosen.logprob, _LEAST),
            bytes=list(p.chosen.utf8),
            top_logprobs=[_rival(t) for t in p.top] or UNSET,
        )
        for p in positions
    ]


def _rival(token: TokenLogprob) -> OllamaRival:
    return OllamaRival(token=token.text, logprob=max(token.logprob, _LEAST), bytes=list(token.utf8))


class OllamaWhole:
    """An answer in one piece."""

    media_type = "application/json; charset=utf-8"

    def __init__(self, shape: Shape, model: str, service: Service, *, with_footprint: bool = False) -> None:
        self._with_footprint = with_footprint
        self._shape = shape
        self._model = model
        self._service = service

    def whole(self, completed: Completed) -> bytes:
        """The answer as JSON."""
        (sequence,) = completed.sequences
        return msgspec.json.encode(
            self._shape(
                "".join(sequence.text),
                model=self._model,
                created_at=self._service.now(),
                logprobs=_logprobs(sequence.logprobs),
                **counts_of(sequence.ended, with_footprint=self._with_footprint),
            )
        )


class OllamaStream:
    """An answer as lines of JSON; the last has `done` and the counts."""

    media_type = NDJSON

    def __init__(self, shape: Shape, model: str, service: Service, *, with_footprint: bool = False) -> None:
        self._with_footprint = with_footprint
        self._shape = shape
        self._model = model
        self._service = service

    def begin(self, _: Accepted) -> bytes:
        """Nothing: the first line is the first text."""
        return b""

    def delta(self, delta: Delta) -> bytes:
        """A line of text if there is any, and the last line if this is the end."""
        lines = b""
        if delta.text or delta.logprobs:
            lines = self._line(delta.text, done=False, logprobs=_logprobs(delta.logprobs))
        if delta.finish is not None:
            lines += self._line("", **counts_of(delta.finish, with_footprint=self._with_footprint))
        return lines

    def _line(self, text: str, **fields: Any) -> bytes:
        piece = self._shape(text, model=self._model, created_at=self._service.now(), **fields)
        return msgspec.json.encode(piece) + b"\n"

    def end(self) -> bytes:
        """Nothing: the finish was the last line."""
        return b""

    def error(self, error: TidemillError) -> bytes:
        """A line with the error."""
        return msgspec.json.encode(ollama_error(error)) + b"\n"
