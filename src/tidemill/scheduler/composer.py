"""Puts a step together: streams first, then prompts in their order, within budget, places, blocks and time.

Owns no sequence and no result: it moves sequences between the waiting and the running, which are the scheduler's.
"""

from collections.abc import Iterable

from tidemill.core.clock import Clock
from tidemill.scheduler.admission import find_start
from tidemill.scheduler.kv_cache import KVCache
from tidemill.scheduler.pacing import Pacing
from tidemill.scheduler.places import Places
from tidemill.scheduler.preemption import find_victim
from tidemill.scheduler.prompt_order import PromptOrder
from tidemill.scheduler.running_set import RunningSet
from tidemill.scheduler.sequence import Sequence, SequenceStatus
from tidemill.scheduler.step_counters import StepCounters
from tidemill.scheduler.step_plan import StepPlan
from tidemill.scheduler.step_sharing import StepSharing
from tidemill.scheduler.turns import Turn, Turns
from tidemill.scheduler.waiting_queue import WaitingQueue


class StepComposer:
    """Fills plans. A sequence that runs out of blocks takes them from less urgent ones, see `preemption.py`."""

    def __init__(
        self,
        kv: KVCache,
        running: RunningSet,
        waiting: WaitingQueue,
        *,
        pacing: Pacing,
        order: PromptOrder,
        sharing: StepSharing,
        turns: Turns,
        places: Places,
        max_preemptions: int,
        clock: Clock,
    ) -> None:
        self._kv = kv
        self._running = running
        self._waiting = waiting
        self._pacing = pacing
        self._order = order
        self._sharing = sharing
        self._turns = turns
        self._places = places
        self._max_preemptions = max_preemptions
        self._clock = clock
        self._counters = StepCounters()
        self._stretched_for: Sequence | None = None
        """The prompt for whose sake the step takes more time than was promised to tenants that were served more."""

    def compose(self, plan: StepPlan, counters: StepCounters) -> None:
        """Grant tokens within `plan`, and count in `counters` what happens on the way."""
        self._counters = counters
        streams = [s for s in self._running if len(s.tokens) - s.num_computed <= 1]
        prompts = [s for s in self._running if len(s.tokens) - s.num_computed > 1]
        turn = self._turns.next(streams, self._at_stake(prompts), self._clock())
        sitting_out = frozenset[Sequence]() if turn is None else turn.sitting_out
        self._continue_streams(plan, [s for s in streams if s not in sitting_out])
        if turn is not None and not (turn.is_streams_turn and plan.num_tokens):
            self._compute_prompts(plan, prompts, turn)
        if turn is not None and turn.first in plan.num_tokens:
            self._turns.note_sat_out(sitting_out)
        elif sitting_out:  # it found no place or no blocks, and waiting would cost them a step for nothing
            plan.reopen()
            self._continue_streams(plan, [s for s in streams if s in sitting_out])

    def _continue_streams(self, plan: StepPlan, streams: Iterable[Sequence]) -> None:
        """Those with one token to compute come first, so that no prompt holds up a stream."""
        for sequence in streams:
            if plan.budget and _is_running(sequence):
                self._continue(plan, sequence)

    def _at_stake(self, prompts: list[Sequence]) -> list[Sequence]:
        """Running prompts, and the first of those that wait."""
        if not (prompts or self._waiting):
            return []
        self._order.begin_step()
        first = self._order.first_waiting(self._waiting, ())
        return prompts if first is None else [*prompts, first]

    def _compute_prompts(self, plan: StepPlan, prompts: list[Sequence], turn: Turn) -> None:
        """Share what the step may hold beside its streams among running prompts and waiting ones, in their order."""
        self._sharing.begin_step([s for s in plan.num_tokens if _is_running(s)], len(prompts) + len(self._waiting))
        if not plan.budget:
            return
        self._limit_prompts(plan, turn)
        for sequence in sorted(prompts, key=self._order.rank):
            while plan.budget and self._is_overtaken(sequence) and self._admit_next(plan):
                pass
            if plan.budget and _is_running(sequence) and self._may_join(plan, sequence):
                self._compute_prompt(plan, sequence)
        while plan.budget and self._admit_next(plan):
            pass

    def _limit_prompts(self, plan: StepPlan, turn: Turn) -> None:
        """Leave prompts what keeps streams within their time per token, and steps short beside a time to a token."""
        self._stretched_for = turn.first if turn.limit.is_stretched else None
        plan.limit(
            self._pacing.prompt_share(
                [sequence for sequence in plan.num_tokens if _is_running(sequence)],
                turn.limit.seconds,
                sitting_out=turn.sitting_out,
                context=turn.first.num_computed,
                most=plan.budget - len(turn.sitting_out),  # who may have to join the step after all
            )
        )

    def _may_join(self, plan: StepPlan, sequence: Sequence, num_cached: int = 0) -> bool:
        """Whether the step goes on with a prompt; else it ends here, with the prompts that it completes so far."""
        is_for_others = self._stretched_for is not None and self._order.was_served_more(sequence, self._stretched_for)
        if not is_for_others and self._sharing.admits(sequence, max(sequence.num_computed, num_cached), plan.budget):
            return True
        plan.limit(0)
        return False

    def _compute_prompt(self, plan: StepPlan, sequence: Sequence) -> None:
        """Grant a running prompt what there is for it."""
        self._continue(plan, sequence)
        if num_tokens := plan.num_tokens.get(sequence):
            self._sharing.note(sequence, sequence.num_computed, num_tokens)

    def _is_overtaken(self, sequence: Sequence) -> bool:
        """Whether the first of the waiting goes before `sequence`, a running prompt."""
        first = self._order.first_waiting(self._waiting, ())
        return first is not None and self._order.rank(first) < self._order.rank(sequence)

    def _continue(self, plan: StepPlan, sequence: Sequence) -> None:
        """Grant `sequence` what budget and blocks allow, taking blocks from less urgent ones if there are none."""
        start = sequence.num_computed
        wanted = min(len(sequence.tokens) - start, plan.budget)
        while (room := self._kv.room(sequence.blocks)) is not None and room <= start:
            plan.is_short_of_blocks = True
            victim = find_victim(self._running, sequence)
            if victim is None:
                return  # it keeps its blocks and waits for those who are more urgent or have reservations
            self._preempt(plan, victim)
        if room is not None and room < start + wanted:
            plan.is_short_of_blocks = True
            wanted = room - start
        self._kv.extend(sequence.blocks, start + wanted)
        plan.grant(sequence, wanted)

    def _preempt(self, plan: StepPlan, victim: Sequence) -> None:
        """Take the blocks of `victim` and let it wait; its tokens so far will be computed again."""
        plan.withdraw(victim)
        self._running.remove(victim)
        self._kv.release(victim.blocks)
        victim.num_computed = 0
        victim.num_preemptions += 1
        victim.status = SequenceStatus.WAITING
        self._waiting.push(victim)
        self._counters.num_preemptions += 1

    def _admit_next(self, plan: StepPlan) -> bool:
        """Start the first of the waiting, if there are a place and blocks for it; whether it was started."""
        if plan.is_short_of_blocks or self._places.is_full(self._running):
            return False
        sequence = self._next_with_place()
        limit = self._max_preemptions
        if sequence is None:
            return False
        hit = find_start(self._kv, self._running, sequence, max_preemptions=limit)
        if hit is None or not self._may_join(plan, sequence, hit.num_blocks * self._kv.block_size):
            return False
        self._waiting.remove(sequence)
        self._order.note_start()
        self._kv.take_prefix(sequence.blocks, hit)
        if sequence.num_preemptions >= limit:
            self._kv.reserve(sequence.blocks, sequence.max_positions)
        sequence.num_computed = hit.num_blocks * self._kv.block_size
        self._note_start(sequence)
        self._running.add(sequence)
        self._compute_prompt(plan, sequence)
        return True

    def _next_with_place(self) -> Sequence | None:
        """The first of the waiting, of those tenants that may take a place."""
        closed: set[str] = set()
        while (sequence := self._order.first_waiting(self._waiting, closed)) is not None:
            if self._places.are_open_to(sequence, self._running, self._clock()):
                return sequence
            closed.add(sequence.request.tenant)
        return None

    def _note_start(self, sequence: Sequence) -> None:
        """Record a first admission; one after a preemption is neither a query nor the end of a wait."""
        sequence.status = SequenceStatus.RUNNING
        if sequence.queue_seconds is not None:
            return
        sequence.queue_seconds = max(0.0, self._clock() - sequence.request.arrival)
        sequence.num_cached_tokens = sequence.num_computed
        if self._kv.caches_prefixes:
            self._counters.num_prefix_queries += sequence.num_prompt_tokens
            self._counters.num_prefix_hits += sequence.num_computed


def _is_running(sequence: Sequence) -> bool:
    return sequence.status is SequenceStatus.RUNNING
