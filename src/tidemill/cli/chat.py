"""`tidemill chat`: a conversation at the terminal. Owns the history and the commands; generation is the session's."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tidemill.cli.asking import (
    NOT_FOR_ONE,
    Answer,
    MaxTokens,
    Sampling,
    Seed,
    Stop,
    System,
    Temperature,
    TopK,
    TopP,
    open_session,
    prompt_of,
    speed_line,
    stream,
    write,
)
from tidemill.cli.flags import GivenFlags, with_settings
from tidemill.core.errors import ContextLengthError, RequestError
from tidemill.core.messages import Message

if TYPE_CHECKING:
    from tidemill.runtime.session import Session

HELP = """
Talk with a model at the terminal.

Ctrl-C stops an answer, Ctrl-D or /exit ends the conversation.

[bold]Examples[/bold]

  tidemill chat

  tidemill chat ./my-model --system "Answer in one sentence."

  tidemill chat Qwen/Qwen3-0.6B --temperature 0.7
"""
COMMANDS = """/help             this list
/reset            forget the conversation (the system text stays)
/system [TEXT]    show, or set, the system text and start anew; `/system -` removes it
/stats            counts and times of the last answer
/exit             leave (also Ctrl-D)

A line that ends in a backslash goes on in the next one."""


@with_settings(("model", "cache"), without=NOT_FOR_ONE)
def chat(
    given: GivenFlags,
    model: Annotated[str | None, typer.Argument(help="A local folder, a hub id, or 'minnow'.")] = None,
    system: System = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    max_tokens: MaxTokens = None,
    seed: Seed = None,
    stop: Stop = None,
) -> None:
    """Talk with a model at the terminal."""
    settings = given.settings(model)
    sampling = Sampling(temperature, top_p, top_k, max_tokens, seed, tuple(stop or ()))
    sampling.check()
    console = Console(stderr=True, highlight=False)
    with open_session(settings) as session:
        if sys.stdin.isatty():
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401 - importing it gives `input` its line editing and history
            console.print(f"[bold]{session.model.names[0]}[/bold] is ready. /help lists the commands.")
        Conversation(session, sampling, console, system).talk()


@dataclass(slots=True)
class Conversation:
    """The turns so far and what the next line does to them."""

    session: "Session"
    sampling: Sampling
    console: Console
    system: str | None = None
    turns: list[Message] = field(default_factory=list)
    last: Answer = field(default_factory=Answer)

    def talk(self) -> None:
        """Take lines until the user leaves."""
        for line in _lines():
            command, _, rest = line.strip().partition(" ")
            if not command:
                continue
            if command in ("/exit", "/quit", "/bye"):
                return
            if command.startswith("/"):
                self._command(command, rest.strip())
            else:
                self._answer(line)

    def _command(self, command: str, rest: str) -> None:
        match command:
            case "/help" | "/?":
                self.console.print(COMMANDS, markup=False, soft_wrap=True)
            case "/reset":
                self.turns.clear()
                self.console.print("The conversation starts anew.")
            case "/system":
                self._set_system(rest)
            case "/stats":
                timings = self.last.timings
                self.console.print("There is no finished answer yet." if timings is None else speed_line(timings))
            case _:
                self.console.print(f"There is no command {command}. /help lists them.", markup=False)

    def _set_system(self, text: str) -> None:
        if not text:
            self.console.print(self.system or "There is no system text.", markup=False)
            return
        self.system = None if text == "-" else text
        self.turns.clear()
        self.console.print("The system text is set. The conversation starts anew.")

    def _answer(self, line: str) -> None:
        user = Message(role="user", content=line)
        system = [Message(role="system", content=self.system)] if self.system is not None else []
        answer = Answer()
        try:
            prompt = prompt_of(self.session, [*system, *self.turns, user], raw=False)
            for text in stream(self.session, prompt, self.sampling, answer):
                write(text)
        except KeyboardInterrupt:
            self.console.print("\n(stopped)", style="dim")
        except ContextLengthError as error:
            self.console.print(f"{error.message} /reset starts anew.", markup=False, style="red")
        except RequestError as error:
            self.console.print(str(error), markup=False, style="red")
        else:
            write("\n")
        if answer.text:
            self.turns += [user, Message(role="assistant", content=answer.text)]
            self.last = answer


def _lines() -> Iterator[str]:
    """What the user types, lines that end in a backslash joined; ends at Ctrl-D. Ctrl-C clears the line."""
    prompt, parts = "> ", list[str]()
    while True:
        try:
            line = input((". " if parts else prompt) if sys.stdin.isatty() else "")
        except EOFError:
            if sys.stdin.isatty():
                # What comes next, the shell's prompt at the latest, starts on a line of its own.
                print()
            if parts:
                yield "\n".join(parts)
            return
        except KeyboardInterrupt:
            print()
            parts = []
            continue
        parts.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            yield "\n".join(parts)
            parts = []
