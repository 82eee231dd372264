"""A backend that answers by script: what it yields, what it raises and when it waits are the test's to say."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from tidemill.core.backend import BackendState, Health, ModelInfo
from tidemill.core.errors import TidemillError
from tidemill.core.footprint import Footprint
from tidemill.core.requests import (
    Accepted,
    ChatPrompt,
    Delta,
    Finish,
    FinishReason,
    GenerationChunk,
    GenerationRequest,
    PositionLogprobs,
    SequenceTimings,
    TextPrompt,
    TokenLogprob,
)
from tidemill.text.message_checks import validate_messages
from tidemill.text.sampling_checks import validate_sampling

VOCAB_SIZE = 512

MODEL = ModelInfo(
    names=("tiny", "llama2"),
    created_unix_seconds=1_700_000_000,
    max_model_len=128,
    architecture="LlamaForCausalLM",
    family="llama",
    num_parameters=1_234_567,
    weight_bytes=4_938_268,
    precision="fp32",
    vocab_size=VOCAB_SIZE,
    chat_template="{{ messages }}",
    digest="ab" * 32,
    numerics_fingerprint="fp_test",
)


def timings(num_prompt: int, num_output: int, *, cached: int = 0) -> SequenceTimings:
    """Timings of a sequence that waited 0.1 s, began at 0.3 s and ended at 0.8 s."""
    return SequenceTimings(
        num_prompt_tokens=num_prompt,
        num_cached_tokens=cached,
        num_output_tokens=num_output,
        num_preemptions=0,
        queue_seconds=0.1,
        time_to_first_token_seconds=0.3 if num_output else None,
        decode_seconds=0.5 if num_output else 0.0,
        total_seconds=0.8,
    )


def token(text: str, logprob: float = -0.5) -> TokenLogprob:
    """A token whose id is its first character's code."""
    return TokenLogprob(ord(text[0]), logprob, text, text.encode())


@dataclass
class FakeBackend:
    """Says `words` for every sequence, one a delta, and none if none may be generated.

    `gate`, if set, is awaited before each delta.
    `refuse` is raised before the first chunk; `fail_after` deltas, `failure` is raised. Every request and every closed
    generator is remembered.
    """

    words: Sequence[str] = ("Hello", ",", " world", ".")
    model: ModelInfo = MODEL
    state: BackendState = BackendState.READY
    reason: FinishReason = FinishReason.STOP
    num_prompt_tokens: int = 5
    num_cached_tokens: int = 2
    footprint: Footprint | None = None
    refuse: TidemillError | None = None
    failure: Exception | None = None
    fail_after: int = 2
    merges: bool = False
    """Whether each sequence comes as one delta, as if its reader had lagged."""
    gate: Callable[[int], "asyncio.Future[None] | asyncio.Task[None]"] | None = None
    wait_before_accepting: asyncio.Event | None = None
    requests: list[GenerationRequest] = field(default_factory=list)
    num_started: int = 0
    num_closed: int = 0
    num_deltas: int = 0
    started: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationChunk, None]:
        """See `Backend.generate`."""
        self.requests.append(request)
        self.num_started += 1
        self.started.set()
        try:
            if self.refuse is not None:
                raise self.refuse
            self._validate(request)
            if self.wait_before_accepting is not None:
                await self.wait_before_accepting.wait()
            count = len(request.prompts)
            ids = tuple(range(self.num_prompt_tokens))
            yield Accepted(num_prompt_tokens=(len(ids),) * count, prompt_token_ids=(ids,) * count)
            for index in range(count * request.n):
                deltas = self._sequence(request, index)
                async for delta in self._merged(deltas) if self.merges else deltas:
                    self.num_deltas += 1
                    yield delta
        finally:
            self.num_closed += 1
            self.closed.set()

    async def _merged(self, deltas: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
        every = [delta async for delta in deltas]
        yield Delta(
            index=every[0].index,
            text="".join(d.text for d in every),
            token_ids=tuple(i for d in every for i in d.token_ids),
            logprobs=tuple(p for d in every for p in d.logprobs),
            prompt_logprobs=tuple(p for d in every for p in d.prompt_logprobs),
            finish=every[-1].finish,
        )

    def _validate(self, request: GenerationRequest) -> None:
        validate_sampling(request.sampling, vocab_size=VOCAB_SIZE, is_echo=request.echo)
        for prompt in request.prompts:
            if isinstance(prompt, ChatPrompt):
                validate_messages(prompt)

    async def _sequence(self, request: GenerationRequest, index: int) -> AsyncGenerator[Delta, None]:
        sampling = request.sampling
        if request.echo:
            prompt = request.prompts[index // request.n]
            text = prompt.text if isinstance(prompt, TextPrompt) else "<ids>"
            known = tuple(PositionLogprobs(token(c), ()) for c in text[1:])
            asked = sampling.num_prompt_logprobs is not None
            yield Delta(index=index, text=text, prompt_logprobs=(None, *known) if asked else ())
        words = () if sampling.max_tokens == 0 else self.words
        for position, word in enumerate(words):
            if self.failure is not None and position == self.fail_after:
                raise self.failure
            if self.gate is not None:
                await self.gate(position)
            yield Delta(index=index, text=word, token_ids=(position + 1,), logprobs=self._logprobs(request, word))
        finish = Finish(
            reason=self.reason if words else FinishReason.LENGTH,
            timings=timings(self.num_prompt_tokens, len(words), cached=self.num_cached_tokens),
            footprint=self.footprint,
        )
        yield Delta(index=index, finish=finish)

    def _logprobs(self, request: GenerationRequest, word: str) -> tuple[PositionLogprobs, ...]:
        count = request.sampling.num_logprobs
        if count is None:
            return ()
        return (PositionLogprobs(token(word), tuple(token(c, -1.0 - i) for i, c in enumerate("abcde"[:count]))),)

    def health(self) -> Health:
        """See `Backend.health`."""
        return Health(state=self.state, detail=f"The fake is {self.state.value}.")

    def models(self) -> tuple[ModelInfo, ...]:
        """See `Backend.models`."""
        return () if self.state is BackendState.STARTING else (self.model,)
