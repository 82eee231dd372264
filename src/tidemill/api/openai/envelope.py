"""What all of OpenAI's answers have in common: the fields around the choices, the events of a stream, its end."""

from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UnsetType

from tidemill.api.errors import openai_error
from tidemill.api.exchange import Completed
from tidemill.api.openai.answers import ChatCompletion, ChatCompletionChunk, Completion, Reason, Usage
from tidemill.api.openai.usage import UsageCollector, usage_of
from tidemill.core.errors import TidemillError
from tidemill.core.requests import Accepted, Delta, FinishReason, GenerationRequest

REASONS: dict[FinishReason, Reason] = {FinishReason.STOP: "stop", FinishReason.LENGTH: "length"}
_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every piece of an answer repeats. `model` is the name the client used."""

    id: str
    created: int
    model: str
    system_fingerprint: str | None
    request: GenerationRequest
    with_footprint: bool = False
    """Whether usage is to say what the answer took."""

    @property
    def wants_logprobs(self) -> bool:
        """Whether log-probabilities were asked for."""
        return self.request.sampling.num_logprobs is not None

    @property
    def num_samples(self) -> int:
        """Continuations a prompt."""
        return self.request.n

    def whole(self, kind: type[ChatCompletion | Completion], choices: list[Any], done: Completed) -> bytes:
        """An answer in one piece, as JSON."""
        usage = usage_of(done.accepted, done.finishes, self.num_samples, with_footprint=self.with_footprint)
        return msgspec.json.encode(kind(**self._fields(), choices=choices, usage=usage))

    def event(
        self, kind: type[ChatCompletionChunk | Completion], choices: list[Any], usage: Usage | UnsetType | None
    ) -> bytes:
        """A piece of a stream, as a server-sent event."""
        return _event(kind(**self._fields(), choices=choices, usage=usage))

    def _fields(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.system_fingerprint,
        }


class EventStream:
    """The frame of a stream of events: it counts tokens along the way, and knows how a stream ends."""

    media_type = "text/event-stream; charset=utf-8"

    def __init__(
        self, envelope: Envelope, kind: type[ChatCompletionChunk | Completion], *, include_usage: bool
    ) -> None:
        self.envelope = envelope
        self._kind = kind
        self._usage = UsageCollector(
            envelope.num_samples, is_included=include_usage, with_footprint=envelope.with_footprint
        )

    def accept(self, accepted: Accepted) -> None:
        """Take in the prompts' counts."""
        self._usage.accept(accepted)

    def count(self, delta: Delta) -> None:
        """Take in what a piece of output says of its tokens."""
        self._usage.add(delta)

    def chunk(self, *choices: msgspec.Struct) -> bytes:
        """One event with these choices."""
        return self.envelope.event(self._kind, list(choices), self._usage.placeholder)

    def end(self) -> bytes:
        """The usage if it was asked for, and the end mark."""
        last = self.envelope.event(self._kind, [], self._usage.usage()) if self._usage.is_included else b""
        return last + _DONE

    def error(self, error: TidemillError) -> bytes:
        """One event with the error; no end mark follows."""
        return _event(openai_error(error))


def _event(document: msgspec.Struct) -> bytes:
    return b"data: " + msgspec.json.encode(document) + b"\n\n"
