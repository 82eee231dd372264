"""Every bound on a request's sampling parameters, whichever dialect they came in."""

from tidemill.core.errors import InvalidRequestError
from tidemill.core.requests import SamplingParams
from tidemill.text.value_checks import check_float, check_int, check_text, check_token_id

MAX_LOGPROBS = 20
MAX_LOGIT_BIAS = 1024
MAX_STOPS = 16
MAX_STOP_CHARS = 1024
MAX_STOP_TOKEN_IDS = 128


def validate_sampling(params: SamplingParams, *, vocab_size: int, is_echo: bool = False) -> None:
    """Check every value of `params`. Raises `InvalidRequestError` that names the field and its range.

    Only an echo may ask for no output at all: the prompt and its log-probabilities are the answer.
    """
    check_int("seed", params.seed, -(2**63), 2**64 - 1)
    check_float("temperature", params.temperature, 0.0, 2.0)
    check_float("top_p", params.top_p, 0.0, 1.0, above_low=True)
    check_float("min_p", params.min_p, 0.0, 1.0)
    check_float("presence_penalty", params.presence_penalty, -2.0, 2.0)
    check_float("frequency_penalty", params.frequency_penalty, -2.0, 2.0)
    check_float("repetition_penalty", params.repetition_penalty, 0.0, 10.0, above_low=True)
    check_int("min_tokens", params.min_tokens, 0, 2**31 - 1)
    if params.top_k is not None:
        check_int("top_k", params.top_k, 1, 2**31 - 1)
    if params.max_tokens is not None:
        check_int("max_tokens", params.max_tokens, 0 if is_echo else 1, 2**31 - 1)
        if params.min_tokens > params.max_tokens:
            raise InvalidRequestError(
                f"min_tokens is {params.min_tokens}, which is more than max_tokens, {params.max_tokens}.",
                param="min_tokens",
            )
    for name in ("num_logprobs", "num_prompt_logprobs"):
        if (count := getattr(params, name)) is not None:
            check_int(name, count, 0, MAX_LOGPROBS)
    _check_logit_bias(params.logit_bias, vocab_size)
    _check_stops(params, vocab_size)


def _check_logit_bias(bias: dict[int, float], vocab_size: int) -> None:
    if len(bias) > MAX_LOGIT_BIAS:
        raise InvalidRequestError(
            f"logit_bias has {len(bias)} entries; at most {MAX_LOGIT_BIAS} are allowed.", param="logit_bias"
        )
    for token_id, value in bias.items():
        check_token_id("logit_bias", token_id, vocab_size)
        check_float("logit_bias", value, -100.0, 100.0)


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
        check_token_id("stop_token_ids", token_id, vocab_size)
