"""Keeps words of a conversation from being read as control tokens. Owns the marks put into messages before rendering.

A chat template writes control tokens such as `<|im_start|>` as text, and the tokenizer reads them back from text: a
message that holds the same text could forge a turn. Tidemill does not let it: every special token spelled in a message
(its content, name, or tool calls) is split by a mark, and the prompt is encoded piece by piece around the marks, so
that the words arrive as ordinary text. Prompts without such words encode exactly as the field's usual way does. What a
template writes in ordinary words (`[INST]` in some models) cannot be told from a user's. In a raw text prompt special
tokens are honoured, since there the client is its own template.
"""

import json
import re
from typing import Any

import msgspec

from tidemill.core.messages import FunctionCall, Message, ToolCall
from tidemill.core.requests import ChatPrompt
from tidemill.text.template import parse_arguments
from tidemill.text.tokenizer import Tokenizer

_MARK = "\ufdd0"
"""A noncharacter, which no text for interchange holds (Unicode 16, section 23.7); dropped where a message holds it."""


class ControlTokenGuard:
    """Splits control tokens in messages, and encodes what was rendered from them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        longest_first = sorted((text for text in tokenizer.special_texts if len(text) > 1), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def protect(self, prompt: ChatPrompt) -> ChatPrompt:
        """The conversation with every control token in it split; the same object if there is none."""
        messages = tuple(self._protected(message) for message in prompt.messages)
        if all(new is old for new, old in zip(messages, prompt.messages, strict=True)):
            return prompt
        return msgspec.structs.replace(prompt, messages=messages)

    def encode(self, rendered: str) -> list[int]:
        """Token ids of a rendered conversation, without the marks."""
        token_ids: list[int] = []
        for part in rendered.split(_MARK):
            if part:
                token_ids += self._tokenizer.encode(part, add_special_tokens=False)
        return token_ids

    def plain(self, rendered: str) -> str:
        """The rendered text, without the marks."""
        return rendered.replace(_MARK, "")

    def _protected(self, message: Message) -> Message:
        changed = msgspec.structs.replace(
            message,
            content=self._cut_optional(message.content),
            name=self._cut_optional(message.name),
            tool_call_id=self._cut_optional(message.tool_call_id),
            tool_calls=tuple(self._protected_call(call) for call in message.tool_calls),
        )
        return message if changed == message else changed

    def _protected_call(self, call: ToolCall) -> ToolCall:
        # Escapes in JSON can spell a control token too, so the parsed arguments are looked at, not their text.
        arguments = parse_arguments(call.function.arguments)
        cut = self._cut_value(arguments)
        text = call.function.arguments if cut == arguments else cut if isinstance(cut, str) else json.dumps(cut)
        return ToolCall(
            id=self._cut(call.id), function=FunctionCall(name=self._cut(call.function.name), arguments=text)
        )

    def _cut_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._cut(value)
        if isinstance(value, list):
            return [self._cut_value(item) for item in value]
        if isinstance(value, dict):
            return {self._cut(key): self._cut_value(item) for key, item in value.items()}
        return value

    def _cut_optional(self, text: str | None) -> str | None:
        return None if text is None else self._cut(text)

    def _cut(self, text: str) -> str:
        """`text` with a mark after the first character of each control token (even overlapping), and no other marks."""
        text = text.replace(_MARK, "")
        if self._control is None:
            return text
        parts, done = [], 0
        while match := self._control.search(text, done):
            parts.append(text[done : match.start() + 1])
            done = match.start() + 1
        return _MARK.join((*parts, text[done:]))
