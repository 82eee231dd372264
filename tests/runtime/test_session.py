"""The session over a real client and a real engine process, simulated so that it is quick to start."""

import pytest

from tidemill.config.settings import EngineSettings, ModelSettings, Settings, SimulationSettings
from tidemill.core.errors import InvalidRequestError, ModelLoadError
from tidemill.core.requests import Accepted, Delta, GenerationRequest, SamplingParams, TextPrompt
from tidemill.runtime.session import Session


def request(max_tokens: int) -> GenerationRequest:
    sampling = SamplingParams(seed=1, max_tokens=max_tokens, ignore_eos=True)
    return GenerationRequest(request_id="r", model="minnow", prompts=(TextPrompt(text="hello"),), sampling=sampling)


def test_a_session_answers_and_is_told_how_loading_goes() -> None:
    told: list[str] = []
    with Session(Settings(engine=EngineSettings(engine="simulated")), lambda stage, _: told.append(stage)) as session:
        assert session.model.names == ("minnow",)
        chunks = list(session.generate(request(3)))
        assert isinstance(chunks[0], Accepted)
        assert sum(len(chunk.token_ids) for chunk in chunks if isinstance(chunk, Delta)) == 3
        with pytest.raises(InvalidRequestError):
            list(session.generate(request(0)))
        # Left early, it is aborted, and the next one is served.
        endless = session.generate(request(1000))
        next(endless)
        endless.close()
        assert len(list(session.generate(request(2)))) >= 2
    assert told


def test_an_interrupt_while_waiting_aborts_and_leaves_the_session_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SimulationSettings(sim_seconds_per_token=0.05)
    with Session(Settings(engine=EngineSettings(engine="simulated"), simulation=slow), lambda *_: None) as session:
        real_wait = session._wait
        waits = 0

        def interrupted(work: object) -> object:
            nonlocal waits
            waits += 1
            if waits == 3:
                # As Ctrl-C does it: the work has been handed to the loop, and the wait for it ends.
                import asyncio

                asyncio.run_coroutine_threadsafe(work, session._loop)  # type: ignore[arg-type]
                raise KeyboardInterrupt
            return real_wait(work)  # type: ignore[arg-type]

        monkeypatch.setattr(session, "_wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(session.generate(request(500)))
        assert len(list(session.generate(request(2)))) >= 2


def test_a_model_that_is_not_there_ends_it_at_once() -> None:
    with pytest.raises(ModelLoadError), Session(Settings(model=ModelSettings(model="./nowhere")), lambda *_: None):
        pass
