"""From a request to what the engine is sent: validation and tokenization, off the event loop when they are long."""

import asyncio
from collections.abc import Sequence as Seq
from concurrent.futures import ThreadPoolExecutor

import msgspec

from tidemill.core.clock import Clock
from tidemill.core.messages import Message
from tidemill.core.objectives import Objectives
from tidemill.core.requests import ChatPrompt, GenerationRequest, Prompt, TextPrompt, TokensPrompt
from tidemill.engine.client.sequence_stream import SequencePlan, SequenceStream, Statement, no_statement
from tidemill.engine.protocol import Submit
from tidemill.text.model_text import ModelText
from tidemill.text.tokenizer import Tokenizer
from tidemill.text.validation import PreparedPrompt, PromptPreparer

_INLINE_CHARACTERS = 2048
"""Prompts up to this long are tokenized on the event loop: a thread's round trip would cost more."""
_NUM_THREADS = 2


class PromptWork:
    """Turns requests into token ids. How many wait here is bounded by the room they took before they came."""

    def __init__(self, text: ModelText, max_choices: int) -> None:
        self._text = text
        self._max_choices = max_choices
        self._preparer: PromptPreparer | None = None
        self._executor = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="prompt")

    def serve(self, max_model_len: int) -> None:
        """The engine is ready, with this context."""
        self._preparer = PromptPreparer(self._text, max_model_len=max_model_len, max_choices=self._max_choices)

    async def prepare(self, request: GenerationRequest) -> tuple[PreparedPrompt, ...]:
        """Validate and tokenize. Raises any `RequestError`."""
        preparer = self._preparer
        assert preparer is not None, "no engine has been ready yet"
        if sum(_num_characters(prompt) for prompt in request.prompts) <= _INLINE_CHARACTERS:
            return preparer.prepare(request).prompts
        loop = asyncio.get_running_loop()
        return (await loop.run_in_executor(self._executor, preparer.prepare, request)).prompts

    def close(self) -> None:
        """Let the threads end; what they work on is nobody's any more."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def plan_streams(
    request: GenerationRequest,
    prompts: Seq[PreparedPrompt],
    first_id: int,
    tokenizer: Tokenizer,
    arrival: float,
    clock: Clock,
    engine_clock: Clock,
    statement: Statement = no_statement,
) -> tuple[SequenceStream, ...]:
    """The sequences of a request, prompt-major, with ids from `first_id` on. `engine_clock` as for each of them."""
    streams = []
    for index in range(len(prompts) * request.n):
        prompt = prompts[index // request.n]
        plan = SequencePlan(
            index=index,
            sequence_id=first_id + index,
            num_prompt_tokens=len(prompt.token_ids),
            sampling=request.sampling,
            echo_text=prompt.text if request.echo else None,
            continues_text=prompt.continues_text,
            arrival=arrival,
        )
        streams.append(SequenceStream(plan, tokenizer, clock, engine_clock, statement))
    return tuple(streams)


def submissions(
    request: GenerationRequest,
    prompts: Seq[PreparedPrompt],
    first_id: int,
    objectives: Objectives,
    arrival: float,
) -> list[Submit]:
    """The frames that start the sequences of `plan_streams`, for a request that came at `arrival`."""
    # Stop strings are matched on this side; the engine need not carry them.
    sampling = msgspec.structs.replace(request.sampling, stop=())
    return [
        Submit(
            sequence_id=first_id + prompt_index * request.n + sample_index,
            prompt_token_ids=prompt.token_ids,
            sampling=sampling,
            max_new_tokens=prompt.max_new_tokens,
            prompt_index=prompt_index,
            sample_index=sample_index,
            priority=request.priority,
            cache_salt=request.cache_salt,
            tenant=request.tenant,
            objectives=objectives,
            arrival=arrival,
        )
        for prompt_index, prompt in enumerate(prompts)
        for sample_index in range(request.n)
    ]


def _num_characters(prompt: Prompt) -> int:
    match prompt:
        case TextPrompt():
            return len(prompt.text)
        case ChatPrompt():
            return sum(_num_characters_of(message) for message in prompt.messages)
        case TokensPrompt():
            return len(prompt.token_ids)


def _num_characters_of(message: Message) -> int:
    calls = sum(64 + len(call.function.arguments) for call in message.tool_calls)
    return 64 + len(message.content or "") + calls
