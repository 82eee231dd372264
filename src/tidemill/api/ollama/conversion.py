"""From Ollama's requests to a `GenerationRequest`. Bounds of values are checked below, in `text/validation.py`."""

import re

import msgspec
from msgspec.structs import replace

from tidemill.api.ollama.requests import (
    OllamaChatRequest,
    OllamaFields,
    OllamaGenerateRequest,
    OllamaMessage,
    OllamaOptions,
)
from tidemill.api.service import Service
from tidemill.core.backend import ModelInfo
from tidemill.core.errors import InvalidRequestError, UnsupportedFieldError
from tidemill.core.messages import FunctionCall, Message, ToolCall
from tidemill.core.requests import ChatPrompt, GenerationRequest, Prompt, SamplingParams, TextPrompt

RENAMED = {
    "max_tokens": "options.num_predict",
    "max_context_tokens": "options.num_ctx",
    "repetition_penalty": "options.repeat_penalty",
    "num_logprobs": "top_logprobs",
    **{name: f"options.{name}" for name in ("seed", "temperature", "top_k", "top_p", "min_p", "stop")},
    **{name: f"options.{name}" for name in ("presence_penalty", "frequency_penalty")},
}
"""Names of `SamplingParams` in this dialect."""

_TAG = ":latest"
_NO_LIMIT = (0, -1, -2)
"""Values of `num_predict` that set no limit, in Ollama as here: its loop only ends at a limit above 0."""
_DEFAULTS: dict[str, float] = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repetition_penalty": 1.0}
"""Ollama's documented defaults, but for its penalty of 1.1 over the last 64 tokens: penalties here span the context."""
_NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_DURATION = re.compile(rf"-?(?:{_NUMBER}|(?:{_NUMBER}(?:ns|us|µs|ms|s|m|h))+)")
"""A number of seconds, or numbers with units. No text can be cut into numbers in two ways: matching stays linear."""


def model_named(service: Service, name: str) -> ModelInfo:
    """The model that answers to `name`, which with and without ':latest' is the same. Raises `ModelNotFoundError`."""
    bare = name.removesuffix(_TAG)
    known = {n for info in service.models() for n in info.names}
    return service.model(name if name in known else f"{bare}{_TAG}" if f"{bare}{_TAG}" in known else bare)


def check_common(request: OllamaFields) -> None:
    """Raises `UnsupportedFieldError` for what only has one value here, `InvalidRequestError` for what has none."""
    if request.think:
        raise UnsupportedFieldError("think", reason="reasoning is not told apart from the answer")
    if request.truncate:
        raise UnsupportedFieldError("truncate", reason="a prompt is never cut; one that does not fit is an error")
    if request.shift:
        raise UnsupportedFieldError("shift", reason="a full context ends the answer")
    _check_options(request.options or OllamaOptions())
    keep = request.keep_alive
    if isinstance(keep, str):
        if not _DURATION.fullmatch(keep):
            raise InvalidRequestError("The value of 'keep_alive' is not a duration.", param="keep_alive")
        unloads = not keep.startswith("-") and not re.search(r"[1-9]", keep)
    else:
        unloads = keep == 0 and keep is not None
    if unloads:
        raise UnsupportedFieldError("keep_alive", reason="0 asks to unload the model, and it is always loaded here")


def generate_to_generation(
    request: OllamaGenerateRequest, info: ModelInfo, service: Service, *, generation_id: str, cache_salt: str
) -> GenerationRequest:
    """Raises `InvalidRequestError` or `UnsupportedFieldError`."""
    options = request.options or OllamaOptions()
    if request.stop:
        if options.stop:
            raise InvalidRequestError("Both 'stop' and 'options.stop' are given.", param="stop")
        request = replace(request, options=replace(options, stop=request.stop))
    return _generation(request, _generate_prompt(request, info), info, service, generation_id, cache_salt)


def chat_to_generation(
    request: OllamaChatRequest, info: ModelInfo, service: Service, *, generation_id: str, cache_salt: str
) -> GenerationRequest:
    """Raises `InvalidRequestError` or `UnsupportedFieldError`."""
    messages = tuple(_message(m, f"messages[{i}]", i) for i, m in enumerate(request.messages or ()))
    # Ollama continues a last message of the assistant rather than answering it.
    continues = bool(messages) and messages[-1].role == "assistant" and messages[-1].content is not None
    prompt = ChatPrompt(messages=messages, add_generation_prompt=not continues, continue_final_message=continues)
    return _generation(request, prompt, info, service, generation_id, cache_salt)


def _generation(
    request: OllamaFields, prompt: Prompt, info: ModelInfo, service: Service, generation_id: str, cache_salt: str
) -> GenerationRequest:
    options = request.options or OllamaOptions()
    if request.top_logprobs and not request.logprobs:
        raise InvalidRequestError("The field 'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
    num_logprobs = (request.top_logprobs or 0) if request.logprobs else None
    return GenerationRequest(
        request_id=generation_id,
        model=info.names[0],
        prompts=(prompt,),
        sampling=_sampling(options, info, service, num_logprobs),
        cache_salt=cache_salt,
        max_context_tokens=options.num_ctx,
    )


def _check_options(options: OllamaOptions) -> None:
    """Refuse samplers that do not exist here, unless they are set to do nothing."""
    neutral = {
        "tfs_z": (options.tfs_z, (1.0,)),
        "typical_p": (options.typical_p, (1.0,)),
        "mirostat": (options.mirostat, (0,)),
        "repeat_last_n": (options.repeat_last_n, (-1, 0)),
        "penalize_newline": (options.penalize_newline, (True,)),
    }
    for name, (value, allowed) in neutral.items():
        if value is not None and value not in allowed:
            values = " or ".join(str(a).lower() for a in allowed)
            raise UnsupportedFieldError(f"options.{name}", reason=f"only {values} is possible here")
    for name in ("mirostat_tau", "mirostat_eta"):
        # With mirostat explicitly off they mean nothing, in Ollama as here.
        if getattr(options, name) is not None and options.mirostat != 0:
            raise UnsupportedFieldError(f"options.{name}", reason="there is no mirostat sampler here")


def _sampling(options: OllamaOptions, info: ModelInfo, service: Service, num_logprobs: int | None) -> SamplingParams:
    def chosen(value: float | None, name: str) -> float:
        return value if value is not None else info.default_sampling.get(name, _DEFAULTS[name])

    top_k = int(chosen(options.top_k, "top_k"))
    penalty = 1.0 if options.repeat_last_n == 0 else chosen(options.repeat_penalty, "repetition_penalty")
    limit = options.num_predict
    return SamplingParams(
        seed=service.draw_seed() if options.seed in (None, -1) else options.seed,
        temperature=chosen(options.temperature, "temperature"),
        top_k=None if top_k in (0, -1) else top_k,
        top_p=chosen(options.top_p, "top_p"),
        min_p=chosen(options.min_p, "min_p"),
        presence_penalty=options.presence_penalty or 0.0,
        frequency_penalty=options.frequency_penalty or 0.0,
        repetition_penalty=penalty,
        max_tokens=None if limit in _NO_LIMIT else limit,
        stop=(options.stop,) if isinstance(options.stop, str) else tuple(options.stop or ()),
        num_logprobs=num_logprobs,
    )


def _generate_prompt(request: OllamaGenerateRequest, info: ModelInfo) -> Prompt:
    assert request.prompt
    if request.raw or info.chat_template is None:
        if request.system:
            why = "a raw prompt has no place for it" if request.raw else "this model has no chat template"
            raise UnsupportedFieldError("system", reason=why)
        return TextPrompt(text=request.prompt)
    system = (Message(role="system", content=request.system),) if request.system else ()
    return ChatPrompt(messages=(*system, Message(role="user", content=request.prompt)))


def _message(message: OllamaMessage, where: str, position: int) -> Message:
    if message.tool_calls and message.role != "assistant":
        raise InvalidRequestError("Only the assistant calls tools.", param=f"{where}.tool_calls")
    calls = tuple(
        ToolCall(
            id=call.id or f"call_{position}_{i}",
            function=FunctionCall(
                name=call.function.name, arguments=msgspec.json.encode(call.function.arguments).decode()
            ),
        )
        for i, call in enumerate(message.tool_calls or ())
    )
    if message.content is None and not calls:
        raise InvalidRequestError(f"The field '{where}.content' is required.", param=f"{where}.content")
    return Message(
        role=message.role,
        content=message.content,
        name=message.tool_name,
        tool_calls=calls,
        tool_call_id=message.tool_call_id,
    )
