"""Requests of OpenAI's dialect on the wire. Null means absent, and so does what is empty where that means nothing.

A field of type `None` is known and refused by name; one with a description is, but for the values of its type.

Accepted for what OpenAI defines them to be, labels with no effect on the answer: `user`, `safety_identifier`,
`metadata` and `prompt_cache_key` (prefix caching is on for everybody). Everything else is honoured or refused.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from tidemill.api.bounds import (
    FROM_ONE_MESSAGE,
    Count,
    MinP,
    NumLogprobs,
    OnlyFalse,
    Penalty,
    PositiveCount,
    Priority,
    RepetitionPenalty,
    Seed,
    StopText,
    StopTexts,
    StopTokenIds,
    Temperature,
    TopK,
    TopP,
)

EmptyList = Annotated[list[Any], Meta(max_length=0)]
Text = Annotated[None, Meta(description="only text goes in and out")]
NoTools = Annotated[None, Meta(description="tool calling is not offered yet")]
OneWay = Annotated[None, Meta(description="this server has one way of serving a request")]
NotHere = Annotated[None, Meta(description="this server does not offer it")]


class StreamOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to stream. With `include_usage` the last chunk before the end carries the token counts."""

    include_usage: bool | None = None
    include_obfuscation: OnlyFalse | None = None
    """Chunks are never padded."""
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
    n: PositiveCount | None = None
    max_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[int, float] | None = None
    seed: Seed | None = None
    stop: StopText | StopTexts | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    top_k: TopK | None = None
    min_p: MinP | None = None
    repetition_penalty: RepetitionPenalty | None = None
    min_tokens: Count | None = None
    ignore_eos: bool | None = None
    stop_token_ids: StopTokenIds | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    priority: Priority | None = None
    store: OnlyFalse | None = None
    """Nothing is stored."""
    service_tier: Annotated[
        Literal["auto", "default"] | None, Meta(description="there is one tier, 'auto' or 'default'")
    ] = None
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
    logits_processors: Annotated[EmptyList | None, Meta(description="this server does not offer it")] = None
    response_format: Annotated[
        ResponseFormat | None, Meta(description="output in a form is not offered yet, only the type 'text'")
    ] = None


class CompletionRequest(SamplingFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Continue a prompt: text, token ids, or a list of either."""

    prompt: str | list[str | int | list[int]]
    echo: bool | None = None
    logprobs: NumLogprobs | None = None
    best_of: PositiveCount | None = None
    """Only equal to n: nothing is generated that is not returned."""
    suffix: Annotated[Literal[""] | None, Meta(description="text is continued, not filled in")] = None
    prompt_embeds: Text = None
    add_special_tokens: NotHere = None


class ChatCompletionRequest(SamplingFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Continue a conversation."""

    messages: Annotated[list[ChatMessage], FROM_ONE_MESSAGE]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: NumLogprobs | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    modalities: Annotated[list[Literal["text"]] | None, Meta(description="only text goes in and out")] = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    tools: Annotated[EmptyList | None, Meta(description="tool calling is not offered yet, only an empty list")] = None
    tool_choice: Annotated[
        Literal["none"] | None, Meta(description="tool calling is not offered yet, only the choice 'none'")
    ] = None
    parallel_tool_calls: NoTools = None
    functions: Annotated[EmptyList | None, Meta(description="tool calling is not offered yet, only an empty list")] = (
        None
    )
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
    chat_template_kwargs: Annotated[
        Annotated[dict[str, Any], Meta(max_length=0)] | None, Meta(description="the model's own template is used")
    ] = None
    documents: Annotated[EmptyList | None, Meta(description="this server does not offer it")] = None
    echo: Annotated[None, Meta(description="only /v1/completions echoes")] = None
    add_special_tokens: NotHere = None
