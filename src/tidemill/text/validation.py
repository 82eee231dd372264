"""The one validator: what every dialect's request must satisfy to become sequences, and their prompts as tokens.

Owns every bound on a value of a request. A dialect may name fields differently, but it can let nothing through here.
"""

from dataclasses import dataclass

from tidemill.core.errors import ContextLengthError, InvalidRequestError
from tidemill.core.requests import GenerationRequest, Prompt, SamplingParams, TextPrompt, TokensPrompt
from tidemill.text.injection import ControlTokenGuard
from tidemill.text.message_checks import validate_messages
from tidemill.text.model_text import ModelText
from tidemill.text.sampling_checks import validate_sampling
from tidemill.text.value_checks import check_int, check_label, check_text

MAX_PROMPT_LOGPROBS = 1_000_000
"""Log-probabilities of prompt tokens that one request may ask for: all of them are held until they are read."""


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
        check_int("n", request.n, 1, self._max_choices)
        if len(request.prompts) * request.n > self._max_choices:
            raise InvalidRequestError(
                f"{len(request.prompts)} prompts times n = {request.n} is more than {self._max_choices} choices.",
                param="n",
            )
        check_int("priority", request.priority, -(2**31), 2**31 - 1)
        check_label("request_id", request.request_id)
        check_label("cache_salt", request.cache_salt)
        if request.max_context_tokens is not None:
            check_int("max_context_tokens", request.max_context_tokens, 1, 2**31 - 1)

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
                num_prompt_tokens=len(token_ids),
                num_output_tokens=wanted,
                max_model_len=limit,
                param=param,
                is_own_limit=limit < self._max_model_len,
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
                is_own_limit=limit < self._max_model_len,
            )

    def _check_token_ids(self, token_ids: list[int], param: str) -> None:
        if token_ids and not 0 <= min(token_ids) <= max(token_ids) < self._text.vocab_size:
            wrong = next(i for i in token_ids if not 0 <= i < self._text.vocab_size)
            raise InvalidRequestError(
                f"The token id {wrong} is not in the vocabulary of {self._text.vocab_size} tokens.", param=param
            )


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
