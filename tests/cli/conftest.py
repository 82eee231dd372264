"""A session without an engine, for the commands that hold one."""

from collections.abc import Generator
from types import TracebackType
from typing import Self

import pytest

from tidemill.config.settings import Settings
from tidemill.core.backend import ModelInfo
from tidemill.core.errors import ContextLengthError
from tidemill.core.requests import (
    Accepted,
    ChatPrompt,
    Delta,
    Finish,
    FinishReason,
    GenerationChunk,
    GenerationRequest,
    SequenceTimings,
)

TIMINGS = SequenceTimings(
    num_prompt_tokens=3,
    num_cached_tokens=1,
    num_output_tokens=2,
    num_preemptions=0,
    queue_seconds=0.0,
    time_to_first_token_seconds=0.25,
    decode_seconds=0.25,
    total_seconds=0.5,
)


class FakeSession:
    """Answers with how many messages it got; 'interrupt me' raises KeyboardInterrupt amid the answer."""

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.requests: list[GenerationRequest] = []
        self.num_closed = 0
        self.chat_template: str | None = "a template"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.num_closed += 1

    @property
    def model(self) -> ModelInfo:
        return ModelInfo(
            names=("fake",),
            created_unix_seconds=0,
            max_model_len=64,
            architecture="A",
            family="f",
            num_parameters=1,
            weight_bytes=1,
            precision="fp32",
            vocab_size=9,
            chat_template=self.chat_template,
            digest="",
            default_sampling={"temperature": 0.6, "top_k": 20},
        )

    def generate(self, request: GenerationRequest) -> Generator[GenerationChunk, None, None]:
        self.requests.append(request)
        prompt = request.prompts[0]
        said = prompt.messages[-1].content if isinstance(prompt, ChatPrompt) else ""
        if said == "too long":
            raise ContextLengthError(num_prompt_tokens=99, num_output_tokens=1, max_model_len=64, param=None)
        count = len(prompt.messages) if isinstance(prompt, ChatPrompt) else 0
        yield Accepted(num_prompt_tokens=(3,), prompt_token_ids=((1, 2, 3),))
        yield Delta(index=0, text="seen ")
        if said == "interrupt me":
            raise KeyboardInterrupt
        yield Delta(index=0, text=f"{count}", finish=Finish(reason=FinishReason.STOP, timings=TIMINGS))


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """The session that `run` and `chat` open; it keeps the settings and the requests it was given."""
    fake = FakeSession()

    def open_fake(settings: Settings, progress: object) -> FakeSession:
        fake.settings = settings
        return fake

    monkeypatch.setattr("tidemill.runtime.session.Session", open_fake)
    return fake
