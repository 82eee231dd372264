"""Requests of Ollama's dialect on the wire. Null means absent.

A field of type `None` is known and refused by name; one with a description is, but for the values of its type.

What some fields mean here, where a model is always loaded and a prompt is never cut:
- `keep_alive`: a promise to keep the model loaded is kept whatever its length; 0, which asks to unload it, is refused.
- `options.num_ctx`: a cap on prompt plus output, if it is below the served context.
- `options.num_keep`: what to keep when a context is shifted; none ever is, so any value is honoured.
- `options.repeat_last_n`: -1 (the whole context) or 0 (no penalty); penalties have no other window here.
- Options that place work on hardware (`num_gpu`, `num_thread`, ...) are the server's to decide, and refused.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from tidemill.api.bounds import (
    MinP,
    NumLogprobs,
    OnlyFalse,
    Penalty,
    PositiveCount,
    RepetitionPenalty,
    Seed,
    StopText,
    StopTexts,
    Temperature,
    TopK,
    TopP,
)

EmptyList = Annotated[list[Any], Meta(max_length=0)]
TheServers = Annotated[None, Meta(description="it is the server's to decide, with the options of 'tidemill serve'")]
NotHere = Annotated[None, Meta(description="this server does not offer it")]
TextOnly = Annotated[None, Meta(description="only text goes in and out")]


class OllamaOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tokens are chosen and when to end."""

    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: TopP | None = None
    min_p: MinP | None = None
    seed: Seed | None = None
    num_predict: Annotated[int, Meta(extra_json_schema={"minimum": -2})] | None = None
    stop: StopText | StopTexts | None = None
    repeat_penalty: RepetitionPenalty | None = None
    repeat_last_n: int | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    num_ctx: PositiveCount | None = None
    num_keep: int | None = None
    tfs_z: float | None = None
    typical_p: float | None = None
    mirostat: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    penalize_newline: bool | None = None
    numa: TheServers = None
    num_batch: TheServers = None
    num_gpu: TheServers = None
    main_gpu: TheServers = None
    num_thread: TheServers = None
    low_vram: TheServers = None
    f16_kv: TheServers = None
    use_mmap: TheServers = None
    use_mlock: TheServers = None
    logits_all: NotHere = None
    vocab_only: NotHere = None
    embedding_only: NotHere = None
    num_gqa: TheServers = None
    rope_frequency_base: TheServers = None
    rope_frequency_scale: TheServers = None
    draft_num_predict: NotHere = None


class OllamaFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What generate and chat share."""

    model: str
    stream: bool | None = None
    options: OllamaOptions | None = None
    keep_alive: str | int | float | None = None
    format: Annotated[
        Literal[""] | None, Meta(description="output in a form is not offered yet, only an empty one")
    ] = None
    think: Annotated[
        OnlyFalse | None, Meta(description="reasoning is not told apart from the answer, so only false is taken")
    ] = None
    logprobs: bool | None = None
    top_logprobs: NumLogprobs | None = None
    truncate: OnlyFalse | None = None
    """A prompt that does not fit is an error."""
    shift: OnlyFalse | None = None
    """A full context ends the answer."""


class OllamaGenerateRequest(OllamaFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answer a prompt, as one turn of a chat unless `raw`. Without a prompt: say that the model is loaded."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    stop: str | list[str] | None = None
    """As `options.stop`: where LangChain's first releases put it."""
    context: Annotated[
        EmptyList | None, Meta(description="only an empty list is taken; send the conversation to /api/chat instead")
    ] = None
    images: Annotated[EmptyList | None, Meta(description="only text goes in and out, so only an empty list")] = None
    suffix: Annotated[Literal[""] | None, Meta(description="text is continued, not filled in")] = None
    template: Annotated[Literal[""] | None, Meta(description="the model's own template is used")] = None
    width: TextOnly = None
    height: TextOnly = None
    steps: TextOnly = None


class OllamaFunctionCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The function an assistant called, its arguments as an object; `index` is its place among the calls."""

    name: str
    arguments: dict[str, Any]
    index: int | None = None


class OllamaToolCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call in an assistant's message."""

    function: OllamaFunctionCall
    id: str | None = None
    type: Literal["function"] | None = None


class OllamaMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One turn."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    images: Annotated[EmptyList | None, Meta(description="only text goes in and out, so only an empty list")] = None
    tool_calls: list[OllamaToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    thinking: Annotated[None, Meta(description="reasoning is not told apart from content")] = None


class OllamaChatRequest(OllamaFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Continue a conversation. Without messages: say that the model is loaded."""

    messages: list[OllamaMessage] | None = None
    tools: Annotated[EmptyList | None, Meta(description="tool calling is not offered yet, only an empty list")] = None


class OllamaShowRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model to show; old clients say `name`."""

    model: str | None = None
    name: str | None = None
    verbose: bool | None = None
    """Either way everything there is to say is said."""
    system: NotHere = None
    template: NotHere = None
    options: NotHere = None
