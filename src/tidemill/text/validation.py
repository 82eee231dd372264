"""The one validator: what every dialect's request must satisfy to become sequences, and their prompts as tokens.

Owns every bound on a value of a request. A dialect may name fields differently, but it can let nothing through here.
"""

import math
from dataclasses import dataclass

from tidemill.core.errors import ContextLengthError, InvalidRequestError
from tidemill.core.messages import Message
from tidemill.core.requests import ChatPrompt, GenerationRequest, Prompt, SamplingParams, TextPrompt, TokensPrompt
from tidemill.text.injection import ControlTokenGuard
from tidemill.text.model_text import ModelText
from tidemill.text.template import parse_arguments

MAX_LOGPROBS = 20
MAX_PROMPT_LOGPROBS = 1_000_000
"""Log-probabilities of prompt tokens that one request may ask for: all of them are held until they are read."""
MAX_LOGIT_BIAS = 1024
MAX_STOPS = 16
MAX_STOP_CHARS = 1024
MAX_STOP_TOKEN_IDS = 128
MAX_MESSAGES = 4096
MAX_TOOL_CALLS = 128
MAX_ARGUMENT_DEPTH = 64
"""Nesting of a tool call's arguments, which are JSON within a string, and so not counted with the body's own."""
MAX_LABEL_CHARS = 512
"""Length of a request id, a cache salt, or a name within a message."""


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """One prompt as the engine takes it.

    `text` is the prompt as text (for `echo`; of a token prompt, its decoding). `continues_text` says whether the output
    goes on from the prompt's text (the detokenizer then keeps a leading space) or starts its own, as a chat's answer.
    """

    token_ids: tuple[int, ...]
    text: str
    max_new_tokens: int
    continues_text: bool


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A valid request: its prompts, in order; each starts `request.n` sequences."""

    request: GenerationRequest
    prompts: tuple[PreparedPrompt, ...]


class PromptPreparer:
    """Validates and tokenizes requests for one served model. Pure computation, safe to call from any thread."""

    def __init__(self, text: ModelText, *, max_model_len: int, max_choices: int) -> None:
        self._text = text
        self._guard = ControlTokenGuard(text.tokenizer)
        self._max_model_len = max_model_len
        self._max_choices = max_choices

    def prepare(self, request: GenerationRequest) -> PreparedRequest:
        """The request as sequences to start. Raises `InvalidRequestError` or `ContextLengthError`."""
        self._check_request(request)
        validate_sampling(request.sampling, vocab_size=self._text.vocab_size, is_echo=request.echo)
        limit = self._max_model_len
        if request.max_context_tokens is not None:
            limit = min(limit, request.max_context_tokens)
        prompts = tuple(self._prepare_prompt(prompt, request.sampling, limit) for prompt in request.prompts)
        _check_prompt_logprobs(request, sum(len(prompt.token_ids) for prompt in prompts))
        return PreparedRequest(request, prompts)

    def _check_request(self, request: GenerationRequest) -> None:
        if not request.prompts:
            raise InvalidRequestError("There is no prompt.", param="prompt")
        _check_int("n", request.n, 1, self._max_choices)
        if len(request.prompts) * request.n > self._max_choices:
            raise InvalidRequestError(
                f"{len(request.prompts)} prompts times n = {request.n} is more than {self._max_choices} choices.",
                param="n",
            )
        _check_int("priority", request.priority, -(2**31), 2**31 - 1)
        _check_label("request_id", request.request_id)
        _check_label("cache_salt", request.cache_salt)
        if request.max_context_tokens is not None:
            _check_int("max_context_tokens", request.max_context_tokens, 1, 2**31 - 1)

    def _prepare_prompt(self, prompt: Prompt, sampling: SamplingParams, limit: int) -> PreparedPrompt:
        wanted = sampling.max_tokens if sampling.max_tokens is not None else max(1, sampling.min_tokens)
        token_ids, text, continues_text, param = self._tokens(prompt, limit, wanted)
        if not token_ids:
            if self._text.bos_token_id is None:
                raise InvalidRequestError("The prompt is empty, and the model has no token to begin with.", param=param)
            token_ids = [self._text.bos_token_id]
        self._check_token_ids(token_ids, param)
        room = limit - len(token_ids)
        if wanted > room:
            raise ContextLengthError(
                num_prompt_tokens=len(token_ids), num_output_tokens=wanted, max_model_len=limit, param=param
            )
        return PreparedPrompt(
            token_ids=tuple(token_ids),
            text=text,
            max_new_tokens=room if sampling.max_tokens is None else sampling.max_tokens,
            continues_text=continues_text,
        )

    def _tokens(self, prompt: Prompt, limit: int, wanted: int) -> tuple[list[int], str, bool, str]:
        """Token ids, text, whether output continues it, and the name of the field it came in."""
        tokenizer = self._text.tokenizer
        if isinstance(prompt, TextPrompt):
            check_text("prompt", prompt.text)
            self._refuse_oversized(prompt.text, limit, wanted, "prompt")
            return tokenizer.encode(prompt.text, add_special_tokens=True), prompt.text, bool(prompt.text), "prompt"
        if isinstance(prompt, TokensPrompt):
            self._check_token_ids(list(prompt.token_ids), "prompt")
            text = tokenizer.decode(prompt.token_ids, skip_special_tokens=True)
            return list(prompt.token_ids), text, bool(text), "prompt"
        validate_messages(prompt)
        if self._text.template is None:
            raise InvalidRequestError(
                "This model has no chat template, so it cannot answer messages.",
                param="messages",
                next_step="Send the text as a prompt to a completion endpoint.",
            )
        for message in prompt.messages:
            self._refuse_oversized(message.content or "", limit, wanted, "messages")
        rendered = self._text.template.render(self._guard.protect(prompt))
        text = self._guard.plain(rendered)
        # Names, tool calls and many short messages add up too.
        self._refuse_oversized(text, limit, wanted, "messages")
        return self._guard.encode(rendered), text, prompt.continue_final_message, "messages"

    def _refuse_oversized(self, text: str, limit: int, wanted: int, param: str) -> None:
        """Raise `ContextLengthError` for a text that cannot fit, without the seconds that tokenizing it would take."""
        least = self._text.tokenizer.least_tokens(text)
        if least > limit:
            raise ContextLengthError(
                num_prompt_tokens=least,
                num_output_tokens=wanted,
                max_model_len=limit,
                param=param,
                is_lower_bound=True,
            )

    def _check_token_ids(self, token_ids: list[int], param: str) -> None:
        if token_ids and not 0 <= min(token_ids) <= max(token_ids) < self._text.vocab_size:
            wrong = next(i for i in token_ids if not 0 <= i < self._text.vocab_size)
            raise InvalidRequestError(
                f"The token id {wrong} is not in the vocabulary of {self._text.vocab_size} tokens.", param=param
            )


def validate_sampling(params: SamplingParams, *, vocab_size: int, is_echo: bool = False) -> None:
    """Check every value of `params`. Raises `InvalidRequestError` that names the field and its range.

    Only an echo may ask for no output at all: the prompt and its log-probabilities are the answer.
    """
    _check_int("seed", params.seed, -(2**63), 2**64 - 1)
    _check_float("temperature", params.temperature, 0.0, 2.0)
    _check_float("top_p", params.top_p, 0.0, 1.0, above_low=True)
    _check_float("min_p", params.min_p, 0.0, 1.0)
    _check_float("presence_penalty", params.presence_penalty, -2.0, 2.0)
    _check_float("frequency_penalty", params.frequency_penalty, -2.0, 2.0)
    _check_float("repetition_penalty", params.repetition_penalty, 0.0, 10.0, above_low=True)
    _check_int("min_tokens", params.min_tokens, 0, 2**31 - 1)
    if params.top_k is not None:
        _check_int("top_k", params.top_k, 1, 2**31 - 1)
    if params.max_tokens is not None:
        _check_int("max_tokens", params.max_tokens, 0 if is_echo else 1, 2**31 - 1)
        if params.min_tokens > params.max_tokens:
            raise InvalidRequestError(
                f"min_tokens is {params.min_tokens}, which is more than max_tokens, {params.max_tokens}.",
                param="min_tokens",
            )
    for name in ("num_logprobs", "num_prompt_logprobs"):
        if (count := getattr(params, name)) is not None:
            _check_int(name, count, 0, MAX_LOGPROBS)
    _check_logit_bias(params.logit_bias, vocab_size)
    _check_stops(params, vocab_size)


def validate_messages(prompt: ChatPrompt) -> None:
    """Check a conversation before a template sees it. Raises `InvalidRequestError`."""
    if not prompt.messages:
        raise InvalidRequestError("There are no messages.", param="messages")
    if len(prompt.messages) > MAX_MESSAGES:
        raise InvalidRequestError(
            f"There are {len(prompt.messages)} messages; at most {MAX_MESSAGES} are allowed.", param="messages"
        )
    for index, message in enumerate(prompt.messages):
        _check_message(f"messages[{index}]", message)
    if prompt.continue_final_message:
        if prompt.add_generation_prompt:
            raise InvalidRequestError(
                "A conversation either continues its final message or starts a new one, not both.", param="messages"
            )
        if prompt.messages[-1].role != "assistant" or prompt.messages[-1].content is None:
            raise InvalidRequestError(
                "Only a final message of the assistant, with text, can be continued.", param="messages"
            )


def check_text(param: str, text: str) -> None:
    """Refuse what no text holds: U+0000, and surrogates without their pair, which have no UTF-8."""
    if "\x00" in text:
        raise InvalidRequestError(f"'{param}' contains the character U+0000.", param=param)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"'{param}' contains half of a surrogate pair.", param=param) from error


def _check_message(param: str, message: Message) -> None:
    if message.content is None and not (message.role == "assistant" and message.tool_calls):
        raise InvalidRequestError(f"'{param}' has no content.", param=param)
    if message.tool_calls and message.role != "assistant":
        raise InvalidRequestError(f"'{param}' has tool calls, but only the assistant makes them.", param=param)
    if len(message.tool_calls) > MAX_TOOL_CALLS:
        raise InvalidRequestError(f"'{param}' has more than {MAX_TOOL_CALLS} tool calls.", param=param)
    if message.content is not None:
        check_text(f"{param}.content", message.content)
    for label in (
        message.name,
        message.tool_call_id,
        *(text for c in message.tool_calls for text in (c.id, c.function.name)),
    ):
        if label is not None:
            _check_label(param, label)
    for call in message.tool_calls:
        _check_arguments(f"{param}.tool_calls", call.function.arguments)


def _check_prompt_logprobs(request: GenerationRequest, num_prompt_tokens: int) -> None:
    if (num_top := request.sampling.num_prompt_logprobs) is None:
        return
    count = num_prompt_tokens * request.n * (1 + num_top)
    if count > MAX_PROMPT_LOGPROBS:
        raise InvalidRequestError(
            f"{count} log-probabilities of prompt tokens are more than the {MAX_PROMPT_LOGPROBS} of one request.",
            param="num_prompt_logprobs",
            next_step="Send fewer prompts in one request, or ask for fewer log-probabilities.",
        )


def _check_arguments(param: str, arguments: str) -> None:
    """Check the text and what it spells: escapes in JSON can spell what no text holds. Without recursion."""
    check_text(param, arguments)
    level = [parse_arguments(arguments)]
    for _ in range(MAX_ARGUMENT_DEPTH + 1):
        inner = []
        for value in level:
            if isinstance(value, str):
                check_text(param, value)
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, dict):
                inner += [*value, *value.values()]
        if not inner:
            return
        level = inner
    raise InvalidRequestError(f"'{param}' has arguments nested deeper than {MAX_ARGUMENT_DEPTH} levels.", param=param)


def _check_logit_bias(bias: dict[int, float], vocab_size: int) -> None:
    if len(bias) > MAX_LOGIT_BIAS:
        raise InvalidRequestError(
            f"logit_bias has {len(bias)} entries; at most {MAX_LOGIT_BIAS} are allowed.", param="logit_bias"
        )
    for token_id, value in bias.items():
        _check_token_id("logit_bias", token_id, vocab_size)
        _check_float("logit_bias", value, -100.0, 100.0)


def _check_stops(params: SamplingParams, vocab_size: int) -> None:
    if len(params.stop) > MAX_STOPS:
        raise InvalidRequestError(
            f"There are {len(params.stop)} stop strings; at most {MAX_STOPS} are allowed.", param="stop"
        )
    for stop in params.stop:
        check_text("stop", stop)
        if not 1 <= len(stop) <= MAX_STOP_CHARS:
            raise InvalidRequestError(
                f"A stop string has {len(stop)} characters; it must have 1 to {MAX_STOP_CHARS}.", param="stop"
            )
    if len(params.stop_token_ids) > MAX_STOP_TOKEN_IDS:
        raise InvalidRequestError(
            f"There are {len(params.stop_token_ids)} stop_token_ids; at most {MAX_STOP_TOKEN_IDS} are allowed.",
            param="stop_token_ids",
        )
    for token_id in params.stop_token_ids:
        _check_token_id("stop_token_ids", token_id, vocab_size)


def _check_token_id(param: str, token_id: int, vocab_size: int) -> None:
    if not 0 <= token_id < vocab_size:
        raise InvalidRequestError(
            f"The token id {token_id} in {param} is not in the vocabulary of {vocab_size} tokens.", param=param
        )


def _check_int(param: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequestError(f"{param} must be a whole number.", param=param)
    if not low <= value <= high:
        raise InvalidRequestError(f"{param} is {_shown(value)}; it must be from {low} to {high}.", param=param)


def _check_float(param: str, value: float, low: float, high: float, *, above_low: bool = False) -> None:
    # An int is checked before it is turned into a float: a huge one has none.
    within = (low < value if above_low else low <= value) and value <= high and math.isfinite(value)
    if not within:
        bounds = f"above {low:g} and at most {high:g}" if above_low else f"from {low:g} to {high:g}"
        raise InvalidRequestError(f"{param} is {_shown(value)}; it must be {bounds}.", param=param)


def _shown(value: float) -> str:
    """The value for a message. A whole number of thousands of digits is not spelled out (Python refuses to)."""
    return "a huge number" if isinstance(value, int) and value.bit_length() > 128 else f"{value!r}"


def _check_label(param: str, label: str) -> None:
    check_text(param, label)
    if len(label) > MAX_LABEL_CHARS:
        raise InvalidRequestError(
            f"'{param}' has {len(label)} characters; at most {MAX_LABEL_CHARS} are allowed.", param=param
        )
