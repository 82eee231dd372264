"""What the engine has of this client, seen from here: a mirror of its sequences, as far as frames tell."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from collections.abc import Sequence as Seq
from operator import itemgetter

from tidemill.engine.client.outstanding_sequence import OutstandingSequence
from tidemill.engine.client.waiting_prompts import Sums, WaitingPrompts
from tidemill.scheduler.ahead import CrowdAhead, PromptAhead, StreamAhead
from tidemill.scheduler.fair_share import FairShare
from tidemill.scheduler.places import num_places
from tidemill.scheduler.prompt_order import Rank, Standing

_MEAN_MEMORY = 32
_FIRST_MEAN_TOKENS = 64.0


class OutstandingSequences:
    """All of them, each tenant's share, and how long answers are."""

    def __init__(self, quantum: int, *, keeps_promises: bool) -> None:
        """`keeps_promises` is whether everybody is promised something, so that the scheduler lets tenants yield."""
        self.keeps_promises = keeps_promises
        self._sequences: dict[int, OutstandingSequence] = {}
        self._waiting = WaitingPrompts()
        self._begun: dict[int, OutstandingSequence] = {}
        self._streams: dict[int, OutstandingSequence] = {}
        """Each sequence is in one of these three."""
        self._ttfts: list[float] = []
        """What was promised to those that have no first token, sorted."""
        self._num_tokens = 0
        self.shares = FairShare(quantum)
        self._mean_output_tokens = _FIRST_MEAN_TOKENS

    def __iter__(self) -> Iterator[OutstandingSequence]:
        return iter(self._sequences.values())

    def __len__(self) -> int:
        return len(self._sequences)

    def num_of(self, tenant: str) -> int:
        """How many are of `tenant`."""
        return self.shares.num_of(tenant)

    def get(self, sequence_id: int) -> OutstandingSequence | None:
        """The sequence of this id, if it is here."""
        return self._sequences.get(sequence_id)

    def add(self, sequence: OutstandingSequence, now: float) -> None:
        """It has been submitted."""
        self._sequences[sequence.sequence_id] = sequence
        self._waiting.add(sequence)
        if sequence.objectives.ttft_seconds is not None:
            insort(self._ttfts, sequence.objectives.ttft_seconds)
        self._num_tokens += sequence.num_prompt_tokens
        self.shares.join(sequence.tenant, now)

    def remove(self, sequence_id: int, now: float) -> OutstandingSequence | None:
        """It has ended, or nobody wants it any more; None if it was not here."""
        sequence = self._sequences.pop(sequence_id, None)
        if sequence is not None:
            self._take_out(sequence)
            self._num_tokens -= sequence.num_prompt_tokens + sequence.num_output_tokens
            self.shares.leave(sequence.tenant, now)
        return sequence

    def _take_out(self, sequence: OutstandingSequence) -> None:
        """Out of where it is by its state, which is about to change."""
        if sequence.is_stream:
            del self._streams[sequence.sequence_id]
            return
        if sequence.is_begun:
            del self._begun[sequence.sequence_id]
        else:
            self._waiting.remove(sequence)
        if sequence.objectives.ttft_seconds is not None:
            del self._ttfts[bisect_left(self._ttfts, sequence.objectives.ttft_seconds)]

    @property
    def num_tokens(self) -> int:
        """Positions of all of them by now, as far as they have been sent."""
        return self._num_tokens

    @property
    def least_ttft_seconds(self) -> float | None:
        """The shortest time to the first token that was promised to any of those without one."""
        return self._ttfts[0] if self._ttfts else None

    def note_surprise(self, less_urgent_than: int | None = None) -> None:
        """Something came that no prediction could know of: for all that wait, or for those of lesser priority."""
        for sequence in self._begun.values():
            if less_urgent_than is None or sequence.priority > less_urgent_than:
                sequence.is_telling = False
        for sequence in self._waiting.less_urgent(less_urgent_than):
            sequence.is_telling = False

    def note_progress(self, progress: Iterable[tuple[int, int]]) -> None:
        """Prompts that a step went on with, and how far they are."""
        for sequence_id, num_computed in progress:
            sequence = self._sequences.get(sequence_id)
            if sequence is not None:
                if not sequence.is_stream and not sequence.is_begun:
                    self._waiting.remove(sequence)
                    self._begun[sequence_id] = sequence
                if sequence.num_expected_cached >= num_computed:
                    sequence.num_expected_cached = 0  # the engine had evicted it
                self.shares.charge(sequence.tenant, max(0, num_computed - sequence.num_done))
                sequence.num_computed = num_computed

    def note_tokens(self, sequence: OutstandingSequence, token_ids: Seq[int], now: float) -> None:
        """`sequence` has got `token_ids`."""
        if sequence.first_token_at is None:
            self._take_out(sequence)
            self._streams[sequence.sequence_id] = sequence
            sequence.first_token_at = now
            self.shares.charge(sequence.tenant, max(0, sequence.num_prompt_tokens - sequence.num_done))
            sequence.num_computed = sequence.num_prompt_tokens
        self.shares.charge(sequence.tenant, len(token_ids))
        sequence.num_output_tokens += len(token_ids)
        self._num_tokens += len(token_ids)
        if sequence.chain is not None:
            sequence.chain.more += token_ids
        sequence.last_token_at = now

    def note_length(self, num_output_tokens: int) -> None:
        """An answer has ended with so many tokens."""
        self._mean_output_tokens += (num_output_tokens - self._mean_output_tokens) / _MEAN_MEMORY

    def expected_tokens(self, max_new_tokens: int, num_output_tokens: int = 0) -> int:
        """How many more tokens an answer is expected to have: as many as the mean one, whatever it has had."""
        left = max(1, max_new_tokens - num_output_tokens)
        mean = self._mean_output_tokens
        return max(1, min(left, round(mean - num_output_tokens if num_output_tokens < mean else mean)))

    def _tokens_left(self, sequence: OutstandingSequence) -> int:
        """How many more tokens `sequence` is expected to have."""
        if sequence.is_length_known:
            return max(1, sequence.max_new_tokens - sequence.num_output_tokens)
        return self.expected_tokens(sequence.max_new_tokens, sequence.num_output_tokens)

    @property
    def num_prompts(self) -> int:
        """Those without a first token."""
        return len(self._sequences) - len(self._streams)

    def streams(self, now: float, priority: int) -> list[StreamAhead]:
        """Those with a first token, as they are beside a prompt of `priority`."""
        debtors = self.shares.debtors() if self.keeps_promises else frozenset[str]()
        return [
            StreamAhead(
                s.num_prompt_tokens + s.num_output_tokens,
                self._tokens_left(s),
                s.patience_seconds(now) if s.tenant in debtors and s.priority >= priority else None,
            )
            for s in self._streams.values()
        ]

    def tpots(self, tenants: Collection[str]) -> tuple[list[float | None], list[float | None]]:
        """What streams were promised a token: those of other tenants than `tenants`, and theirs."""
        promised: tuple[list[float | None], list[float | None]] = ([], [])
        for s in self._streams.values():
            promised[s.tenant in tenants].append(s.objectives.tpot_seconds)
        return promised

    def places(self, tenant: str, max_num_seqs: int, now: float) -> tuple[int, frozenset[str]]:
        """How many may run if one more of `tenant` does, and whose waiting prompts do not go before it, as they find no
        place where it may find one (see `Places`).
        """
        running = Counter(s.tenant for s in (*self._begun.values(), *self._streams.values()))
        most = {
            each: num_places(max_num_seqs, running[each], has_others=self.shares.has_others(each, now))
            for each in {tenant, *self._waiting.tenants}
        }
        num = running.total()
        if num >= most[tenant]:
            return most[tenant], frozenset(each for each in most if most[each] < most[tenant])
        return most[tenant], frozenset(each for each in most if num >= most[each])

    def head(self, num: int, without: Collection[str] = ()) -> list[tuple[Rank, OutstandingSequence]]:
        """Prompts in the order in which they are computed, with their ranks: all that are begun, and `num` of those
        that are not, of other tenants than `without`.
        """
        debtors = self.shares.debtors()
        begun = [((s.priority, s.tenant in debtors, s.due, s.arrival, s.sequence_id), s) for s in self._begun.values()]
        return sorted([*begun, *self._waiting.first(num, debtors, without)], key=itemgetter(0))

    def yielders(self, now: float) -> frozenset[str]:
        """Tenants whose steps are short, since others may come that go before them."""
        return self.shares.yielders(now) if self.keeps_promises else frozenset()

    def crowds(
        self,
        rank: Rank,
        head: Iterable[tuple[Rank, OutstandingSequence]],
        yielders: Collection[str],
        without: Collection[str] = (),
    ) -> list[CrowdAhead]:
        """Prompts before `rank` that are not in `head`, of other tenants than `without`: those with full steps, then
        those with short ones.
        """
        num_first = Counter(s.tenant for _, s in head if not s.is_begun)
        sums = list(self._waiting.sums_before(rank, self.shares.debtors(), without, num_first))
        crowds = (
            self._crowd([each for tenant, each in sums if (tenant in yielders) == yields], rank[:2], yields=yields)
            for yields in (False, True)
        )
        return [crowd for crowd in crowds if crowd.num]

    def _crowd(self, sums: Seq[Sums], standing: Standing, *, yields: bool) -> CrowdAhead:
        num = sum(each.num for each in sums)
        mean_asked = -(-sum(each.max_new_tokens for each in sums) // max(1, num))
        return CrowdAhead(
            num=num,
            num_tokens=sum(each.num_tokens for each in sums),
            context=sum(each.num_cached for each in sums),
            num_output_tokens=self.expected_tokens(mean_asked),
            standing=standing,
            yields=yields,
        )

    def prompt_of(
        self, rank: Rank, sequence: OutstandingSequence, yielders: Collection[str], num_in_step: int = 0
    ) -> PromptAhead:
        """What is left of a prompt once the step under way has computed `num_in_step` tokens of it."""
        num_done = sequence.num_done + num_in_step
        return PromptAhead(
            num_tokens=sequence.num_prompt_tokens - num_done,
            context=num_done,
            num_output_tokens=self._tokens_left(sequence),
            has_place=sequence.num_computed + num_in_step > 0,
            standing=rank[:2],
            yields=sequence.tenant in yielders,
        )
