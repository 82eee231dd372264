"""One sequence on its way out: the engine's tokens become text, stop strings end it, measurements become its timings.

It sends no frame; whoever feeds it aborts the sequence in the engine when a stop string has ended it here.
"""

from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from tidemill.core.clock import Clock
from tidemill.core.footprint import Footprint
from tidemill.core.requests import (
    Delta,
    Finish,
    FinishReason,
    PositionLogprobs,
    SamplingParams,
    SequenceTimings,
    TokenLogprob,
)
from tidemill.engine.protocol import SequenceOutput, WireFinish, WireLogprobs
from tidemill.text.detokenizer import IncrementalDetokenizer
from tidemill.text.stop import StopMatcher
from tidemill.text.tokenizer import Tokenizer

Statement = Callable[[int, int, int], Footprint | None]
"""What an answer takes, from its tokens: of the prompt, of those the prefix cache had, and of the output."""


def no_statement(_prompt: int, _cached: int, _output: int) -> None:
    """Where no books are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequencePlan:
    """What does not change about a sequence. `echo_text` is the prompt's text if it is to be returned.

    `arrival` is when the request came, in seconds of the client's clock; `continues_text` says that the output goes on
    from the prompt's text, so that a leading space is kept.
    """

    index: int
    sequence_id: int
    num_prompt_tokens: int
    sampling: SamplingParams
    echo_text: str | None
    continues_text: bool
    arrival: float


class SequenceStream:
    """The state of one sequence between its first and its last token."""

    def __init__(
        self,
        plan: SequencePlan,
        tokenizer: Tokenizer,
        clock: Clock,
        engine_clock: Clock,
        statement: Statement = no_statement,
    ) -> None:
        """`engine_clock` is what the steps reported so far have taken."""
        self.plan = plan
        self._statement = statement
        self._tokenizer = tokenizer
        self._clock = clock
        self._engine_clock = engine_clock
        sampling = plan.sampling
        self._detokenizer = IncrementalDetokenizer(
            tokenizer, skip_special_tokens=sampling.skip_special_tokens, continues_text=plan.continues_text
        )
        self._stops = StopMatcher(sampling.stop, sampling.include_stop)
        self._awaits_prompt = sampling.num_prompt_logprobs is not None
        self._prompt_logprobs: list[PositionLogprobs | None] = [None]
        self._num_output_tokens = 0
        self._first_token_at: float | None = None
        self._first_step_at = 0.0
        self._num_cached_tokens = 0
        self._num_preemptions = 0
        self._queue_seconds = 0.0
        self.is_finished = False

    def advance(self, output: SequenceOutput) -> tuple[Delta, ...]:
        """What `output` adds, in order; the last one has the `finish` once the sequence is over.

        After that `is_finished` holds. If the engine has not finished it (`output.finish` is None), a stop string did.
        """
        assert not self.is_finished
        self._note_facts(output)
        deltas = self._prompt_deltas(output)
        ended_by_token = output.finish is not None and output.finish.reason is FinishReason.STOP
        text, num_kept, stop = self._text_of(output.token_ids, ended_by_token)
        if stop is None and output.finish is not None:
            text, stop = self._rest(text)
        finish = self._finish(stop, output.finish)
        logprobs = tuple(self._position(raw) for raw in output.logprobs[:num_kept])
        if num_kept or text or finish is not None:
            token_ids = output.token_ids[:num_kept]
            deltas.append(
                Delta(index=self.plan.index, text=text, token_ids=token_ids, logprobs=logprobs, finish=finish)
            )
        return tuple(deltas)

    def _note_facts(self, output: SequenceOutput) -> None:
        if output.token_ids and self._first_token_at is None:
            self._first_token_at, self._first_step_at = self._clock(), self._engine_clock()
        for facts in (output.start, output.finish):
            if facts is not None:
                self._num_cached_tokens = facts.num_cached_tokens
                self._num_preemptions = facts.num_preemptions
                self._queue_seconds = facts.queue_seconds

    def _prompt_deltas(self, output: SequenceOutput) -> list[Delta]:
        """The delta of the prompt's log-probabilities, once all of them are there."""
        if not self._awaits_prompt:
            return []
        self._prompt_logprobs.extend(self._position(raw) for raw in output.prompt_logprobs)
        is_complete = len(self._prompt_logprobs) >= self.plan.num_prompt_tokens
        if not (is_complete or output.token_ids or output.finish is not None):
            return []
        self._awaits_prompt = False
        logprobs = tuple(self._prompt_logprobs)
        self._prompt_logprobs.clear()
        return [Delta(index=self.plan.index, text=self.plan.echo_text or "", prompt_logprobs=logprobs)]

    def _text_of(self, token_ids: Seq[int], ended_by_token: bool) -> tuple[str, int, str | None]:
        """The text that the tokens settle, how many of them count, and the stop string that ended the sequence."""
        text = ""
        for position, token_id in enumerate(token_ids, start=1):
            self._num_output_tokens += 1
            is_stop_token = ended_by_token and position == len(token_ids)
            if is_stop_token and not self.plan.sampling.include_stop:
                continue
            piece, stop = self._match(self._detokenizer.push((token_id,)))
            text += piece
            if stop is not None:
                return text, position, stop
        return text, len(token_ids), None

    def _rest(self, text: str) -> tuple[str, str | None]:
        """`text` and what was held back, now that no token follows."""
        piece, stop = self._match(self._detokenizer.flush())
        return text + piece + ("" if stop is not None else self._stops.flush()), stop

    def _match(self, text: str) -> tuple[str, str | None]:
        # As for stop tokens, min_tokens are generated before any stop string counts.
        if self._num_output_tokens <= self.plan.sampling.min_tokens:
            return text, None
        return self._stops.push(text)

    def _finish(self, stop: str | None, wire: WireFinish | None) -> Finish | None:
        if stop is None and wire is None:
            return None
        self.is_finished = True
        footprint = self._statement(self.plan.num_prompt_tokens, self._num_cached_tokens, self._num_output_tokens)
        if stop is not None or wire is None:
            return Finish(reason=FinishReason.STOP, stop=stop, timings=self.timings(), footprint=footprint)
        return Finish(reason=wire.reason, stop=wire.stop_token_id, timings=self.timings(), footprint=footprint)

    def timings(self) -> SequenceTimings:
        """The measurements up to now."""
        arrival, first = self.plan.arrival, self._first_token_at
        return SequenceTimings(
            num_prompt_tokens=self.plan.num_prompt_tokens,
            num_cached_tokens=self._num_cached_tokens,
            num_output_tokens=self._num_output_tokens,
            num_preemptions=self._num_preemptions,
            queue_seconds=self._queue_seconds,
            time_to_first_token_seconds=None if first is None else first - arrival,
            decode_seconds=0.0 if first is None else self._decode_seconds(first),
            total_seconds=self._clock() - arrival,
        )

    def _decode_seconds(self, first_token_at: float) -> float:
        # A busy event loop takes in several steps' reports at once; then the engine's own time tells how long it was.
        return max(self._clock() - first_token_at, self._engine_clock() - self._first_step_at)

    def _position(self, raw: WireLogprobs) -> PositionLogprobs:
        top = zip(raw.top_token_ids, raw.top_logprobs, strict=True)
        return PositionLogprobs(
            self._token(raw.token_id, raw.logprob), tuple(self._token(token_id, logprob) for token_id, logprob in top)
        )

    def _token(self, token_id: int, logprob: float) -> TokenLogprob:
        return TokenLogprob(
            token_id, logprob, self._tokenizer.token_text(token_id), self._tokenizer.token_bytes(token_id)
        )
