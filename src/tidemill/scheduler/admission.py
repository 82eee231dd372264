"""Who may wait, and who of the waiting may start. Only the head of the queue may, so that nobody is overtaken."""

from tidemill.core.errors import CapacityError, ContextLengthError, InvalidRequestError
from tidemill.scheduler.kv_cache import KVCache, PrefixHit
from tidemill.scheduler.running_set import RunningSet
from tidemill.scheduler.sequence import Sequence, SequenceRequest


def check_capacity(kv: KVCache, max_model_len: int) -> None:
    """Raises `CapacityError` if the cache cannot hold one sequence of `max_model_len` tokens."""
    needed = kv.peak_blocks(max_model_len)
    if needed > kv.num_total:
        raise CapacityError(
            f"One sequence of {max_model_len} tokens needs {needed} KV blocks of {kv.block_size} tokens, "
            f"but the KV cache has {kv.num_total}.",
            next_step="Lower --max-model-len or raise --kv-cache-memory.",
        )


def check_request(request: SequenceRequest, max_model_len: int) -> None:
    """Raises `InvalidRequestError` or `ContextLengthError` for a request that could never run."""
    num_prompt_tokens = len(request.prompt_token_ids)
    if num_prompt_tokens == 0:
        raise InvalidRequestError("The prompt has no tokens.", param="prompt")
    if request.max_new_tokens < 0:
        raise InvalidRequestError(f"{request.max_new_tokens} tokens cannot be generated.", param="max_tokens")
    if num_prompt_tokens + request.max_new_tokens > max_model_len:
        raise ContextLengthError(
            num_prompt_tokens=num_prompt_tokens,
            num_output_tokens=request.max_new_tokens,
            max_model_len=max_model_len,
            param="prompt",
        )


def find_start(kv: KVCache, running: RunningSet, candidate: Sequence, *, max_preemptions: int) -> PrefixHit | None:
    """The prefix hit that `candidate` may start with now, or None while it must wait for blocks.

    It starts when all its tokens so far fit beside what the running sequences still need for theirs, plus one block a
    running sequence to grow by: less would only be preempted again. One that has been preempted often enough starts
    when its whole need fits (see `preemption.py`).
    """
    pledged = sum(kv.missing_blocks(s.blocks, len(s.tokens)) for s in running)
    spare = pledged + len(running) * kv.num_groups
    if kv.num_available < spare + kv.num_groups:  # the last token is always computed: cheap, and common under pressure
        return None
    reserve = candidate.num_preemptions >= max_preemptions
    hit = kv.find_prefix(candidate)
    num_positions = candidate.max_positions if reserve else len(candidate.tokens)
    return hit if kv.fits(hit, num_positions, spare=spare, reserve=reserve) else None
