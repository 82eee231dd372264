"""Keeps the promise at the door: refuses what would miss its times, and tells how the rest of it went."""

import math
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import replace

from tidemill.config.objectives import default_objectives
from tidemill.config.settings import Settings
from tidemill.core.clock import Clock
from tidemill.core.errors import KeyLimitError, PromiseRefusedError, PromiseUnkeepableError
from tidemill.core.requests import GenerationRequest, SamplingParams
from tidemill.core.stats import PromiseOutcome, time_per_output_token_seconds
from tidemill.cost.step_times import CostParameters
from tidemill.engine.client.foresight import Foresight
from tidemill.engine.client.known_prefixes import KnownPrefixes
from tidemill.engine.client.offer import Offer, OfferedPrompt, Prediction
from tidemill.engine.client.outstanding import OutstandingSequences
from tidemill.engine.client.outstanding_sequence import OutstandingSequence
from tidemill.engine.protocol import EngineInfo, StepOutput, Submit
from tidemill.text.validation import PreparedPrompt

_STALL_SECONDS = 0.25
_STALL_RATIO = 8.0
"""A step that takes this long, and this much longer than predicted, says nothing of others: the process was stopped."""
_KEPT_SHARE = 8
"""Of so many sequences that may run and wait, one is kept from each key for the others."""
_MIN_RETRY_SECONDS = 1.0
_MAX_RETRY_SECONDS = 60.0


class Promise:
    """The client's side of the promise. One event loop; everything here is synchronous and bounded."""

    def __init__(self, settings: Settings, clock: Clock, on_outcome: Callable[[PromiseOutcome], None]) -> None:
        self._settings = settings
        self._clock = clock
        self._on_outcome = on_outcome
        self._defaults = default_objectives(settings.slo)
        self._sequences = OutstandingSequences(
            settings.scheduler.max_num_batched_tokens, keeps_promises=self._defaults.are_any
        )
        self.foresight = Foresight(settings.scheduler, self._sequences, clock)
        self._prefixes: KnownPrefixes | None = None

    # -- before a request is taken -------------------------------------------------------------------------------

    def check_share(self, tenant: str, count: int) -> None:
        """Raises `KeyLimitError` if `count` more sequences of a named tenant would leave no room for other ones."""
        scheduling = self._settings.scheduler
        limit = scheduling.max_num_seqs + scheduling.max_queue
        most = limit - limit // _KEPT_SHARE
        if tenant and count <= most < self._sequences.num_of(tenant) + count:
            raise KeyLimitError(
                f"Your key has too many sequences running and waiting: {most} may be, the rest is kept for other keys.",
                retry_after_seconds=_MIN_RETRY_SECONDS,
            )

    def offer(self, request: GenerationRequest, prompts: Seq[PreparedPrompt], arrival: float) -> Offer:
        """`request` with its prompts tokenized, each to be continued `n` times."""
        return Offer(
            prompts=tuple(
                each for prompt in prompts for each in _copies(self._offered(request, prompt.token_ids), request.n)
            ),
            max_new_tokens=max(prompt.max_new_tokens for prompt in prompts),
            is_length_asked=request.sampling.max_tokens is not None,
            is_length_known=_is_length_known(request.sampling),
            priority=request.priority,
            tenant=request.tenant,
            objectives=request.objectives.or_else(self._defaults),
            asked=request.objectives,
            arrival=arrival,
        )

    def _offered(self, request: GenerationRequest, token_ids: Seq[int]) -> OfferedPrompt:
        if self._prefixes is None:
            return OfferedPrompt(len(token_ids), num_cached=0, chain=None)
        chain = self._prefixes.chain(token_ids, request.cache_salt)
        is_reused = request.sampling.num_prompt_logprobs is None  # they need every position computed
        return OfferedPrompt(len(token_ids), self._prefixes.num_cached(chain) if is_reused else 0, chain)

    def admit(self, offer: Offer) -> Prediction | None:
        """Predict how `offer` would fare; None while nothing is known of the engine's times.

        Raises `PromiseRefusedError` if it would miss its time to the first token, its time per token or its deadline,
        and such requests are to be refused. What nothing is ahead of is refused only if not even the mean would do, and
        never for the server's own promise: whatever was learnt from a bad hour is put right by who comes next.
        """
        prediction = self.foresight.predict(offer)
        if prediction is None or self._settings.slo.on_overload == "queue":
            return prediction
        is_alone = not len(self._sequences)
        promised, default = offer.asked if is_alone else offer.objectives, self._defaults.tpot_seconds
        late = (0.0, 0.0) if is_alone else (prediction.late_ttft_seconds, prediction.late_end_seconds)
        is_tighter = default is None or (promised.tpot_seconds or default) < default
        expected = (
            ("time to the first token", prediction.ttft_seconds + late[0], promised.ttft_seconds),
            ("time per token", prediction.tpot_seconds, promised.tpot_seconds if is_tighter else None),
            ("deadline of the answer", prediction.end_seconds + late[1], promised.deadline_seconds),
        )
        for what, seconds, promised_seconds in expected:
            if promised_seconds is not None and seconds > promised_seconds:
                self._on_outcome(PromiseOutcome(objectives=offer.objectives, is_refused=True))
                raise _refusal(what, seconds, promised_seconds, is_alone=is_alone)
        return prediction

    # -- while it is under way -----------------------------------------------------------------------------------

    def engine_ready(self, info: EngineInfo) -> None:
        """An engine takes submissions; its cache is empty."""
        self.learnt(info.costs)
        if self._settings.cache.prefix_caching:
            self._prefixes = KnownPrefixes(block_size=info.block_size, num_blocks=info.num_blocks)

    def submitted(self, submit: Submit, prompt: OfferedPrompt, offer: Offer, prediction: Prediction | None) -> None:
        """A sequence of `offer`, with one of its prompts, has been sent to the engine."""
        now = self._clock()
        if not len(self._sequences):
            self.foresight.step_began_at = now
        self._sequences.note_surprise(less_urgent_than=offer.priority)
        sequence = OutstandingSequence(
            sequence_id=submit.sequence_id,
            submitted_at=now,
            tenant=offer.tenant,
            priority=offer.priority,
            objectives=offer.objectives,
            arrival=offer.arrival,
            due=offer.due,
            num_prompt_tokens=prompt.num_tokens,
            num_expected_cached=prompt.num_cached,
            chain=prompt.chain,
            max_new_tokens=submit.max_new_tokens,
            is_length_known=offer.is_length_known,
            predicted_ttft_seconds=None if prediction is None else prediction.ttft_seconds,
            p99_ttft_seconds=None if prediction is None else prediction.p99_ttft_seconds,
            yields=prediction is not None and prediction.yields,
        )
        self._sequences.add(sequence, now)

    def refused(self, request: GenerationRequest) -> None:
        """`request` was refused because there is too much to do, for whatever reason."""
        self._on_outcome(PromiseOutcome(objectives=request.objectives.or_else(self._defaults), is_refused=True))

    def learnt(self, costs: CostParameters | None) -> None:
        """The engine says what its steps cost; None if it does not know yet."""
        self.foresight.learnt(costs)

    def stepped(self, frame: StepOutput) -> None:
        """The engine has made a step."""
        now = self._clock()
        expected = frame.stats.predicted_seconds
        if expected is not None and now - self.foresight.step_began_at > max(_STALL_SECONDS, _STALL_RATIO * expected):
            self._sequences.note_surprise()
        self.foresight.step_began_at = now
        self.learnt(frame.costs)
        self._sequences.note_progress(frame.progress)
        for output in frame.outputs:
            sequence = self._sequences.get(output.sequence_id)
            if sequence is None:
                continue
            if output.token_ids:
                is_first = not sequence.is_stream
                self._sequences.note_tokens(sequence, output.token_ids, now)
                if is_first:
                    self._remember(sequence)
                    self.foresight.compare(sequence, now)
            if output.finish is not None:
                self._ended(output.sequence_id, failed=output.finish.error is not None)

    def ended(self, sequence_ids: Seq[int], *, is_whole: bool) -> None:
        """Sequences ended on this side: by a stop string, or because nobody waits for the whole any more."""
        for sequence_id in sequence_ids:
            self._ended(sequence_id, failed=False, is_whole=is_whole)

    def engine_died(self) -> None:
        """The engine is gone, and what it had with it."""
        for sequence in tuple(self._sequences):
            self._ended(sequence.sequence_id, failed=True)
        self._prefixes = None
        self.foresight.step_began_at = 0.0

    def _ended(self, sequence_id: int, *, failed: bool, is_whole: bool = True) -> None:
        now = self._clock()
        sequence = self._sequences.remove(sequence_id, now)
        if sequence is None:
            return
        if not failed and sequence.is_stream:
            self._remember(sequence)
        first, last = sequence.first_token_at, sequence.last_token_at
        if first is None or last is None:
            if failed:
                self._on_outcome(PromiseOutcome(objectives=sequence.objectives, is_failed=True))
            return
        self._sequences.note_length(sequence.num_output_tokens)
        self._on_outcome(
            PromiseOutcome(
                objectives=sequence.objectives,
                is_failed=failed,
                predicted_ttft_seconds=sequence.predicted_ttft_seconds,
                p99_ttft_seconds=sequence.p99_ttft_seconds,
                ttft_seconds=first - sequence.arrival,
                tpot_seconds=time_per_output_token_seconds(first, last, sequence.num_output_tokens),
                total_seconds=now - sequence.arrival if is_whole else None,
            )
        )

    def _remember(self, sequence: OutstandingSequence) -> None:
        """What was computed of `sequence` is in the engine's prefix cache now."""
        if self._prefixes is not None and sequence.chain is not None:
            self._prefixes.note(sequence.chain)


def _is_length_known(sampling: SamplingParams) -> bool:
    return sampling.ignore_eos and not sampling.stop and not sampling.stop_token_ids


def _copies(prompt: OfferedPrompt, number: int) -> Iterator[OfferedPrompt]:
    """One for each answer: their tokens will differ."""
    for _ in range(number):
        yield replace(prompt, chain=None if prompt.chain is None else prompt.chain.copy())


def _refusal(what: str, predicted_seconds: float, promised_seconds: float, *, is_alone: bool) -> PromiseRefusedError:
    numbers = f"{predicted_seconds:.3g} s are expected, and {promised_seconds:.3g} s are promised."
    if is_alone:
        return PromiseUnkeepableError(
            f"The server cannot keep this request's {what}, though nothing else is to be done: {numbers}",
            next_step="Ask for more time, or for less to be done.",
        )
    wait = min(max(predicted_seconds - promised_seconds, _MIN_RETRY_SECONDS), _MAX_RETRY_SECONDS)
    return PromiseRefusedError(
        f"The server is too busy to keep this request's {what}: {numbers}",
        retry_after_seconds=float(math.ceil(wait)),
        next_step="Try again later, or ask for more time.",
    )
