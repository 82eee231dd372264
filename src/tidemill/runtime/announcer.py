"""What a person at the terminal sees while a server starts: progress, and then where it is and a line to try."""

import json
import shlex
import sys
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from tidemill.core.backend import ModelInfo


class Announcer:
    """Writes to `out`: on a terminal a bar that goes when the start is over, elsewhere a line a stage."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._moves = out.isatty()
        self._bar: tuple[Progress, TaskID] | None = None
        self._stage: str | None = None
        self._is_gone = False

    def progress(self, stage: str, fraction: float) -> None:
        """A stage of the start is `fraction` (0..1) done."""
        if self._moves:
            bar, task = self._bar or self._open_bar()
            bar.update(task, description=_sentence(stage), completed=min(max(fraction, 0.0), 1.0))
        elif stage != self._stage:
            self._write(f"{_sentence(stage)} ...")
        self._stage = stage

    def settled(self) -> None:
        """The start is over, one way or the other: the bar goes."""
        if self._bar is not None:
            self._bar[0].stop()
        self._bar = None
        self._stage = None

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._bar is None:
            self._write(text)
        else:
            self._bar[0].console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _write(self, text: str) -> None:
        if self._is_gone:
            return
        try:
            self._out.write(f"{text}\n")
            self._out.flush()
        except OSError:
            # Whoever read this has left (`| head -1`). The log says what happens; the service goes on.
            self._is_gone = True

    def _open_bar(self) -> tuple[Progress, TaskID]:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        console = Console(file=self._out)
        # On one and the same terminal a log line would run into the bar; to a file it goes as ever.
        bar = Progress(*columns, console=console, transient=True, redirect_stderr=sys.stderr.isatty())
        self._bar = bar, bar.add_task("Starting", total=1.0)
        bar.start()
        return self._bar

    def ready(self, url: str, model: ModelInfo, *, needs_key: bool) -> None:
        """The server is up: where, what, and how to try it."""
        self.settled()
        size = f"{model.num_parameters / 1e6:.0f}M parameters, {model.precision}, context {model.max_model_len}"
        self.say(f"Tidemill serves {model.names[0]} ({size}) on {url}")
        self.say(f"API docs: {url}/docs")
        self.say(f"Try it:\n  {curl_line(url, model, needs_key=needs_key)}")


def _sentence(stage: str) -> str:
    return stage[:1].upper() + stage[1:]


def curl_line(url: str, model: ModelInfo, *, needs_key: bool) -> str:
    """A command that gets an answer out of the server."""
    name = model.names[0]
    key = ' -H "Authorization: Bearer $API_KEY"' if needs_key else ""
    if model.chat_template is None:
        path, body = "completions", {"model": name, "prompt": "Once upon a time", "max_tokens": 32}
    else:
        path, body = "chat/completions", {"model": name, "messages": [{"role": "user", "content": "Hello!"}]}
    return f"curl {url}/v1/{path}{key} -d {shlex.quote(json.dumps(body))}"
