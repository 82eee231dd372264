import asyncio
import threading
from pathlib import Path

import pytest

from tidemill.core.messages import FunctionCall, Message, ToolCall
from tidemill.core.requests import ChatPrompt, GenerationRequest, Prompt, SamplingParams, TextPrompt
from tidemill.engine.client.preparation import PromptWork
from tidemill.text.model_text import ModelText
from tidemill.text.validation import PreparedRequest, PromptPreparer

MINNOW = Path(__file__).parents[2] / "src" / "tidemill" / "bundled" / "minnow"
CALL = ToolCall(id="a", function=FunctionCall(name="f", arguments="x" * 10_000))


@pytest.mark.parametrize(
    ("prompt", "is_inline"),
    [
        (TextPrompt(text="short"), True),
        (TextPrompt(text="x" * 10_000), False),
        (ChatPrompt(messages=(Message(role="assistant", content="", tool_calls=(CALL,)),)), False),
    ],
)
def test_long_prompts_do_not_hold_up_the_event_loop(
    prompt: Prompt, is_inline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def prepare(_: PromptPreparer, request: GenerationRequest) -> PreparedRequest:
        threads.append(threading.current_thread())
        return PreparedRequest(request, ())

    monkeypatch.setattr(PromptPreparer, "prepare", prepare)
    work = PromptWork(ModelText.load(MINNOW), max_choices=1)
    work.serve(max_model_len=64)
    request = GenerationRequest(request_id="r", model="m", prompts=(prompt,), sampling=SamplingParams(seed=0))
    try:
        asyncio.run(work.prepare(request))
    finally:
        work.close()
    assert [thread is threading.main_thread() for thread in threads] == [is_inline]
