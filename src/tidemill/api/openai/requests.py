"""Requests of OpenAI's dialect on the wire. Null means absent. A field of type `None` is known and refused by name.

Accepted for what OpenAI defines them to be, labels with no effect on the answer: `user`, `safety_identifier`,
`metadata` and `prompt_cache_key` (prefix caching is on for everybody). Everything else is honoured or refused.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Text = Annotated[None, Meta(description="only text goes in and out")]
NoTools = Annotated[None, Meta(description="tool calling is not offered yet")]
OneWay = Annotated[None, Meta(description="this server has one way of serving a request")]
NotHere = Annotated[None, Meta(description="this server does not offer it")]


class StreamOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to stream. With `include_usage` the last chunk before the end carries the token counts."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Only false: chunks are never padded."""
    continuous_usage_stats: Annotated[None, Meta(description="usage comes once, at the end")] = None


class ResponseFormat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The form of the output; free text is the only one so far."""

    type: Literal["text"]


class TextPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """A part of a message that is text."""

    text: str


class RefusalPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="refusal"):
    """A part of an assistant's message in which it declined."""

    refusal: str


class ChatFunctionCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The function an assistant called; `arguments` is JSON text."""

    name: str
    arguments: str


class ChatToolCall(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call in an assistant's message."""

    id: str
    function: ChatFunctionCall
    type: Literal["function"] = "function"
    index: int | None = None


class ChatMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One turn. `annotations` is output that clients send back as it came."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart | RefusalPart] | None = None
    name: str | None = None
    tool_calls: list[ChatToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: Text = None
    function_call: Annotated[None, Meta(description="tool_calls has taken its place")] = None
    reasoning_content: Annotated[None, Meta(description="reasoning is not told apart from content")] = None


class SamplingFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What both kinds of completion share. Bounds of values are checked below the dialects, once for all of them."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    priority: int | None = None
    store: bool | None = None
    """Only false: nothing is stored."""
    service_tier: Literal["auto", "default"] | None = None
    truncate_prompt_tokens: Annotated[None, Meta(description="a prompt is never cut")] = None
    use_beam_search: NotHere = None
    length_penalty: NotHere = None
    prompt_logprobs: NotHere = None
    spaces_between_special_tokens: NotHere = None
    guided_json: NotHere = None
    guided_regex: NotHere = None
    guided_choice: NotHere = None
    guided_grammar: NotHere = None
    structured_outputs: NotHere = None
    return_token_ids: NotHere = None
    logits_processors: NotHere = None
    response_format: ResponseFormat | None = None


class CompletionRequest(SamplingFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Continue a prompt: text, token ids, or a list of either."""

    prompt: str | list[str | int | list[int]]
    echo: bool | None = None
    logprobs: int | None = None
    best_of: int | None = None
    """Only equal to n: nothing is generated that is not returned."""
    suffix: Annotated[None, Meta(description="text is continued, not filled in")] = None
    prompt_embeds: Text = None
    add_special_tokens: NotHere = None


class ChatCompletionRequest(SamplingFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Continue a conversation."""

    messages: list[ChatMessage]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    modalities: list[Literal["text"]] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    tools: NoTools = None
    tool_choice: Literal["none"] | None = None
    parallel_tool_calls: NoTools = None
    functions: NoTools = None
    function_call: NoTools = None
    audio: Text = None
    prediction: NotHere = None
    web_search_options: NotHere = None
    verbosity: Annotated[None, Meta(description="say in a message how long the answer should be")] = None
    reasoning_effort: Annotated[None, Meta(description="reasoning cannot be steered here")] = None
    reasoning: NotHere = None
    prompt_cache_retention: OneWay = None
    moderation: NotHere = None
    chat_template: Annotated[None, Meta(description="the model's own template is used")] = None
    chat_template_kwargs: Annotated[None, Meta(description="the model's own template is used")] = None
    documents: NotHere = None
    echo: Annotated[None, Meta(description="only /v1/completions echoes")] = None
    add_special_tokens: NotHere = None
