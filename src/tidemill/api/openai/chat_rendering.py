"""A chat's chunks as OpenAI's answers: a whole completion, or a stream of events."""

from tidemill.api.exchange import Completed, SequenceText
from tidemill.api.openai.answers import (
    AssistantMessage,
    ChatChoice,
    ChatChunkChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChatDelta,
)
from tidemill.api.openai.envelope import REASONS, Envelope, EventStream
from tidemill.api.openai.logprobs import chat_logprobs
from tidemill.core.requests import Accepted, Delta


class ChatWhole:
    """A chat completion in one piece."""

    media_type = "application/json"

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope

    def whole(self, completed: Completed) -> bytes:
        """The `ChatCompletion` as JSON."""
        choices = [self._choice(index, sequence) for index, sequence in enumerate(completed.sequences)]
        return self._envelope.whole(ChatCompletion, choices, completed)

    def _choice(self, index: int, sequence: SequenceText) -> ChatChoice:
        finish = sequence.ended
        return ChatChoice(
            index=index,
            message=AssistantMessage(content="".join(sequence.text)),
            logprobs=chat_logprobs(sequence.logprobs) if self._envelope.wants_logprobs else None,
            finish_reason=REASONS[finish.reason],
            stop_reason=finish.stop,
        )


class ChatStream(EventStream):
    """A chat completion as events: the role of every choice first, then content, then each finish, then usage."""

    def __init__(self, envelope: Envelope, *, include_usage: bool) -> None:
        super().__init__(envelope, ChatCompletionChunk, include_usage=include_usage)

    def begin(self, accepted: Accepted) -> bytes:
        """One chunk a choice, with its role."""
        self.accept(accepted)
        opening = ChatDelta(role="assistant", content="")
        return b"".join(
            self.chunk(ChatChunkChoice(index=index, delta=opening)) for index in range(self.envelope.num_samples)
        )

    def delta(self, delta: Delta) -> bytes:
        """A chunk of content if there is any, and a chunk with the finish if it has come."""
        self.count(delta)
        pieces = []
        if delta.text or delta.logprobs:
            logprobs = chat_logprobs(delta.logprobs) if self.envelope.wants_logprobs else None
            content = ChatDelta(content=delta.text)
            pieces.append(self.chunk(ChatChunkChoice(index=delta.index, delta=content, logprobs=logprobs)))
        if delta.finish is not None:
            choice = ChatChunkChoice(
                index=delta.index,
                delta=ChatDelta(),
                finish_reason=REASONS[delta.finish.reason],
                stop_reason=delta.finish.stop,
            )
            pieces.append(self.chunk(choice))
        return b"".join(pieces)
