"""What a task hands out: turns of a conversation, and what has to stand before them."""

from dataclasses import dataclass

from training.sample import Message, Tool, ToolCall


@dataclass(frozen=True, slots=True)
class Exchange:
    """Some turns; `joins` says whether other exchanges may come before and after.

    `later` are turns that refer back to these from behind the exchanges between. `introduces` says that users tell of
    themselves: who says two things of themselves in one conversation could not be answered.
    """

    task: str
    messages: tuple[Message, ...]
    system: str = ""
    tools: tuple[Tool, ...] = ()
    exact: bool = True
    joins: bool = True
    later: tuple[Message, ...] = ()
    introduces: bool = False


def ask(text: str) -> Message:
    """A message of the user."""
    return Message("user", text)


def reply(text: str, source: str | None = None) -> Message:
    """A message of the assistant, and what it rests upon."""
    return Message("assistant", text, source=source)


def call(*calls: ToolCall, source: str | None = None) -> Message:
    """A message of the assistant that only calls tools, and what it rests upon."""
    return Message("assistant", "", calls, source)


def turns(task: str, question: str, answer: str, exact: bool = True) -> Exchange:
    """One question and its answer."""
    return Exchange(task, (ask(question), reply(answer)), exact=exact)
