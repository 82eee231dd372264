"""How a request would fare if it were taken now: the engine's policy played forward over what is outstanding.

Learns how far off it was, from first tokens as they come. Decides nothing, and owns no sequence.
"""

from collections.abc import Iterable

from tidemill.config.settings import SchedulerSettings
from tidemill.core.clock import Clock
from tidemill.cost.residuals import RecentErrors
from tidemill.cost.step_shape import streams_shape
from tidemill.cost.step_times import UNKNOWN_P99_RATIO, CostParameters, StepTimes
from tidemill.engine.client.offer import Offer, Prediction
from tidemill.engine.client.outstanding import OutstandingSequences
from tidemill.engine.client.outstanding_sequence import OutstandingSequence
from tidemill.scheduler.ahead import CrowdAhead, PromptAhead, StepLimits
from tidemill.scheduler.forecast import Forecast, head_size
from tidemill.scheduler.pacing import keepable
from tidemill.scheduler.prompt_order import Rank

_MEMORY_SECONDS, _LONGEST_MEMORY_SECONDS = 15.0, 180.0
"""How long an outcome tells of those to come, and while few are known: no longer is refused for a bad time."""
_OVERHEAD_STEP_SECONDS = 0.0002
_MAX_OVERHEAD_SECONDS = 0.1
_LAST = 2**62
"""A place behind every sequence that came at the same time."""


class Foresight:
    """Predicts over `sequences`, which others keep up to date, in time that does not grow with the queue."""

    def __init__(self, settings: SchedulerSettings, sequences: OutstandingSequences, clock: Clock) -> None:
        self._settings = settings
        self._sequences = sequences
        self._clock = clock
        self._times: StepTimes | None = None
        self.errors = RecentErrors(
            2,
            memory_seconds=_MEMORY_SECONDS,
            longest_seconds=_LONGEST_MEMORY_SECONDS,
            unknown_ratio=UNKNOWN_P99_RATIO,
        )
        """Of tenants within their share, and of those beyond it, who may be overtaken."""
        self._overhead_seconds = [0.001, 0.001]
        self.step_began_at = 0.0
        """When the engine began the step it is making, as far as can be told from here."""

    def learnt(self, costs: CostParameters | None) -> None:
        """The engine says what its steps cost; None if it does not know yet."""
        if costs is not None:
            self._times = StepTimes.of(costs)

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
        num = min(num_all, self._settings.max_num_seqs)
        tpot = times.seconds(streams_shape(num, num_tokens * num // num_all))
        gap = forecast.decode_seconds()
        if offer.objectives.tpot_seconds is not None:
            # Prompts of others will go beside its tokens, and stretch its gaps as far as it was promised.
            gap = max(gap, min(offer.objectives.tpot_seconds, 2.0 * gap))
        gaps = max(0, expected - 1) * gap
        late_ttft = self.errors.late_seconds(yields, ttft, now)
        return Prediction(
            ttft_seconds=ttft,
            end_seconds=ttft + gaps,
            tpot_seconds=tpot,
            late_ttft_seconds=late_ttft,
            late_end_seconds=late_ttft + gaps * (self.errors.p99_ratio(yields, now) - 1.0),
            yields=yields,
        )

    def _ahead_of(
        self, rank: Rank, times: StepTimes, offer: Offer, now: float, *, yields: bool
    ) -> tuple[Forecast, float, list[PromptAhead], list[CrowdAhead]]:
        """A forecast that begins after the step under way, what is left of that step, and the prompts before `rank`:
        the first ones each, and the rest of a long queue in sums.
        """
        sequences, max_num_seqs = self._sequences, self._settings.max_num_seqs
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
        in_step = [(its_rank, s) for its_rank, s in head if s.submitted_at <= self.step_began_at]
        step_seconds, taken = forecast.under_way(
            [sequences.prompt_of(its_rank, s, yielders) for its_rank, s in in_step],
            num_others=sequences.num_prompts - len(in_step),
            yields=yields,
        )
        left_of_step = max(0.0, step_seconds - (now - self.step_began_at)) if len(sequences) else 0.0
        done = {s.sequence_id: num for (_, s), num in zip(in_step, taken, strict=True)}
        ahead = [sequences.prompt_of(its_rank, s, yielders, done.get(s.sequence_id, 0)) for its_rank, s in before]
        return forecast, left_of_step, [prompt for prompt in ahead if prompt.num_tokens > 0], crowds

    def compare(self, sequence: OutstandingSequence, now: float) -> None:
        """The first token of `sequence` is here: learn how far off its prediction was."""
        predicted, ttft_seconds = sequence.predicted_ttft_seconds, now - sequence.arrival
        if predicted is None or not sequence.is_telling:
            return
        self.errors.add(sequence.yields, predicted, ttft_seconds, now)
        # A stochastic median of what no step explains: tokenizing, sockets, this event loop.
        step = _OVERHEAD_STEP_SECONDS if ttft_seconds > predicted else -_OVERHEAD_STEP_SECONDS
        overhead = self._overhead_seconds[sequence.yields] + step
        self._overhead_seconds[sequence.yields] = min(_MAX_OVERHEAD_SECONDS, max(0.0, overhead))

    def _limits(self, times: StepTimes, offer: Offer, num_places: int) -> StepLimits:
        tpots, richer_tpots = self._sequences.tpots(self._sequences.shares.served_more_than(offer.tenant))
        return StepLimits(
            max_num_batched_tokens=self._settings.max_num_batched_tokens,
            max_num_seqs=num_places,
            tpot_seconds=_least(keepable(times, [*tpots, offer.objectives.tpot_seconds])),
            richer_tpot_seconds=_least(keepable(times, richer_tpots)),
            num_richer=len(richer_tpots),
            ttft_seconds=_least([self._sequences.least_ttft_seconds, offer.objectives.ttft_seconds]),
            keeps_promises=self._sequences.keeps_promises,
        )


def _least(promised: Iterable[float | None]) -> float | None:
    return min((seconds for seconds in promised if seconds is not None), default=None)
