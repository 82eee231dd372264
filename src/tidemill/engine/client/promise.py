"""Keeps the promise at the door: predicts a request's first token, refuses what would miss it, tells how it went."""

import math
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as Seq
from dataclasses import replace

from tidemill.config.objectives import default_objectives
from tidemill.config.settings import Settings
from tidemill.core.clock import Clock
from tidemill.core.errors import OverloadedError
from tidemill.core.requests import GenerationRequest
from tidemill.core.stats import PromiseOutcome, time_per_output_token_seconds
from tidemill.cost.residuals import RecentErrors
from tidemill.cost.step_shape import streams_shape
from tidemill.cost.step_times import CostParameters, StepTimes
from tidemill.engine.client.known_prefixes import KnownPrefixes
from tidemill.engine.client.offer import Offer, OfferedPrompt, Prediction
from tidemill.engine.client.outstanding import OutstandingSequences
from tidemill.engine.client.outstanding_sequence import OutstandingSequence
from tidemill.engine.protocol import EngineInfo, StepOutput, Submit
from tidemill.scheduler.ahead import CrowdAhead, PromptAhead, StepLimits
from tidemill.scheduler.forecast import Forecast, head_size
from tidemill.scheduler.pacing import keepable
from tidemill.scheduler.prompt_order import Rank
from tidemill.text.validation import PreparedPrompt

_UNKNOWN_P99_RATIO = 1.3
_MEMORY_SECONDS = 60.0
"""How long an outcome tells of those to come: requests are refused for no longer after a bad minute."""
_OVERHEAD_STEP_SECONDS = 0.0002
_MAX_OVERHEAD_SECONDS = 0.1
_STALL_SECONDS = 0.25
_STALL_RATIO = 8.0
"""A step that takes this long, and this much longer than predicted, says nothing of others: the process was stopped."""
_LAST = 2**62
"""A place behind every sequence that came at the same time."""
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
        self._times: StepTimes | None = None
        self._prefixes: KnownPrefixes | None = None
        self._errors = RecentErrors(2, memory_seconds=_MEMORY_SECONDS, unknown_ratio=_UNKNOWN_P99_RATIO)
        """Of tenants within their share, and of those beyond it, who may be overtaken."""
        self._overhead_seconds = [0.001, 0.001]
        self._step_began_at = 0.0
        """When the engine began the step it is making, as far as can be told from here."""

    # -- before a request is taken -------------------------------------------------------------------------------

    def check_share(self, tenant: str, count: int) -> None:
        """Raises `OverloadedError` if `count` more sequences of a named tenant would leave no room for other ones."""
        scheduling = self._settings.scheduler
        limit = scheduling.max_num_seqs + scheduling.max_queue
        most = limit - limit // _KEPT_SHARE
        if tenant and count <= most < self._sequences.num_of(tenant) + count:
            raise OverloadedError(
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

        Raises `OverloadedError` if it would miss its time to the first token, its time per token or its deadline, and
        such requests are to be refused. What nothing is ahead of is refused only if not even the mean would do, and
        never for the server's own promise: whatever was learnt from a bad hour is put right by who comes next.
        """
        prediction = self.predict(offer)
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

    def predict(self, offer: Offer) -> Prediction | None:
        """How `offer` would fare if it were taken now; None while nothing is known of the engine's times."""
        if self._times is None:
            return None
        shares, now = self._sequences.shares, self._clock()
        shares.join(offer.tenant, now)  # that it is here changes whose turn it is
        try:
            return self._played(offer, self._times, now)
        finally:
            shares.leave(offer.tenant, now)

    def _played(self, offer: Offer, times: StepTimes, now: float) -> Prediction:
        sequences = self._sequences
        rank = (offer.priority, sequences.shares.is_in_debt(offer.tenant), offer.due, offer.arrival, _LAST)
        yields = sequences.keeps_promises and sequences.shares.should_yield(offer.tenant, now)
        expected = offer.max_new_tokens if offer.is_length_asked else sequences.expected_tokens(offer.max_new_tokens)
        own = [
            PromptAhead(
                p.num_tokens - p.num_cached, p.num_cached, expected, has_place=False, standing=rank[:2], yields=yields
            )
            for p in offer.prompts
        ]
        forecast, left_of_step, before, crowds = self._ahead_of(rank, times, offer, now, yields=yields)
        seconds = left_of_step + forecast.complete(before, crowds, own)
        ttft = now - offer.arrival + seconds + self._overhead_seconds[yields]
        num_all = len(sequences) + len(own)
        num_tokens = sequences.num_tokens + sum(p.num_tokens for p in offer.prompts)
        num = min(num_all, self._settings.scheduler.max_num_seqs)
        tpot = times.seconds(streams_shape(num, num_tokens * num // num_all))
        gap = forecast.decode_seconds()
        if offer.objectives.tpot_seconds is not None:
            # Prompts of others will go beside its tokens, and stretch its gaps as far as it was promised.
            gap = max(gap, min(offer.objectives.tpot_seconds, 2.0 * gap))
        gaps = max(0, expected - 1) * gap
        late_ttft = self._errors.late_seconds(yields, ttft, now)
        return Prediction(
            ttft_seconds=ttft,
            end_seconds=ttft + gaps,
            tpot_seconds=tpot,
            late_ttft_seconds=late_ttft,
            late_end_seconds=late_ttft + gaps * (self._errors.p99_ratio(yields, now) - 1.0),
            yields=yields,
        )

    def _ahead_of(
        self, rank: Rank, times: StepTimes, offer: Offer, now: float, *, yields: bool
    ) -> tuple[Forecast, float, list[PromptAhead], list[CrowdAhead]]:
        """A forecast that begins after the step under way, what is left of that step, and the prompts before `rank`:
        the first ones each, and the rest of a long queue in sums.
        """
        sequences, max_num_seqs = self._sequences, self._settings.scheduler.max_num_seqs
        num_places, shut_out = sequences.places(offer.tenant, max_num_seqs, now)
        head = sequences.head(head_size(max_num_seqs), shut_out)
        yielders = sequences.yielders(now)
        before = [(its_rank, s) for its_rank, s in head if its_rank < rank]
        crowds = sequences.crowds(rank, head, yielders, shut_out)
        forecast = Forecast(
            times,
            self._limits(times, offer, num_places),
            sequences.streams(now, offer.priority),
            num_others=sequences.num_prompts - len(before) - sum(crowd.num for crowd in crowds),
            num_other_places=sum(s.is_begun and its_rank >= rank for its_rank, s in head),
        )
        # What was sent after a step began is not part of it.
        in_step = [(its_rank, s) for its_rank, s in head if s.submitted_at <= self._step_began_at]
        step_seconds, taken = forecast.under_way(
            [sequences.prompt_of(its_rank, s, yielders) for its_rank, s in in_step],
            num_others=sequences.num_prompts - len(in_step),
            yields=yields,
        )
        left_of_step = max(0.0, step_seconds - (now - self._step_began_at)) if len(sequences) else 0.0
        done = {s.sequence_id: num for (_, s), num in zip(in_step, taken, strict=True)}
        ahead = [sequences.prompt_of(its_rank, s, yielders, done.get(s.sequence_id, 0)) for its_rank, s in before]
        return forecast, left_of_step, [prompt for prompt in ahead if prompt.num_tokens > 0], crowds

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
            self._step_began_at = now
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
        if costs is not None:
            self._times = StepTimes.of(costs)

    def stepped(self, frame: StepOutput) -> None:
        """The engine has made a step."""
        now = self._clock()
        expected = frame.stats.predicted_seconds
        if expected is not None and now - self._step_began_at > max(_STALL_SECONDS, _STALL_RATIO * expected):
            self._sequences.note_surprise()
        self._step_began_at = now
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
                    self._compare(sequence, now)
            if output.finish is not None:
                self._ended(output.sequence_id, failed=output.finish.error is not None)

    def ended(self, sequence_ids: Seq[int]) -> None:
        """Sequences ended on this side: by a stop string, or because nobody waits for them any more."""
        for sequence_id in sequence_ids:
            self._ended(sequence_id, failed=False)

    def engine_died(self) -> None:
        """The engine is gone, and what it had with it."""
        for sequence in tuple(self._sequences):
            self._ended(sequence.sequence_id, failed=True)
        self._prefixes = None
        self._step_began_at = 0.0

    def _ended(self, sequence_id: int, *, failed: bool) -> None:
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
                total_seconds=now - sequence.arrival,
            )
        )

    def _remember(self, sequence: OutstandingSequence) -> None:
        """What was computed of `sequence` is in the engine's prefix cache now."""
        if self._prefixes is not None and sequence.chain is not None:
            self._prefixes.note(sequence.chain)

    def _compare(self, sequence: OutstandingSequence, now: float) -> None:
        """Learn from a first token how far off its prediction was."""
        predicted, ttft_seconds = sequence.predicted_ttft_seconds, now - sequence.arrival
        if predicted is None or not sequence.is_telling:
            return
        self._errors.add(sequence.yields, predicted, ttft_seconds, now)
        # A stochastic median of what no step explains: tokenizing, sockets, this event loop.
        step = _OVERHEAD_STEP_SECONDS if ttft_seconds > predicted else -_OVERHEAD_STEP_SECONDS
        overhead = self._overhead_seconds[sequence.yields] + step
        self._overhead_seconds[sequence.yields] = min(_MAX_OVERHEAD_SECONDS, max(0.0, overhead))

    def _limits(self, times: StepTimes, offer: Offer, num_places: int) -> StepLimits:
        tpots, richer_tpots = self._sequences.tpots(self._sequences.shares.served_more_than(offer.tenant))
        scheduling = self._settings.scheduler
        return StepLimits(
            max_num_batched_tokens=scheduling.max_num_batched_tokens,
            max_num_seqs=num_places,
            tpot_seconds=_least(keepable(times, [*tpots, offer.objectives.tpot_seconds])),
            richer_tpot_seconds=_least(keepable(times, richer_tpots)),
            num_richer=len(richer_tpots),
            ttft_seconds=_least([self._sequences.least_ttft_seconds, offer.objectives.ttft_seconds]),
            keeps_promises=self._sequences.keeps_promises,
        )


def _copies(prompt: OfferedPrompt, number: int) -> Iterator[OfferedPrompt]:
    """One for each answer: their tokens will differ."""
    for _ in range(number):
        yield replace(prompt, chain=None if prompt.chain is None else prompt.chain.copy())


def _least(promised: Iterable[float | None]) -> float | None:
    return min((seconds for seconds in promised if seconds is not None), default=None)


def _refusal(what: str, predicted_seconds: float, promised_seconds: float, *, is_alone: bool) -> OverloadedError:
    wait = min(max(predicted_seconds - promised_seconds, _MIN_RETRY_SECONDS), _MAX_RETRY_SECONDS)
    numbers = f"{predicted_seconds:.3g} s are expected, and {promised_seconds:.3g} s are promised."
    if is_alone:
        return OverloadedError(
            f"The server cannot keep this request's {what}, though nothing else is to be done: {numbers}",
            retry_after_seconds=float(math.ceil(wait)),
            next_step="Ask for more time, or for less to be done.",
        )
    return OverloadedError(
        f"The server is too busy to keep this request's {what}: {numbers}",
        retry_after_seconds=float(math.ceil(wait)),
        next_step="Try again later, or ask for more time.",
    )
