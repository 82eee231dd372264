"""From OpenAI's requests to a `GenerationRequest`. Bounds of values are checked below, in `text/validation.py`."""

from typing import TypeVar

from tidemill.api.openai.requests import (
    ChatCompletionRequest,
    ChatMessage,
    CompletionRequest,
    SamplingFields,
    TextPart,
)
from tidemill.api.service import Service
from tidemill.core.backend import ModelInfo
from tidemill.core.errors import InvalidRequestError, UnsupportedFieldError
from tidemill.core.messages import FunctionCall, Message, ToolCall
from tidemill.core.requests import (
    ChatPrompt,
    GenerationRequest,
    Prompt,
    SamplingParams,
    TextPrompt,
    TokensPrompt,
)

T = TypeVar("T")

RENAMED = {"num_logprobs": "logprobs", "num_prompt_logprobs": "logprobs"}
"""Names of `SamplingParams` in completions."""
CHAT_RENAMED = {"num_logprobs": "top_logprobs"}
"""Names of `SamplingParams` in chat completions."""
_DEFAULT_COMPLETION_TOKENS = 16
"""OpenAI's default of `max_tokens` for completions; chat completions have none."""


def completion_to_generation(
    request: CompletionRequest, info: ModelInfo, service: Service, *, generation_id: str, cache_salt: str
) -> GenerationRequest:
    """Raises `InvalidRequestError` or `UnsupportedFieldError`."""
    n = _num_samples(request)
    if request.best_of not in (None, n):
        raise UnsupportedFieldError("best_of", reason="it must equal n, which is all that is generated")
    # Counted before it is taken apart: a list of a million empty lists fits into a body.
    _check_num_choices(_num_prompts(request.prompt), n, service)
    prompts = _prompts(request.prompt)
    max_tokens = _DEFAULT_COMPLETION_TOKENS if request.max_tokens is None else request.max_tokens
    echo = bool(request.echo)
    sampling = _sampling(request, info, service, max_tokens, request.logprobs, request.logprobs if echo else None)
    return GenerationRequest(
        request_id=generation_id,
        model=info.names[0],
        prompts=prompts,
        sampling=sampling,
        n=n,
        cache_salt=cache_salt,
        echo=echo,
    )


def chat_to_generation(
    request: ChatCompletionRequest, info: ModelInfo, service: Service, *, generation_id: str, cache_salt: str
) -> GenerationRequest:
    """Raises `InvalidRequestError` or `UnsupportedFieldError`."""
    n = _num_samples(request)
    _check_num_choices(1, n, service)
    sampling = _sampling(request, info, service, _chat_max_tokens(request), _chat_logprobs(request), None)
    return GenerationRequest(
        request_id=generation_id,
        model=info.names[0],
        prompts=(_chat_prompt(request),),
        sampling=sampling,
        n=n,
        cache_salt=cache_salt,
    )


def _num_samples(request: SamplingFields) -> int:
    """`n`, after the fields have been checked that only have one value here."""
    if request.store:
        raise UnsupportedFieldError("store", reason="nothing is stored")
    options = request.stream_options
    if options is not None and not request.stream:
        raise InvalidRequestError("The field 'stream_options' needs 'stream': true.", param="stream_options")
    if options is not None and options.include_obfuscation:
        raise UnsupportedFieldError("stream_options.include_obfuscation", reason="chunks are never padded")
    n = 1 if request.n is None else request.n
    if n < 1:
        raise InvalidRequestError(f"The value of 'n' must be at least 1, not {n}.", param="n")
    return n


def _check_num_choices(num_prompts: int, n: int, service: Service) -> None:
    most = service.settings.max_choices
    if num_prompts * n > most:
        raise InvalidRequestError(
            f"The request asks for {num_prompts} x {n} continuations; this server takes at most {most} a request.",
            param="n" if n > 1 else "prompt",
        )


def _sampling(
    request: SamplingFields,
    info: ModelInfo,
    service: Service,
    max_tokens: int | None,
    num_logprobs: int | None,
    num_prompt_logprobs: int | None,
) -> SamplingParams:
    defaults = info.default_sampling
    top_k = _given(request.top_k, defaults.get("top_k"), 0)
    return SamplingParams(
        seed=service.draw_seed() if request.seed is None else request.seed,
        temperature=_given(request.temperature, defaults.get("temperature"), 1.0),
        top_k=None if top_k in (0, -1) else int(top_k),
        top_p=_given(request.top_p, defaults.get("top_p"), 1.0),
        min_p=_given(request.min_p, defaults.get("min_p"), 0.0),
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        repetition_penalty=_given(request.repetition_penalty, defaults.get("repetition_penalty"), 1.0),
        logit_bias=request.logit_bias or {},
        max_tokens=max_tokens,
        min_tokens=request.min_tokens or 0,
        ignore_eos=bool(request.ignore_eos),
        stop=(request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ()),
        stop_token_ids=tuple(request.stop_token_ids or ()),
        include_stop=bool(request.include_stop_str_in_output),
        skip_special_tokens=request.skip_special_tokens is not False,
        num_logprobs=num_logprobs,
        num_prompt_logprobs=num_prompt_logprobs,
    )


def _given(value: T | None, default: T | None, fallback: T) -> T:
    """What the client gave, else what the model's own configuration says, else the dialect's default."""
    if value is not None:
        return value
    return fallback if default is None else default


def _num_prompts(prompt: str | list[str | int | list[int]]) -> int:
    return 1 if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)) else len(prompt)


def _prompts(prompt: str | list[str | int | list[int]]) -> tuple[Prompt, ...]:
    if isinstance(prompt, str):
        return (TextPrompt(text=prompt),)
    kinds = {type(part) for part in prompt}
    if kinds == {int}:
        return (TokensPrompt(token_ids=tuple(p for p in prompt if isinstance(p, int))),)
    if kinds == {str}:
        return tuple(TextPrompt(text=p) for p in prompt if isinstance(p, str))
    if kinds == {list}:
        return tuple(TokensPrompt(token_ids=tuple(p)) for p in prompt if isinstance(p, list))
    reason = "mixes text and token ids" if prompt else "is an empty list"
    raise InvalidRequestError(f"The value of 'prompt' {reason}.", param="prompt")


def _chat_max_tokens(request: ChatCompletionRequest) -> int | None:
    old, new = request.max_tokens, request.max_completion_tokens
    if old is not None and new is not None and old != new:
        raise InvalidRequestError(
            "The fields 'max_tokens' and 'max_completion_tokens' contradict each other.", param="max_completion_tokens"
        )
    return old if new is None else new


def _chat_logprobs(request: ChatCompletionRequest) -> int | None:
    if not request.logprobs:
        if request.top_logprobs:
            raise InvalidRequestError("The field 'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
        return None
    return request.top_logprobs or 0


def _chat_prompt(request: ChatCompletionRequest) -> ChatPrompt:
    if not request.messages:
        raise InvalidRequestError("The list 'messages' is empty.", param="messages")
    continues = bool(request.continue_final_message)
    if continues and request.add_generation_prompt:
        raise InvalidRequestError(
            "The fields 'continue_final_message' and 'add_generation_prompt' exclude each other.",
            param="continue_final_message",
        )
    if continues and request.messages[-1].role != "assistant":
        raise InvalidRequestError(
            "Only a last message of the assistant can be continued.", param="continue_final_message"
        )
    opens = not continues if request.add_generation_prompt is None else request.add_generation_prompt
    messages = tuple(_message(m, f"messages[{i}]") for i, m in enumerate(request.messages))
    return ChatPrompt(messages=messages, add_generation_prompt=opens, continue_final_message=continues)


def _message(message: ChatMessage, where: str) -> Message:
    content = message.content
    if isinstance(content, list):
        content = "\n".join(part.text if isinstance(part, TextPart) else part.refusal for part in content)
    if content is None:
        content = message.refusal
    if content is None and not (message.role == "assistant" and message.tool_calls):
        raise InvalidRequestError(f"The field '{where}.content' is required.", param=f"{where}.content")
    if message.tool_calls and message.role != "assistant":
        raise InvalidRequestError("Only the assistant calls tools.", param=f"{where}.tool_calls")
    calls = tuple(
        ToolCall(id=c.id, function=FunctionCall(name=c.function.name, arguments=c.function.arguments))
        for c in message.tool_calls or ()
    )
    return Message(
        role="system" if message.role == "developer" else message.role,
        content=content,
        name=message.name,
        tool_calls=calls,
        tool_call_id=message.tool_call_id,
    )
