"""Answers of Ollama's dialect on the wire. Durations are nanoseconds."""

import datetime as dt
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from tidemill.core.footprint import Footprint

DoneReason = Literal["stop", "length", "load"]


class OllamaRival(Struct, frozen=True, kw_only=True):
    """A token that might have been chosen."""

    token: str
    logprob: float
    bytes: list[int]


class OllamaLogprob(Struct, frozen=True, kw_only=True):
    """A chosen token and its rivals."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[OllamaRival] | UnsetType = UNSET


class OllamaCounts(Struct, frozen=True, kw_only=True):
    """What every answer has; the counts and durations come with the last piece.

    `load_duration` is 0: the model is loaded before the first request. `prompt_eval_duration` ends with the first
    token, `eval_duration` begins there; waiting in the queue is in neither, but in `total_duration`.
    """

    model: str
    created_at: dt.datetime
    done: bool
    done_reason: DoneReason | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET
    logprobs: list[OllamaLogprob] | UnsetType = UNSET
    footprint: Footprint | UnsetType | None = UNSET
    """What the answer took, if that was asked for."""


class OllamaGenerateResponse(OllamaCounts, frozen=True, kw_only=True):
    """A piece of an answer to generate, or all of it."""

    response: str


class OllamaAnswerMessage(Struct, frozen=True, kw_only=True):
    """What the model said."""

    content: str
    role: Literal["assistant"] = "assistant"


class OllamaChatResponse(OllamaCounts, frozen=True, kw_only=True):
    """A piece of an answer to chat, or all of it."""

    message: OllamaAnswerMessage


class OllamaDetails(Struct, frozen=True, kw_only=True):
    """What kind of model it is."""

    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str
    format: Literal["safetensors"] = "safetensors"
    parent_model: str = ""


class OllamaModel(Struct, frozen=True, kw_only=True):
    """A served model under one of its names."""

    name: str
    model: str
    modified_at: dt.datetime
    size: int
    digest: str
    details: OllamaDetails


class OllamaModelList(Struct, frozen=True, kw_only=True):
    """Everything served."""

    models: list[OllamaModel]


class OllamaRunning(Struct, frozen=True, kw_only=True):
    """A loaded model. It expires never, which Ollama's clients read as a date far away."""

    name: str
    model: str
    size: int
    size_vram: int
    digest: str
    details: OllamaDetails
    expires_at: dt.datetime
    context_length: int


class OllamaRunningList(Struct, frozen=True, kw_only=True):
    """Everything loaded, which is everything served."""

    models: list[OllamaRunning]


class OllamaShowResponse(Struct, frozen=True, kw_only=True):
    """All about a model."""

    modelfile: str
    parameters: str
    template: str
    details: OllamaDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: dt.datetime
    license: str | UnsetType = UNSET


class OllamaVersion(Struct, frozen=True, kw_only=True):
    """The version of this server."""

    version: str
