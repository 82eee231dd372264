"""Requests of Ollama's dialect on the wire. Null means absent. A field of type `None` is known and refused by name.

What some fields mean here, where a model is always loaded and a prompt is never cut:
- `keep_alive`: a promise to keep the model loaded is kept whatever its length; 0, which asks to unload it, is refused.
- `options.num_ctx`: a cap on prompt plus output, if it is below the served context.
- `options.num_keep`: what to keep when a context is shifted; none ever is, so any value is honoured.
- `options.repeat_last_n`: -1 (the whole context) or 0 (no penalty); penalties have no other window here.
- Options that place work on hardware (`num_gpu`, `num_thread`, ...) are the server's to decide, and refused.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

TheServers = Annotated[None, Meta(description="it is the server's to decide, with the options of 'tidemill serve'")]
NotHere = Annotated[None, Meta(description="this server does not offer it")]
TextOnly = Annotated[None, Meta(description="only text goes in and out")]


class OllamaOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tokens are chosen and when to end."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    num_predict: int | None = None
    stop: str | list[str] | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    num_ctx: int | None = None
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
    format: Literal[""] | None = None
    """Only empty: output in a form is not offered yet."""
    think: bool | None = None
    """Only false: reasoning is not told apart from the answer."""
    logprobs: bool | None = None
    top_logprobs: int | None = None
    truncate: bool | None = None
    """Only false: a prompt that does not fit is an error."""
    shift: bool | None = None
    """Only false: a full context ends the answer."""


class OllamaGenerateRequest(OllamaFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answer a prompt, as one turn of a chat unless `raw`. Without a prompt: say that the model is loaded."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = None
    stop: str | list[str] | None = None
    """As `options.stop`: where LangChain's first releases put it."""
    context: Annotated[list[int], Meta(max_length=0)] | None = None
    """Only empty: send the conversation to /api/chat instead."""
    images: Annotated[list[Any], Meta(max_length=0)] | None = None
    suffix: Literal[""] | None = None
    template: Literal[""] | None = None
    width: TextOnly = None
    height: TextOnly = None
    steps: TextOnly = None


class OllamaFunctionCall(Struct, frozen=True, kw_only=True):
    """The function an assistant called, its arguments as an object."""

    name: str
    arguments: dict[str, Any]


class OllamaToolCall(Struct, frozen=True, kw_only=True):
    """A call in an assistant's message."""

    function: OllamaFunctionCall
    id: str | None = None
    type: Literal["function"] | None = None


class OllamaMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One turn."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    images: Annotated[list[Any], Meta(max_length=0)] | None = None
    tool_calls: list[OllamaToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    thinking: Annotated[None, Meta(description="reasoning is not told apart from content")] = None


class OllamaChatRequest(OllamaFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Continue a conversation. Without messages: say that the model is loaded."""

    messages: list[OllamaMessage] | None = None
    tools: Annotated[list[Any], Meta(max_length=0)] | None = None
    """Only empty: tool calling is not offered yet."""


class OllamaShowRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model to show; old clients say `name`."""

    model: str | None = None
    name: str | None = None
    verbose: bool | None = None
    """Either way everything there is to say is said."""
    system: NotHere = None
    template: NotHere = None
    options: NotHere = None
