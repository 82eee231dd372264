"""The error tree: everything a user, a client or a machine can cause. What cannot happen is an `assert` instead.

TidemillError                        message, next_step
+-- RequestError                     the request is at fault; param names the field
|   +-- InvalidRequestError          a value is malformed or out of range
|   +-- UnsupportedFieldError        a known field that this server does not honour
|   +-- ContextLengthError           prompt and output do not fit the served length
|   +-- RequestTooLargeError         body, header or nesting over its cap
|   +-- ModelNotFoundError           no such model is served
|   +-- AuthenticationError          no key, or a wrong one
|   +-- ForbiddenError               a browser page of another site, or a host name that is not ours
|   |   +-- KeyForbiddenError        the key is known, and may not have this
|   +-- MethodError                  the route exists, the method does not
|   +-- RouteNotFoundError           no such route
+-- ServiceError                     the request is fine; retry_after_seconds may say when to come back
|   +-- OverloadedError              a bounded queue is full
|   |   +-- KeyLimitError            one key has as many sequences as one may
|   |   +-- PromiseRefusedError      too much to do to keep what the request is promised
|   |       +-- PromiseUnkeepableError   nothing else to do, and it could not be kept
|   +-- UnavailableError             loading, draining or stalled
|   +-- EngineFailedError            the engine died or a step failed while this request ran
|   +-- SlowReaderError              the client read too slowly and was cut off
+-- TargetError                      another server, which a command was pointed at, cannot be reached or used
+-- SetupError                       the server cannot start as asked
    +-- ConfigurationError           a setting is unknown, malformed or contradicts another
    +-- ModelLoadError               the model's files are missing, unreadable or of no known family
    +-- CapacityError                the model or its context does not fit the memory there is
"""


class TidemillError(Exception):
    """Base of the tree. `message` is one sentence; `next_step` says what the user can do about it."""

    def __init__(self, message: str, *, next_step: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}" if self.next_step else self.message


class RequestError(TidemillError):
    """The client's request is at fault. `param` names the field in the client's own dialect."""

    def __init__(self, message: str, *, param: str | None = None, next_step: str | None = None) -> None:
        super().__init__(message, next_step=next_step)
        self.param = param


class InvalidRequestError(RequestError):
    """A value is malformed, of the wrong type, or out of range."""


class UnsupportedFieldError(RequestError):
    """A field of the dialect that this server does not honour, refused by name."""

    def __init__(self, field: str, *, reason: str | None = None, next_step: str | None = None) -> None:
        why = f": {reason}" if reason else ""
        super().__init__(f"The field '{field}' is not supported{why}.", param=field, next_step=next_step)


class ContextLengthError(RequestError):
    """Prompt (and requested output) exceed the served context length."""

    def __init__(
        self,
        *,
        num_prompt_tokens: int,
        num_output_tokens: int,
        max_model_len: int,
        param: str | None,
        is_lower_bound: bool = False,
        is_own_limit: bool = False,
    ) -> None:
        """`is_lower_bound`: the prompt is so long that its tokens were not counted; it has at least this many.

        `is_own_limit`: the request itself asked for no more than `max_model_len`.
        """
        num_words = f"at least {num_prompt_tokens}" if is_lower_bound else f"{num_prompt_tokens}"
        output = "one is needed" if num_output_tokens == 1 else f"{num_output_tokens} were asked for"
        whose = "this request limits its context to" if is_own_limit else "this model is served with a context of"
        next_step = "Shorten the prompt or lower the number of output tokens."
        super().__init__(
            f"The prompt has {num_words} tokens and {output} as output, but {whose} {max_model_len} tokens.",
            param=param,
            next_step=f"Raise that limit. {next_step}" if is_own_limit else next_step,
        )
        self.num_prompt_tokens = num_prompt_tokens
        self.num_output_tokens = num_output_tokens
        self.max_model_len = max_model_len


class RequestTooLargeError(RequestError):
    """A body, a header block or the nesting of a document is over its cap."""


class ModelNotFoundError(RequestError):
    """The request names a model that is not served here."""


class AuthenticationError(RequestError):
    """No API key, or one that is not known."""


class ForbiddenError(RequestError):
    """The request comes from a page of another site, or under a host name that is not this server's."""


class KeyForbiddenError(ForbiddenError):
    """The API key is known, but this is not for it."""


class MethodError(RequestError):
    """The route exists but not for this HTTP method."""


class RouteNotFoundError(RequestError):
    """No route has this path."""


class ServiceError(TidemillError):
    """The request is fine but cannot be served now."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, next_step: str | None = None) -> None:
        super().__init__(message, next_step=next_step)
        self.retry_after_seconds = retry_after_seconds


class OverloadedError(ServiceError):
    """A bounded queue is full; come back after `retry_after_seconds`."""


class KeyLimitError(OverloadedError):
    """One key has as many sequences running and waiting as one may; there may be room for others."""


class PromiseRefusedError(OverloadedError):
    """There is too much to do to keep what the request is promised, or asks for."""


class PromiseUnkeepableError(PromiseRefusedError):
    """What the request asks for could not be kept though nothing else is to be done: coming back changes nothing."""


class UnavailableError(ServiceError):
    """The engine is loading, draining, stalled or restarting."""


class EngineFailedError(ServiceError):
    """The engine died, or a step failed, while this request was running."""


class SlowReaderError(ServiceError):
    """The client read its stream so slowly that its buffer reached the cap."""


class TargetError(TidemillError):
    """Another server, which a command was pointed at, cannot be reached, refuses us, or speaks another interface."""


class SetupError(TidemillError):
    """The server cannot start as asked."""


class ConfigurationError(SetupError):
    """A setting is unknown, malformed, or contradicts another."""


class ModelLoadError(SetupError):
    """The model's files are missing, unreadable, or of a family that is not supported."""


class CapacityError(SetupError):
    """The model or its context does not fit the memory there is. The message names the numbers."""
