"""A completion's chunks as OpenAI's answers: one whole, or a stream of events."""

from tidemill.api.exchange import Completed, SequenceText
from tidemill.api.openai.answers import Completion, CompletionChoice, CompletionLogprobs
from tidemill.api.openai.envelope import REASONS, Envelope, EventStream
from tidemill.api.openai.logprobs import CompletionLogprobsWriter
from tidemill.core.requests import Accepted, Delta


class CompletionWhole:
    """A completion in one piece."""

    media_type = "application/json"

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope

    def whole(self, completed: Completed) -> bytes:
        """The `Completion` as JSON."""
        choices = [self._choice(index, sequence) for index, sequence in enumerate(completed.sequences)]
        return self._envelope.whole(Completion, choices, completed)

    def _choice(self, index: int, sequence: SequenceText) -> CompletionChoice:
        finish = sequence.ended
        return CompletionChoice(
            index=index,
            text="".join(sequence.text),
            logprobs=self._logprobs(sequence),
            finish_reason=REASONS[finish.reason],
            stop_reason=finish.stop,
        )

    def _logprobs(self, sequence: SequenceText) -> CompletionLogprobs | None:
        if not self._envelope.wants_logprobs:
            return None
        writer = CompletionLogprobsWriter()
        return writer.write("".join(sequence.text), sequence.prompt_logprobs, sequence.logprobs)


class CompletionStream(EventStream):
    """A completion as events."""

    def __init__(self, envelope: Envelope, *, include_usage: bool) -> None:
        super().__init__(envelope, Completion, include_usage=include_usage)
        self._writers: dict[int, CompletionLogprobsWriter] = {}

    def begin(self, accepted: Accepted) -> bytes:
        """Nothing: a completion has no role to announce."""
        self.accept(accepted)
        return b""

    def delta(self, delta: Delta) -> bytes:
        """One chunk, unless there is nothing to tell."""
        self.count(delta)
        if not (delta.text or delta.logprobs or delta.prompt_logprobs or delta.finish):
            return b""
        finish = delta.finish
        choice = CompletionChoice(
            index=delta.index,
            text=delta.text,
            logprobs=self._logprobs(delta),
            finish_reason=None if finish is None else REASONS[finish.reason],
            stop_reason=None if finish is None else finish.stop,
        )
        return self.chunk(choice)

    def _logprobs(self, delta: Delta) -> CompletionLogprobs | None:
        if not self.envelope.wants_logprobs:
            return None
        writer = self._writers.setdefault(delta.index, CompletionLogprobsWriter())
        return writer.write(delta.text, delta.prompt_logprobs, delta.logprobs)
