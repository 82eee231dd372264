"""Chunks as OpenAI's answers: whole JSON documents, and server-sent events."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from tidemill.api.errors import openai_error
from tidemill.api.exchange import Completed, SequenceText
from tidemill.api.openai.answers import (
    AssistantMessage,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatDelta,
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    PromptTokensDetails,
    Reason,
    Usage,
)
from tidemill.api.openai.logprobs import CompletionLogprobsWriter, chat_logprobs
from tidemill.core.errors import TidemillError
from tidemill.core.requests import Accepted, Delta, Finish, FinishReason, GenerationRequest

EVENT_STREAM = "text/event-stream; charset=utf-8"
_DONE = b"data: [DONE]\n\n"
_REASONS: dict[FinishReason, Reason] = {FinishReason.STOP: "stop", FinishReason.LENGTH: "length"}


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every piece of an answer repeats. `model` is the name the client used."""

    id: str
    created: int
    model: str
    system_fingerprint: str | None
    request: GenerationRequest

    @property
    def wants_logprobs(self) -> bool:
        """Whether log-probabilities were asked for."""
        return self.request.sampling.num_logprobs is not None

    @property
    def num_samples(self) -> int:
        """Continuations a prompt."""
        return self.request.n


def _event(document: msgspec.Struct) -> bytes:
    return b"data: " + msgspec.json.encode(document) + b"\n\n"


def usage_of(accepted: Accepted, finishes: Sequence[Finish | None], num_samples: int) -> Usage:
    """Token counts. A prompt counts once, and as cached what its first sample found in the cache."""
    prompt = sum(accepted.num_prompt_tokens)
    output = sum(f.timings.num_output_tokens for f in finishes if f is not None)
    cached = sum(f.timings.num_cached_tokens for f in finishes[::num_samples] if f is not None)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=output,
        total_tokens=prompt + output,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=cached),
    )


class ChatWhole:
    """A chat completion in one piece."""

    media_type = "application/json"

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope

    def whole(self, completed: Completed) -> bytes:
        """The `ChatCompletion` as JSON."""
        envelope = self._envelope
        return msgspec.json.encode(
            ChatCompletion(
                id=envelope.id,
                created=envelope.created,
                model=envelope.model,
                system_fingerprint=envelope.system_fingerprint,
                choices=[self._choice(i, s) for i, s in enumerate(completed.sequences)],
                usage=usage_of(completed.accepted, completed.finishes, envelope.num_samples),
            )
        )

    def _choice(self, index: int, sequence: SequenceText) -> ChatChoice:
        finish = sequence.ended
        return ChatChoice(
            index=index,
            message=AssistantMessage(content="".join(sequence.text)),
            logprobs=chat_logprobs(sequence.logprobs) if self._envelope.wants_logprobs else None,
            finish_reason=_REASONS[finish.reason],
            stop_reason=finish.stop,
        )


class _UsageCollector:
    """Remembers what the usage chunk of a stream needs."""

    def __init__(self, envelope: Envelope, *, include_usage: bool) -> None:
        self._envelope = envelope
        self._accepted: Accepted | None = None
        self._finishes: dict[int, Finish] = {}
        self.included = include_usage

    @property
    def placeholder(self) -> UnsetType | None:
        """What chunks before the last carry."""
        return None if self.included else UNSET

    def accept(self, accepted: Accepted) -> None:
        self._accepted = accepted

    def add(self, delta: Delta) -> None:
        if delta.finish is not None:
            self._finishes[delta.index] = delta.finish

    def usage(self) -> Usage:
        assert self._accepted is not None
        num_samples = self._envelope.num_samples
        finishes = [self._finishes.get(i) for i in range(len(self._accepted.num_prompt_tokens) * num_samples)]
        return usage_of(self._accepted, finishes, num_samples)


class ChatStream:
    """A chat completion as events: the role of every choice first, then content, then each finish, then usage."""

    media_type = EVENT_STREAM

    def __init__(self, envelope: Envelope, *, include_usage: bool) -> None:
        self._envelope = envelope
        self._usage = _UsageCollector(envelope, include_usage=include_usage)

    def begin(self, accepted: Accepted) -> bytes:
        """One chunk a choice, with its role."""
        self._usage.accept(accepted)
        opening = ChatDelta(role="assistant", content="")
        return b"".join(
            self._chunk([ChatChunkChoice(index=i, delta=opening)]) for i in range(self._envelope.num_samples)
        )

    def delta(self, delta: Delta) -> bytes:
        """A chunk of content if there is any, and a chunk with the finish if it has come."""
        self._usage.add(delta)
        pieces = []
        if delta.text or delta.logprobs:
            logprobs = chat_logprobs(delta.logprobs) if self._envelope.wants_logprobs else None
            content = ChatDelta(content=delta.text)
            pieces.append(self._chunk([ChatChunkChoice(index=delta.index, delta=content, logprobs=logprobs)]))
        if delta.finish is not None:
            choice = ChatChunkChoice(
                index=delta.index,
                delta=ChatDelta(),
                finish_reason=_REASONS[delta.finish.reason],
                stop_reason=delta.finish.stop,
            )
            pieces.append(self._chunk([choice]))
        return b"".join(pieces)

    def end(self) -> bytes:
        """The usage if it was asked for, and the end mark."""
        last = self._chunk([], self._usage.usage()) if self._usage.included else b""
        return last + _DONE

    def error(self, error: TidemillError) -> bytes:
        """One event with the error; no end mark follows."""
        return _event(openai_error(error))

    def _chunk(self, choices: list[ChatChunkChoice], usage: Usage | None = None) -> bytes:
        envelope = self._envelope
        return _event(
            ChatCompletionChunk(
                id=envelope.id,
                created=envelope.created,
                model=envelope.model,
                system_fingerprint=envelope.system_fingerprint,
                choices=choices,
                usage=usage or self._usage.placeholder,
            )
        )


class CompletionWhole:
    """A completion in one piece."""

    media_type = "application/json"

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope

    def whole(self, completed: Completed) -> bytes:
        """The `Completion` as JSON."""
        envelope = self._envelope
        return msgspec.json.encode(
            Completion(
                id=envelope.id,
                created=envelope.created,
                model=envelope.model,
                system_fingerprint=envelope.system_fingerprint,
                choices=[self._choice(i, s) for i, s in enumerate(completed.sequences)],
                usage=usage_of(completed.accepted, completed.finishes, envelope.num_samples),
            )
        )

    def _choice(self, index: int, sequence: SequenceText) -> CompletionChoice:
        finish = sequence.ended
        return CompletionChoice(
            index=index,
            text="".join(sequence.text),
            logprobs=self._logprobs(sequence),
            finish_reason=_REASONS[finish.reason],
            stop_reason=finish.stop,
        )

    def _logprobs(self, sequence: SequenceText) -> CompletionLogprobs | None:
        if not self._envelope.wants_logprobs:
            return None
        writer = CompletionLogprobsWriter()
        return writer.write("".join(sequence.text), sequence.prompt_logprobs, sequence.logprobs)


class CompletionStream:
    """A completion as events."""

    media_type = EVENT_STREAM

    def __init__(self, envelope: Envelope, *, include_usage: bool) -> None:
        self._envelope = envelope
        self._usage = _UsageCollector(envelope, include_usage=include_usage)
        self._writers: dict[int, CompletionLogprobsWriter] = {}

    def begin(self, accepted: Accepted) -> bytes:
        """Nothing: a completion has no role to announce."""
        self._usage.accept(accepted)
        return b""

    def delta(self, delta: Delta) -> bytes:
        """One chunk, unless there is nothing to tell."""
        self._usage.add(delta)
        if not (delta.text or delta.logprobs or delta.prompt_logprobs or delta.finish):
            return b""
        finish = delta.finish
        choice = CompletionChoice(
            index=delta.index,
            text=delta.text,
            logprobs=self._logprobs(delta),
            finish_reason=None if finish is None else _REASONS[finish.reason],
            stop_reason=None if finish is None else finish.stop,
        )
        return self._chunk([choice])

    def _logprobs(self, delta: Delta) -> CompletionLogprobs | None:
        if not self._envelope.wants_logprobs:
            return None
        writer = self._writers.setdefault(delta.index, CompletionLogprobsWriter())
        return writer.write(delta.text, delta.prompt_logprobs, delta.logprobs)

    def end(self) -> bytes:
        """The usage if it was asked for, and the end mark."""
        last = self._chunk([], self._usage.usage()) if self._usage.included else b""
        return last + _DONE

    def error(self, error: TidemillError) -> bytes:
        """One event with the error; no end mark follows."""
        return _event(openai_error(error))

    def _chunk(self, choices: list[CompletionChoice], usage: Usage | None = None) -> bytes:
        envelope = self._envelope
        return _event(
            Completion(
                id=envelope.id,
                created=envelope.created,
                model=envelope.model,
                system_fingerprint=envelope.system_fingerprint,
                choices=choices,
                usage=usage or self._usage.placeholder,
            )
        )
