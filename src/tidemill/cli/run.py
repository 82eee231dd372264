"""`tidemill run`: one prompt, one answer, streamed to standard output."""

import sys
from typing import Annotated

import typer

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
from tidemill.core.errors import InvalidRequestError
from tidemill.core.messages import Message

HELP = """
Answer one prompt and exit.

The answer goes to standard output as it is generated; Ctrl-C ends it. With one argument it is the prompt,
for the bundled model (or the one in tidemill.toml). A prompt of '-', or none, is read from standard input.

[bold]Examples[/bold]

  tidemill run "Why is the sky blue?"

  tidemill run ./my-model "Why is the sky blue?" --temperature 0

  cat question.txt | tidemill run

  tidemill run ./my-model - < question.txt

  tidemill run --raw "Once upon a time" --max-tokens 100
"""
_MAX_INPUT_CHARS = 4 * 1024 * 1024


@with_settings(("model", "cache"), without=NOT_FOR_ONE)
def run(
    given: GivenFlags,
    words: Annotated[list[str] | None, typer.Argument(metavar="[MODEL] PROMPT", help="See above.")] = None,
    system: System = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    max_tokens: MaxTokens = None,
    seed: Seed = None,
    stop: Stop = None,
    raw: Annotated[bool, typer.Option("--raw", help="Continue the prompt as text, without the chat template.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Show counts and times on standard error.")] = False,
) -> None:
    """Answer one prompt and exit."""
    model, prompt = _model_and_prompt(words or [])
    if raw and system is not None:
        raise InvalidRequestError(
            "--system needs the chat template that --raw leaves out.", next_step="Drop one of them."
        )
    settings = given.settings(model)
    sampling = Sampling(temperature, top_p, top_k, max_tokens, seed, tuple(stop or ()))
    sampling.check()
    if prompt is None or prompt == "-":
        prompt = _read_input()
    messages = [Message(role="user", content=prompt)]
    if system is not None:
        messages.insert(0, Message(role="system", content=system))
    answer = Answer()
    with open_session(settings) as session:
        try:
            for text in stream(session, prompt_of(session, messages, raw=raw), sampling, answer):
                write(text)
        finally:
            # The shell's prompt, or an error, starts on a line of its own, also after Ctrl-C.
            write("" if not answer.text or answer.text.endswith("\n") else "\n")
    if stats and answer.timings is not None:
        print(speed_line(answer.timings), file=sys.stderr)


def _model_and_prompt(words: list[str]) -> tuple[str | None, str | None]:
    if len(words) > 2:
        raise InvalidRequestError(
            f"There are {len(words)} arguments, but at most a model and a prompt are expected.",
            next_step="Put the prompt into quotes.",
        )
    if len(words) == 2:
        return words[0], words[1]
    return None, words[0] if words else None


def _read_input() -> str:
    if sys.stdin.isatty():
        raise InvalidRequestError("There is no prompt.", next_step='Try: tidemill run "Why is the sky blue?"')
    try:
        text = sys.stdin.read(_MAX_INPUT_CHARS + 1)
    except UnicodeDecodeError as error:
        raise InvalidRequestError("Standard input is not UTF-8 text.") from error
    if len(text) > _MAX_INPUT_CHARS:
        raise InvalidRequestError(f"Standard input has more than {_MAX_INPUT_CHARS} characters.")
    if not text.strip():
        raise InvalidRequestError("Standard input is empty, so there is no prompt.")
    return text.removesuffix("\n")
