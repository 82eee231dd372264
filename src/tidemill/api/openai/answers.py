"""Answers of OpenAI's dialect on the wire."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from tidemill.core.footprint import Footprint
from tidemill.core.quantization import Quantization

Reason = Literal["stop", "length"]


class PromptTokensDetails(Struct, frozen=True, kw_only=True):
    """How many of the prompt's tokens came from the prefix cache."""

    cached_tokens: int


class Usage(Struct, frozen=True, kw_only=True):
    """Token counts of a request; a prompt counts once, whatever n is."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    footprint: Footprint | UnsetType | None = UNSET
    """What the answer took, if that was asked for; null while no price is known yet, or without a meter."""


class TopLogprob(Struct, frozen=True, kw_only=True):
    """A token that might have been chosen. `bytes` is its UTF-8, which may be a part of a character."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(Struct, frozen=True, kw_only=True):
    """A chosen token and its rivals."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class ChatLogprobs(Struct, frozen=True, kw_only=True):
    """Log-probabilities of a piece of content."""

    content: list[TokenLogprobs]
    refusal: None = None


class AssistantMessage(Struct, frozen=True, kw_only=True):
    """What the model said."""

    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None


class ChatChoice(Struct, frozen=True, kw_only=True):
    """One of n answers. `stop_reason` is the stop string or token id that ended it, if one did."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: Reason
    stop_reason: str | int | None


class ChatCompletion(Struct, frozen=True, kw_only=True):
    """A whole answer."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    object: Literal["chat.completion"] = "chat.completion"
    system_fingerprint: str | None = None


class ChatDelta(Struct, frozen=True, kw_only=True):
    """More of a message."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChatChunkChoice(Struct, frozen=True, kw_only=True):
    """More of one of n answers."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: Reason | None = None
    stop_reason: str | int | UnsetType | None = UNSET


class ChatCompletionChunk(Struct, frozen=True, kw_only=True):
    """One event of a stream. `usage` is absent unless asked for, and null but in the last chunk."""

    id: str
    created: int
    model: str
    choices: list[ChatChunkChoice]
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    system_fingerprint: str | None = None
    usage: Usage | UnsetType | None = UNSET


class CompletionLogprobs(Struct, frozen=True, kw_only=True):
    """Parallel lists, one entry a token; the first token of an echoed prompt has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(Struct, frozen=True, kw_only=True):
    """One continuation, or more of one in a stream."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Reason | None
    stop_reason: str | int | None = None


class Completion(Struct, frozen=True, kw_only=True):
    """A whole answer, or one event of a stream."""

    id: str
    created: int
    model: str
    choices: list[CompletionChoice]
    object: Literal["text_completion"] = "text_completion"
    system_fingerprint: str | None = None
    usage: Usage | UnsetType | None = UNSET


class ModelCard(Struct, frozen=True, kw_only=True):
    """A served model under one of its names. `root` is the canonical one."""

    id: str
    created: int
    root: str
    max_model_len: int
    precision: str
    precision_reason: str
    """Why this precision was chosen."""
    quantization: Quantization | None
    """What it cost in quality; null if the weights are floats."""
    kv_precision: str
    """Type of keys and values in the cache."""
    object: Literal["model"] = "model"
    owned_by: Literal["tidemill"] = "tidemill"


class ModelList(Struct, frozen=True, kw_only=True):
    """Everything served."""

    data: list[ModelCard]
    object: Literal["list"] = "list"
