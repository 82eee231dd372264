"""What `run` and `chat` share: sampling flags as a request, opening a session with progress, printing an answer."""

import contextlib
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tidemill.config.settings import Settings
from tidemill.core.messages import Message
from tidemill.core.requests import (
    ChatPrompt,
    Delta,
    GenerationRequest,
    Prompt,
    SamplingParams,
    SequenceTimings,
    TextPrompt,
)

if TYPE_CHECKING:
    from tidemill.runtime.session import Session

# Settings of `serve` that a terminal's own engine would not honour.
NOT_FOR_ONE = ("served_model_name",)

Temperature = Annotated[
    float | None, typer.Option(help="0 is greedy. Default: what the model recommends, else 1.", metavar="X")
]
TopP = Annotated[float | None, typer.Option(help="Sample from the likeliest tokens of this total share.", metavar="X")]
TopK = Annotated[int | None, typer.Option(help="Sample from this many likeliest tokens.", metavar="N")]
MaxTokens = Annotated[int | None, typer.Option(help="Longest answer. Default: what the context allows.", metavar="N")]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same answer. Default: random.", metavar="N")]
Stop = Annotated[list[str] | None, typer.Option(help="End the answer at this text; may be repeated.", metavar="TEXT")]
System = Annotated[str | None, typer.Option(help="Instructions that come before the conversation.", metavar="TEXT")]


@dataclass(frozen=True, slots=True)
class Sampling:
    """The sampling flags as they were given; None leaves the choice to the model's recommendation."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `InvalidRequestError` for a value out of range, before anything is loaded."""
        from tidemill.text.sampling_checks import validate_sampling

        validate_sampling(self.params({}), vocab_size=1)

    def params(self, recommended: dict[str, float | int]) -> SamplingParams:
        """The values to sample with; a seed is drawn where none was given."""
        asked = {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}
        params = SamplingParams(
            seed=SystemRandom().getrandbits(63) if self.seed is None else self.seed,
            max_tokens=self.max_tokens,
            stop=self.stop,
        )
        given = {name: value for name, value in asked.items() if value is not None}
        return msgspec.structs.replace(params, **(recommended | given))


@dataclass(slots=True)
class Answer:
    """An answer as far as it has come."""

    text: str = ""
    timings: SequenceTimings | None = None


@contextlib.contextmanager
def open_session(settings: Settings) -> "Iterator[Session]":
    """The model, loaded, with progress on standard error if that is a terminal."""
    from tidemill.runtime.session import Session

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Starting", total=1.0)

        def show(stage: str, fraction: float | None) -> None:
            description = stage[:1].upper() + stage[1:]
            bar.update(
                task, description=description, completed=fraction or 0.0, total=None if fraction is None else 1.0
            )

        session = Session(settings, show)
        session.__enter__()
    with contextlib.ExitStack() as stack:
        stack.push(session)
        yield session


def prompt_of(session: "Session", messages: Sequence[Message], *, raw: bool) -> Prompt:
    """The conversation as the model takes it: by its chat template, or as plain text if it has none or `raw` is set."""
    if raw or session.model.chat_template is None:
        return TextPrompt(text="\n".join(message.content or "" for message in messages))
    return ChatPrompt(messages=tuple(messages))


def stream(session: "Session", prompt: Prompt, sampling: Sampling, answer: Answer) -> Iterator[str]:
    """The answer's text as it comes; `answer` keeps what has come, even if the iteration is left early."""
    request = GenerationRequest(
        request_id=uuid.uuid4().hex,
        model=session.model.names[0],
        prompts=(prompt,),
        sampling=sampling.params(session.model.default_sampling),
    )
    chunks = session.generate(request)
    with contextlib.closing(chunks):
        for chunk in chunks:
            if not isinstance(chunk, Delta):
                continue
            answer.text += chunk.text
            if chunk.finish is not None:
                answer.timings = chunk.finish.timings
            if chunk.text:
                yield chunk.text


def write(text: str) -> None:
    """Text to standard output, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def speed_line(timings: SequenceTimings) -> str:
    """A finished answer's counts and times in one line."""
    seconds, num_tokens = max(timings.total_seconds, 1e-9), timings.num_output_tokens
    first = timings.time_to_first_token_seconds
    ttft = "" if first is None else f", first after {first:.2f} s"
    return (
        f"{timings.num_prompt_tokens} prompt tokens ({timings.num_cached_tokens} cached), "
        f"{num_tokens} tokens in {seconds:.1f} s ({num_tokens / seconds:.1f} tokens/s{ttft})"
    )
