"""A generation request and the chunks that answer it, in no dialect. Values are validated in `text/validation.py`."""

import enum

import msgspec

from tidemill.core.footprint import Footprint
from tidemill.core.messages import Message
from tidemill.core.objectives import Objectives


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are chosen and when a sequence ends. Temperature 0 is greedy.

    `seed` is always set: the caller draws one where the client gave none, so that a seed repeats a request.
    `num_logprobs` is how many alternatives come with each token's own log-probability (0: only its own; None: none).
    `max_tokens` None means as many as the context allows.
    """

    seed: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop: bool = False
    skip_special_tokens: bool = True
    num_logprobs: int | None = None
    num_prompt_logprobs: int | None = None


class TextPrompt(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """A prompt as text, tokenized with the model's special tokens."""

    text: str


class TokensPrompt(msgspec.Struct, frozen=True, kw_only=True, tag="tokens"):
    """A prompt as token ids, taken as it is."""

    token_ids: tuple[int, ...]


class ChatPrompt(msgspec.Struct, frozen=True, kw_only=True, tag="chat"):
    """A conversation, rendered with the model's chat template.

    With `add_generation_prompt` the template opens an assistant turn; with `continue_final_message` the last message
    (of the assistant) is left open and continued.
    """

    messages: tuple[Message, ...]
    add_generation_prompt: bool = True
    continue_final_message: bool = False


Prompt = TextPrompt | TokensPrompt | ChatPrompt


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One client request: `len(prompts) * n` continuations, numbered prompt-major.

    `priority`: lower is sooner. `cache_salt` separates prefix caches (one salt per API key). `echo` returns the
    prompt's text before the continuation. `max_context_tokens` is a tighter context than the served one, if asked for.
    `tenant` names who shares the engine with others, and `objectives` are what this request asks to be promised.
    """

    request_id: str
    model: str
    prompts: tuple[Prompt, ...]
    sampling: SamplingParams
    n: int = 1
    priority: int = 0
    cache_salt: str = ""
    echo: bool = False
    max_context_tokens: int | None = None
    tenant: str = ""
    objectives: Objectives = Objectives()


class FinishReason(enum.Enum):
    """Why a sequence ended."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token and its log-probability under the model's raw distribution (before penalties and temperature)."""

    token_id: int
    logprob: float
    text: str
    utf8: bytes


class PositionLogprobs(msgspec.Struct, frozen=True):
    """The chosen token of a position, and the most likely ones, best first."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


class SequenceTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations of one sequence in seconds, all from its arrival at the backend, and its token counts."""

    num_prompt_tokens: int
    num_cached_tokens: int
    num_output_tokens: int
    num_preemptions: int
    queue_seconds: float
    time_to_first_token_seconds: float | None
    decode_seconds: float
    """From the first token to the last: what the steps between took, also where both were reported in one go."""
    total_seconds: float


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a sequence. `stop`: the stop string or token id that ended it; None for an end-of-text token."""

    reason: FinishReason
    stop: str | int | None = None
    timings: SequenceTimings
    footprint: Footprint | None = None
    """What the sequence took, to many digits; None where no books are kept, or nothing is known yet."""


class Accepted(msgspec.Struct, frozen=True, kw_only=True, tag="accepted"):
    """Always the first chunk: the request is valid and queued. Token counts are per prompt."""

    num_prompt_tokens: tuple[int, ...]
    prompt_token_ids: tuple[tuple[int, ...], ...]


class Delta(msgspec.Struct, frozen=True, kw_only=True, tag="delta"):
    """More of one sequence. `index` is prompt_index * n + sample_index.

    `text` may be empty while bytes of a character or a possible stop string are held back. `logprobs` has one entry a
    token of `token_ids`, or is empty. With `echo`, the first delta of a sequence carries the prompt's text (and
    `prompt_logprobs`, whose first entry is None, if they were asked for) and no token ids.
    """

    index: int
    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[PositionLogprobs, ...] = ()
    prompt_logprobs: tuple[PositionLogprobs | None, ...] = ()
    finish: Finish | None = None


GenerationChunk = Accepted | Delta
