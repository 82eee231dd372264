"""Between frames and the scheduler's own types: a submission becomes a request, an output becomes its wire form."""

from tidemill.core.requests import FinishReason
from tidemill.engine.protocol import SequenceOutput, Submit, WireFinish, WireLogprobs, WireStart
from tidemill.scheduler.batch import RawLogprobs
from tidemill.scheduler.outputs import SchedulerOutput, SequenceFinish, SequenceStart
from tidemill.scheduler.sequence import SequenceRequest


def to_request(submit: Submit, eos_token_ids: frozenset[int]) -> SequenceRequest:
    """The scheduler's request for a submission."""
    return SequenceRequest(
        sequence_id=submit.sequence_id,
        model_id=submit.model_id,
        prompt_token_ids=submit.prompt_token_ids,
        sampling=submit.sampling,
        max_new_tokens=submit.max_new_tokens,
        eos_token_ids=eos_token_ids,
        arrival=submit.arrival,
        prompt_index=submit.prompt_index,
        sample_index=submit.sample_index,
        priority=submit.priority,
        cache_salt=submit.cache_salt,
        tenant=submit.tenant,
        objectives=submit.objectives,
    )


def to_wire(output: SchedulerOutput) -> SequenceOutput:
    """A step's output of one sequence, for the client."""
    return SequenceOutput(
        sequence_id=output.sequence_id,
        start=_start(output.start) if output.start is not None else None,
        token_ids=output.token_ids,
        logprobs=tuple(_logprobs(raw) for raw in output.logprobs),
        prompt_logprobs=tuple(_logprobs(raw) for raw in output.prompt_logprobs),
        finish=_finish(output.finish) if output.finish is not None else None,
    )


def finish_in_error(sequence_id: int, message: str) -> SequenceOutput:
    """The end of a sequence that was never taken."""
    finish = WireFinish(
        reason=FinishReason.ERROR, error=message, num_cached_tokens=0, num_preemptions=0, queue_seconds=0.0
    )
    return SequenceOutput(sequence_id=sequence_id, finish=finish)


def _logprobs(raw: RawLogprobs) -> WireLogprobs:
    return WireLogprobs(raw.token_id, raw.logprob, raw.top_token_ids, raw.top_logprobs)


def _start(start: SequenceStart) -> WireStart:
    return WireStart(start.num_cached_tokens, start.num_preemptions, start.queue_seconds)


def _finish(finish: SequenceFinish) -> WireFinish:
    return WireFinish(
        reason=finish.reason,
        stop_token_id=finish.stop_token_id,
        error=finish.error,
        num_cached_tokens=finish.num_cached_tokens,
        num_preemptions=finish.num_preemptions,
        queue_seconds=finish.queue_seconds,
    )
