"""Every bound on a conversation's messages, checked before a template sees them."""

from tidemill.core.errors import InvalidRequestError
from tidemill.core.messages import Message
from tidemill.core.requests import ChatPrompt
from tidemill.text.template import parse_arguments
from tidemill.text.value_checks import check_label, check_text

MAX_MESSAGES = 4096
MAX_TOOL_CALLS = 128
MAX_ARGUMENT_DEPTH = 64
"""Nesting of a tool call's arguments, which are JSON within a string, and so not counted with the body's own."""


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
            check_label(param, label)
    for call in message.tool_calls:
        _check_arguments(f"{param}.tool_calls", call.function.arguments)


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
