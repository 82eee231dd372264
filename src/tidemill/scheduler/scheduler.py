"""The scheduler: what each step computes. Owns the waiting and the running sequences; the blocks are `KVCache`'s.

There is no prefill and no decode phase: every sequence has tokens, some of them computed, and a step computes more.
"""

from tidemill.config.settings import SchedulerSettings
from tidemill.core.clock import Clock
from tidemill.core.errors import OverloadedError
from tidemill.core.kv_cache import KVCacheLayout
from tidemill.core.requests import FinishReason
from tidemill.core.stats import StepStats
from tidemill.cost.model import CostModel
from tidemill.scheduler.admission import check_capacity, check_request
from tidemill.scheduler.batch import Batch, ScheduledSequence, SequenceResult, StepResult
from tidemill.scheduler.composer import StepComposer
from tidemill.scheduler.fair_share import FairShare
from tidemill.scheduler.kv_cache import KVCache
from tidemill.scheduler.outputs import SchedulerOutput, sequence_finish, sequence_start
from tidemill.scheduler.pacing import Pacing
from tidemill.scheduler.places import Places
from tidemill.scheduler.prompt_logprobs import take_unseen
from tidemill.scheduler.prompt_order import PromptOrder
from tidemill.scheduler.running_set import RunningSet
from tidemill.scheduler.sequence import Sequence, SequenceRequest, SequenceStatus, announcement, new_sequence
from tidemill.scheduler.step_counters import StepCounters
from tidemill.scheduler.step_plan import StepPlan
from tidemill.scheduler.step_sharing import StepSharing
from tidemill.scheduler.stopping import Stop, first_stop
from tidemill.scheduler.turns import Turns
from tidemill.scheduler.waiting_queue import WaitingQueue


class Scheduler:
    """Turns requests into batches and results into outputs: `add`, then `schedule`, run, `update` (or `fail`), again.

    One step is under way at a time. `add` and `abort` may come at any moment, also while a step is under way.
    """

    def __init__(
        self,
        settings: SchedulerSettings,
        layout: KVCacheLayout,
        *,
        prefix_caching: bool,
        model_fingerprint: bytes,
        max_model_len: int,
        clock: Clock,
        model_id: int = 0,
        costs: CostModel | None = None,
        keeps_promises: bool = False,
    ) -> None:
        """`costs` is what is known of the time steps take; it goes on learning here. With `keeps_promises` everybody
        is promised something: tenants yield to others, and no sequence waits for ever, whatever its priority.

        Raises `CapacityError` if the cache cannot hold one sequence of `max_model_len` tokens.
        """
        self._settings = settings
        self._groups = layout.groups
        self._max_model_len = max_model_len
        self._clock = clock
        self._model_id = model_id
        self._kv = KVCache(
            layout,
            prefix_caching=prefix_caching,
            model_fingerprint=model_fingerprint,
            max_chunk_tokens=min(settings.max_num_batched_tokens, max_model_len),
        )
        check_capacity(self._kv, max_model_len)
        self._shares = FairShare(quantum=settings.max_num_batched_tokens)
        self._pacing = Pacing(costs or CostModel(), self._shares)
        order = PromptOrder(self._shares, keeps_promises=keeps_promises)
        self._waiting = WaitingQueue(self._shares)
        self._running = RunningSet()
        self._composer = StepComposer(
            self._kv,
            self._running,
            self._waiting,
            pacing=self._pacing,
            order=order,
            sharing=StepSharing(self._pacing.model, order),
            turns=Turns(self._pacing, order),
            places=Places(settings.max_num_seqs, self._shares, self._pacing),
            max_preemptions=settings.max_preemptions,
            clock=clock,
        )
        self._sequences: dict[int, Sequence] = {}
        self._forgotten: list[int] = []
        """Sequences the runner knows and may forget, told with the next batch."""
        self._under_way: Batch | None = None
        self._num_added = 0
        self._counters = StepCounters()

    @property
    def has_work(self) -> bool:
        """Whether any sequence waits or runs."""
        return bool(self._sequences)

    @property
    def num_sequences(self) -> int:
        """Sequences that wait or run."""
        return len(self._sequences)

    @property
    def costs(self) -> CostModel:
        """What is known of the time steps take."""
        return self._pacing.model

    # ---- sequences come and go

    def add(self, request: SequenceRequest) -> None:
        """Queue a sequence.

        Raises `OverloadedError` when `max_num_seqs` + `max_queue` sequences are here already, `ContextLengthError` or
        `InvalidRequestError` for one that could never run.
        """
        assert request.sequence_id not in self._sequences, request.sequence_id
        assert request.model_id == self._model_id, request.model_id
        check_request(request, self._max_model_len)
        capacity = self._settings.max_num_seqs + self._settings.max_queue
        if len(self._sequences) >= capacity:
            raise OverloadedError(
                f"{len(self._sequences)} sequences are running or waiting, and no more than {capacity} may be.",
                next_step="Try again later, or raise --max-queue.",
            )
        sequence = new_sequence(request, self._num_added, self._kv.num_groups)
        self._num_added += 1
        self._sequences[request.sequence_id] = sequence
        self._shares.join(request.tenant, self._clock())
        self._waiting.push(sequence)

    def abort(self, sequence_id: int) -> bool:
        """Forget a sequence and free its blocks at once; no output follows. False if it is not here (any more)."""
        sequence = self._sequences.get(sequence_id)
        if sequence is None:
            return False
        self._leave(sequence)
        return True

    # ---- a step

    def schedule(self) -> Batch | None:
        """The next step, or None if there is no work."""
        assert self._under_way is None, "the last step has not been taken in yet"
        self._counters = StepCounters(step=self._counters.step)
        if not self._sequences:
            return None
        plan = StepPlan(self._settings.max_num_batched_tokens)
        self._composer.compose(plan, self._counters)
        assert plan.num_tokens, "a step with work computes at least one token"
        return self._launchable(plan)

    def _launchable(self, plan: StepPlan) -> Batch:
        """The plan as a batch; from now on it is under way."""
        counters = self._counters
        counters.step += 1
        new, scheduled = [], []
        for sequence, num_tokens in plan.num_tokens.items():
            if not sequence.is_announced:
                sequence.is_announced = True
                new.append(announcement(sequence))
            request, start = sequence.request, sequence.num_computed
            self._shares.charge(request.tenant, num_tokens)
            samples = start + num_tokens == len(sequence.tokens) and request.max_new_tokens > 0
            scheduled.append(ScheduledSequence(request.sequence_id, start, num_tokens, sequence.blocks.tables, samples))
            counters.count_rows(
                self._groups, start, num_tokens, num_prompt_tokens=len(request.prompt_token_ids), samples=samples
            )
        forgotten, self._forgotten = tuple(self._forgotten), []
        self._under_way = Batch(counters.step, self._model_id, tuple(new), tuple(scheduled), forgotten)
        return self._under_way

    # ---- its result

    def update(self, batch: Batch, result: StepResult) -> tuple[SchedulerOutput, ...]:
        """Take in the result of `batch`; what it says of sequences aborted meanwhile is dropped."""
        assert result.step == batch.step
        self._close(batch)
        outputs = []
        for scheduled, yielded in zip(batch.sequences, result.sequences, strict=True):
            assert scheduled.sequence_id == yielded.sequence_id
            sequence = self._sequences.get(scheduled.sequence_id)
            if sequence is not None:
                output = self._advance(sequence, scheduled, yielded)
                if output is not None:
                    outputs.append(output)
        return tuple(outputs)

    def fail(self, batch: Batch, message: str) -> tuple[SchedulerOutput, ...]:
        """The whole step failed: its sequences end with ERROR, nothing it wrote is ever read."""
        self._close(batch)
        failed = (self._sequences.get(scheduled.sequence_id) for scheduled in batch.sequences)
        return tuple(self._end_with_error(sequence, message) for sequence in failed if sequence is not None)

    def _advance(
        self, sequence: Sequence, scheduled: ScheduledSequence, yielded: SequenceResult
    ) -> SchedulerOutput | None:
        """Append what was yielded up to the first stop; KV past the accepted tokens is given back."""
        if yielded.error is not None:
            return self._end_with_error(sequence, yielded.error)
        computed = scheduled.start + scheduled.num_tokens
        token_ids, logprobs, stop = yielded.token_ids, yielded.logprobs, None
        if computed >= len(sequence.tokens):
            assert scheduled.samples or not token_ids
            stop = first_stop(sequence, token_ids)
            if stop is not None:
                token_ids, logprobs = token_ids[: stop.num_tokens], logprobs[: stop.num_tokens]
            sequence.tokens.extend(token_ids)
            self._counters.num_output_tokens += len(token_ids)
        # The last token is never computed in advance: the next step needs a row whose logits it can sample.
        sequence.num_computed = min(computed, len(sequence.tokens) - 1) if scheduled.samples else computed
        prompt_logprobs = take_unseen(sequence, scheduled.start, yielded.prompt_logprobs)
        self._kv.settle(sequence)
        is_first = bool(token_ids) and sequence.num_output_tokens == len(token_ids)
        start = None
        if is_first:
            sequence.first_token_at = self._clock()
            start = sequence_start(sequence)
        finish = None
        if stop is not None:
            self._leave(sequence)
            finish = sequence_finish(sequence, stop)
        elif not token_ids and not prompt_logprobs:
            return None
        return SchedulerOutput(sequence.sequence_id, token_ids, logprobs, prompt_logprobs, finish, start)

    def learn(self, turn_seconds: float) -> None:
        """The step that was last updated took `turn_seconds`, all that its turn did counted."""
        counters = self._counters
        outcome = self._pacing.model.observe(counters.shape, turn_seconds)
        counters.turn_seconds = turn_seconds
        counters.predicted_seconds = outcome.predicted_seconds if outcome is not None else None
        counters.prediction_error_ratio = self._pacing.model.error_ratio

    def stats(self, *, step_seconds: float, schedule_seconds: float) -> StepStats:
        """The facts of the step that was last scheduled; to be asked for after its `update` or `fail`."""
        return self._counters.stats(
            step_seconds=step_seconds,
            schedule_seconds=schedule_seconds,
            num_running=len(self._running),
            num_waiting=len(self._waiting),
            num_used_blocks=self._kv.num_used,
            num_total_blocks=self._kv.num_total,
            kv_waste_ratio=self._kv.waste_ratio(self._running),
        )

    def _end_with_error(self, sequence: Sequence, message: str) -> SchedulerOutput:
        self._leave(sequence)
        finish = sequence_finish(sequence, Stop(0, FinishReason.ERROR, None), message)
        return SchedulerOutput(sequence.sequence_id, finish=finish)

    def _leave(self, sequence: Sequence) -> None:
        """Take `sequence` out of everything, whatever its state."""
        (self._running if sequence.status is SequenceStatus.RUNNING else self._waiting).remove(sequence)
        self._kv.release(sequence.blocks)
        sequence.status = SequenceStatus.FINISHED
        self._shares.leave(sequence.request.tenant, self._clock())
        del self._sequences[sequence.sequence_id]
        if sequence.is_announced:
            self._forgotten.append(sequence.sequence_id)

    def _close(self, batch: Batch) -> None:
        assert batch is self._under_way, "not the step that is under way"
        self._under_way = None
