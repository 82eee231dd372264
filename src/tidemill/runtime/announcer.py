"""What a person at the terminal sees while a server starts: progress, and then where it is and a line to try."""

import json
import shlex
from typing import TextIO

from tidemill.core.backend import ModelInfo

_BAR = 24
_STEP = 0.25


class Announcer:
    """Writes to `out`: on a terminal a line that moves, elsewhere a line a stage and a quarter."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._moves = out.isatty()
        self._is_open = False
        self._told: tuple[str, int] | None = None

    def progress(self, stage: str, fraction: float) -> None:
        """A stage of the start is `fraction` (0..1) done."""
        fraction = min(max(fraction, 0.0), 1.0)
        if self._moves:
            bar = ("=" * round(fraction * _BAR)).ljust(_BAR)
            self._out.write(f"\r\033[K[{bar}] {fraction:4.0%} {stage}")
            self._is_open = True
        elif (told := (stage, int(fraction / _STEP))) != self._told:
            self._told = told
            self._out.write(f"{stage}: {fraction:.0%}\n")
        self._out.flush()

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._is_open:
            self._out.write("\r\033[K")
            self._is_open = False
        self._out.write(f"{text}\n")
        self._out.flush()

    def ready(self, url: str, model: ModelInfo, *, needs_key: bool) -> None:
        """The server is up: where, what, and how to try it."""
        size = f"{model.num_parameters / 1e6:.0f}M parameters, {model.precision}, context {model.max_model_len}"
        self.say(f"Tidemill serves {model.names[0]} ({size}) on {url}")
        self.say(f"API docs: {url}/docs")
        self.say(f"Try it:\n  {curl_line(url, model, needs_key=needs_key)}")


def curl_line(url: str, model: ModelInfo, *, needs_key: bool) -> str:
    """A command that gets an answer out of the server."""
    name = model.names[0]
    key = ' -H "Authorization: Bearer $API_KEY"' if needs_key else ""
    if model.chat_template is None:
        path, body = "completions", {"model": name, "prompt": "Once upon a time", "max_tokens": 32}
    else:
        path, body = "chat/completions", {"model": name, "messages": [{"role": "user", "content": "Hello!"}]}
    return f"curl {url}/v1/{path}{key} -d {shlex.quote(json.dumps(body))}"
