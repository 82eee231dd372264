"""A conversation to learn from, and how it becomes text; knows no task and no tensor.

`render` writes exactly what the chat template writes; a test holds the two together.
"""

import json
from dataclasses import dataclass, field
from typing import Any

BEGIN = "<|begin|>"
END = "<|end|>"
PAD = "<|pad|>"
ROLE_MARKERS = {
    "system": "<|system|>",
    "user": "<|user|>",
    "assistant": "<|assistant|>",
    "tool": "<|tool|>",
}
CALL_OPEN = "<tool_call>"
CALL_CLOSE = "</tool_call>"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the assistant makes."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One message; only the assistant has calls."""

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    source: str | None = None
    """Words earlier in the conversation that decide an answer; empty where there are none, None where nobody told."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a tool."""

    name: str
    type: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool on offer."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A whole conversation; `exact` says that its last answer is the only right one."""

    task: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    exact: bool = True
    checks: tuple[str, ...] = field(default=())


def tool_schema(tool: Tool) -> dict[str, Any]:
    """The tool as clients describe it: a JSON schema inside `{"type": "function"}`."""
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": {
                "type": "object",
                "properties": {p.name: {"type": p.type} for p in tool.parameters},
                "required": [p.name for p in tool.parameters if p.required],
            },
        },
    }


def message_dict(message: Message) -> dict[str, Any]:
    """The message as clients send it."""
    result: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        result["tool_calls"] = [
            {"type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in message.tool_calls
        ]
    return result


def tool_line(tool: Tool) -> str:
    """The line of the system message that offers a tool."""
    slots = ", ".join(f"{p.name}{'' if p.required else '?'}: {p.type}" for p in tool.parameters)
    return f"- {tool.name}({slots}): {tool.description}\n"


def _render_tools(tools: tuple[Tool, ...]) -> str:
    return "Tools:\n" + "".join(tool_line(tool) for tool in tools)


def _render_assistant(message: Message) -> str:
    calls = [
        CALL_OPEN
        + "\n"
        + json.dumps({"name": c.name, "arguments": c.arguments}, ensure_ascii=False)
        + "\n"
        + CALL_CLOSE
        for c in message.tool_calls
    ]
    return "\n".join(([message.content] if message.content else []) + calls)


def render(sample: Sample) -> list[tuple[str, bool]]:
    """The conversation as pieces of text, each with whether the model should learn to write it."""
    messages = list(sample.messages)
    pieces: list[tuple[str, bool]] = [(BEGIN, False)]
    system = messages.pop(0).content if messages[0].role == "system" else ""
    if system or sample.tools:
        tools = _render_tools(sample.tools) if sample.tools else ""
        pieces.append((ROLE_MARKERS["system"] + system + ("\n" if system and tools else "") + tools + END, False))
    for message in messages:
        pieces.append((ROLE_MARKERS[message.role], False))
        if message.role == "assistant":
            pieces.append((_render_assistant(message) + END, True))
        else:
            pieces.append((message.content + END, False))
    return pieces


def prompt_of(sample: Sample) -> str:
    """The text up to the last answer, ready for the model to continue."""
    return "".join(text for text, _ in render(sample)[:-1])


def answer_of(sample: Sample) -> str:
    """The last answer, without its end marker."""
    return render(sample)[-1][0].removesuffix(END)
