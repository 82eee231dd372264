"""Chat messages as every dialect understands them, before any template has seen them."""

from typing import Literal

import msgspec

Role = Literal["system", "developer", "user", "assistant", "tool"]


class FunctionCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call an assistant made; `arguments` is JSON text."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """One tool call of an assistant message."""

    id: str
    function: FunctionCall


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation; `content` is plain text (parts are joined by the dialect)."""

    role: Role
    content: str | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
