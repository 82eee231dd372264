"""A model's chat template: messages to the text the model was trained to see. Runs in the sandbox; knows no tokens."""

import datetime as dt
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from tidemill.core.errors import InvalidRequestError, ModelLoadError
from tidemill.core.messages import Message
from tidemill.core.requests import ChatPrompt
from tidemill.text.sandbox import ChatEnvironment, RaisedByTemplateError
from tidemill.text.template_limits import TemplateBudgetError
from tidemill.text.tokenizer import read_json, special_tokens

MAX_SOURCE_CHARS = 1024 * 1024
MAX_OUTPUT_CHARS = 16 * 1024 * 1024
_END_OF_CONTINUED = "\ufdd1"
"""Marks where a continued message ends: a noncharacter, never in text for interchange (Unicode 16, section 23.7)."""


class ChatTemplate:
    """A compiled template. `special_tokens` are variables (`bos_token`, ...) of it. Safe to share between threads."""

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str],
        *,
        now: Callable[[], dt.datetime] = dt.datetime.now,
    ) -> None:
        self.source = source
        self._special_tokens = dict(special_tokens)
        self._knows_developers = "developer" in source
        self._environment = ChatEnvironment(now)
        self._lock = threading.Lock()
        if len(source) > MAX_SOURCE_CHARS:
            raise ModelLoadError(
                f"The chat template has {len(source)} characters; at most {MAX_SOURCE_CHARS} are allowed."
            )
        try:
            self._template = self._environment.from_string(source)
        except (jinja2.TemplateError, RecursionError, SyntaxError, OverflowError) as error:
            raise ModelLoadError(
                f"The model's chat template is malformed: {error}.", next_step="Correct chat_template.jinja."
            ) from error

    @classmethod
    def load(cls, folder: Path) -> "ChatTemplate | None":
        """The template of a model folder: chat_template.jinja, else tokenizer_config's. None if it has none."""
        config = read_json(folder / "tokenizer_config.json")
        path = folder / "chat_template.jinja"
        try:
            source = path.read_text(encoding="utf-8") if path.is_file() else _source_in(config.get("chat_template"))
        except (OSError, UnicodeError) as error:
            raise ModelLoadError(f"{path} cannot be read: {error}.", next_step="Download the model again.") from error
        if source is None:
            return None
        return cls(source, special_tokens(read_json(folder / "special_tokens_map.json") | config))

    def render(self, prompt: ChatPrompt) -> str:
        """The conversation as text. Raises `InvalidRequestError` if the template refuses the messages or fails."""
        messages = [self._as_variables(message) for message in prompt.messages]
        if not prompt.continue_final_message:
            return self._run(messages, prompt.add_generation_prompt)
        return self._render_open(messages)

    def _render_open(self, messages: list[dict[str, Any]]) -> str:
        """Leave the last message open: render it with a mark at its end, and cut there."""
        content = messages[-1]["content"] if messages else None
        if not isinstance(content, str):
            raise InvalidRequestError("There is no text in the last message to continue.", param="messages")
        messages[-1]["content"] = content + _END_OF_CONTINUED + " "
        text = self._run(messages, add_generation_prompt=False)
        if _END_OF_CONTINUED not in text:
            raise InvalidRequestError(
                "This model's chat template does not show the last message as it is, so it cannot be continued.",
                param="messages",
            )
        # The space after the mark tells whether the template trims messages; then this one's own end is trimmed too.
        head, _, tail = text.rpartition(_END_OF_CONTINUED)
        return head if tail.startswith(" ") else head.rstrip()

    def _as_variables(self, message: Message) -> dict[str, Any]:
        """The message as templates expect it: plain dicts without the fields not set, call arguments as an object.

        A developer's message is a system message to a template that knows no developers.
        """
        role = "system" if message.role == "developer" and not self._knows_developers else message.role
        variables: dict[str, Any] = {"role": role, "content": message.content}
        if message.name is not None:
            variables["name"] = message.name
        if message.tool_call_id is not None:
            variables["tool_call_id"] = message.tool_call_id
        if message.tool_calls:
            variables["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.function.name, "arguments": parse_arguments(call.function.arguments)},
                }
                for call in message.tool_calls
            ]
        return variables

    def _run(self, messages: list[dict[str, Any]], add_generation_prompt: bool) -> str:
        variables: dict[str, Any] = dict(
            self._special_tokens,
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
        )
        chunks: list[str] = []
        size = 0
        try:
            with self._lock:
                self._environment.reset()
                for chunk in self._template.generate(variables):
                    size += len(chunk)
                    if size > MAX_OUTPUT_CHARS:
                        raise TemplateBudgetError("it makes a prompt that is too long")
                    chunks.append(chunk)
        except RaisedByTemplateError as error:
            raise InvalidRequestError(
                f"The model's chat template refuses these messages: {error}", param="messages"
            ) from error
        except Exception as error:  # a template can cause any of Python's own errors
            raise _failed(error) from error
        return "".join(chunks)


def _failed(error: BaseException) -> InvalidRequestError:
    return InvalidRequestError(
        f"The model's chat template failed on these messages: {str(error)[:500]}.", param="messages"
    )


def _source_in(value: Any) -> str | None:
    """The template in tokenizer_config: a string, or a list of named ones, of which "default" is for chat."""
    if isinstance(value, str) or value is None:
        return value
    named = [
        item["template"]
        for item in (value if isinstance(value, list) else ())
        if isinstance(item, dict) and item.get("name") == "default" and "template" in item
    ]
    source = named[-1] if named else None
    if not isinstance(source, str):
        raise ModelLoadError(
            "The chat_template in tokenizer_config.json is neither text nor a list with one named 'default'.",
            next_step="Put the one to use into chat_template.jinja.",
        )
    return source


def parse_arguments(arguments: str) -> Any:
    """Call arguments as the object they spell, which templates turn into JSON again; as text if they spell none."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments
