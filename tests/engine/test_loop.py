"""The loop around the real scheduler and the simulated runner, in virtual time, over a channel that is a list."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tidemill.config.settings import CacheSettings, SchedulerSettings, SimulationSettings
from tidemill.core.clock import VirtualClock
from tidemill.core.requests import FinishReason, SamplingParams
from tidemill.engine.core.channel import PeerGoneError
from tidemill.engine.core.heartbeat import Pulse
from tidemill.engine.core.loop import IDLE_SECONDS, MAX_FAILED_STEPS, EngineLoop, TooManyFailuresError
from tidemill.engine.core.simulated import SimulatedRunner, simulated_layout
from tidemill.engine.protocol import (
    Abort,
    FromEngine,
    SequenceOutput,
    Shutdown,
    StepOutput,
    Submit,
    ToEngine,
)
from tidemill.scheduler.batch import Batch, StepHandle, StepResult
from tidemill.scheduler.scheduler import Scheduler


class ListChannel:
    """Hands out what the test put in, a list a receive, and keeps what was sent."""

    def __init__(self) -> None:
        self.incoming: list[list[ToEngine]] = []
        self.sent: list[StepOutput] = []
        self.timeouts: list[float | None] = []

    def send(self, frame: FromEngine) -> None:
        assert isinstance(frame, StepOutput)
        self.sent.append(frame)

    def receive(self, timeout_seconds: float | None) -> Sequence[ToEngine]:
        self.timeouts.append(timeout_seconds)
        if self.incoming:
            return self.incoming.pop(0)
        if timeout_seconds == 0.0:
            return []
        raise PeerGoneError("nothing more will come")


class BreakableRunner:
    """A runner that raises what the test put in, and else does its work."""

    def __init__(self, runner: SimulatedRunner) -> None:
        self._runner = runner
        self.errors: list[Exception | None] = []

    def launch(self, batch: Batch) -> StepHandle:
        handle = self._runner.launch(batch)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return handle


class Rig:
    """A loop and everything around it."""

    def __init__(self, **scheduler: int) -> None:
        self.clock = VirtualClock()
        cache, simulation = CacheSettings(), SimulationSettings(sim_kv_tokens=1024)
        self.channel = ListChannel()
        self.runner = BreakableRunner(
            SimulatedRunner(simulation, tuple(range(10, 100)), clock=self.clock, sleep=self.clock.advance)
        )
        self.scheduler = Scheduler(
            SchedulerSettings(**scheduler),
            simulated_layout(simulation, cache),
            prefix_caching=True,
            model_fingerprint=b"test",
            max_model_len=512,
            clock=self.clock,
        )
        self.pulse = Pulse(self.clock)
        self.loop = EngineLoop(
            self.scheduler,
            self.runner,
            self.channel,
            epoch=3,
            eos_token_ids=frozenset({1}),
            pulse=self.pulse,
            clock=self.clock,
        )

    def run(self, *incoming: list[ToEngine]) -> None:
        """Give the loop a list of frames a turn, and let it work until there is nothing to do."""
        self.channel.incoming.extend(incoming)
        with pytest.raises(PeerGoneError):
            self.loop.run()

    def outputs(self, sequence_id: int) -> list[SequenceOutput]:
        return [out for frame in self.channel.sent for out in frame.outputs if out.sequence_id == sequence_id]


def submit(
    sequence_id: int, *, num_prompt: int = 5, max_new: int = 4, arrival: float = 0.0, **sampling: object
) -> Submit:
    return Submit(
        sequence_id=sequence_id,
        prompt_token_ids=tuple(range(20, 20 + num_prompt)),
        sampling=SamplingParams(seed=sequence_id, **sampling),  # type: ignore[arg-type]
        max_new_tokens=max_new,
        prompt_index=0,
        sample_index=0,
        priority=0,
        cache_salt="",
        arrival=arrival,
    )


def test_a_sequence_runs_to_its_length_with_one_frame_a_step() -> None:
    rig = Rig()
    rig.run([submit(1)])
    outputs = rig.outputs(1)
    assert [len(output.token_ids) for output in outputs] == [1, 1, 1, 1]
    assert len(rig.channel.sent) == 4
    assert {frame.epoch for frame in rig.channel.sent} == {3}
    assert outputs[0].start is not None
    assert [output.start for output in outputs[1:]] == [None, None, None]
    assert outputs[-1].finish is not None
    assert outputs[-1].finish.reason is FinishReason.LENGTH
    assert rig.channel.sent[-1].stats.num_used_blocks == 0


def test_the_loop_waits_only_when_there_is_no_work() -> None:
    rig = Rig()
    rig.run([submit(1)])
    # One wait for the first frame and one after the last step; in between it only looks.
    assert rig.channel.timeouts == [IDLE_SECONDS, 0.0, 0.0, 0.0, IDLE_SECONDS]


def test_who_came_first_goes_first_though_nobody_was_looking() -> None:
    """Both came while a step was computed, and are read at one moment; the order of reading says nothing."""
    rig = Rig(max_num_seqs=1)
    rig.run([submit(1, max_new=3)], [submit(3, arrival=0.02), submit(2, arrival=0.01)])
    order = [output.sequence_id for frame in rig.channel.sent for output in frame.outputs if output.start is not None]
    assert order == [1, 2, 3]


def test_an_abort_frees_its_blocks_within_a_step_and_says_so() -> None:
    rig = Rig()
    rig.run([submit(1, max_new=400)], [], [Abort(sequence_ids=(1, 99))])
    assert len(rig.outputs(1)) == 2
    last = rig.channel.sent[-1]
    assert last.outputs == ()
    assert (last.stats.num_used_blocks, last.stats.num_running, last.stats.num_rows) == (0, 0, 0)


def test_an_abort_in_the_same_breath_as_its_submission_never_runs() -> None:
    rig = Rig()
    rig.run([submit(1), Abort(sequence_ids=(1,)), submit(2)])
    assert rig.outputs(1) == []
    assert len(rig.outputs(2)) == 4


def test_a_failed_step_ends_its_sequences_and_the_engine_goes_on() -> None:
    rig = Rig()
    rig.runner.errors = [None, ValueError("a bug")]
    rig.run([submit(1)], [submit(2)], [submit(3)])
    for sequence_id in (1, 2):
        finish = rig.outputs(sequence_id)[-1].finish
        assert finish is not None
        assert finish.reason is FinishReason.ERROR
        assert "ValueError" in (finish.error or "")
        assert "a bug" not in (finish.error or "")
    assert len(rig.outputs(3)) == 4
    assert rig.channel.sent[-1].stats.num_used_blocks == 0


def test_running_out_of_memory_is_named() -> None:
    rig = Rig()
    rig.runner.errors = [MemoryError()]
    rig.run([submit(1)])
    finish = rig.outputs(1)[-1].finish
    assert finish is not None
    assert "out of memory" in (finish.error or "")


def test_three_failed_steps_in_a_row_end_the_engine_after_they_are_reported() -> None:
    rig = Rig()
    rig.runner.errors = [RuntimeError()] * MAX_FAILED_STEPS
    rig.channel.incoming = [[submit(1)], [submit(2)], [submit(3)]]
    with pytest.raises(TooManyFailuresError):
        rig.loop.run()
    assert [rig.outputs(i)[-1].finish is not None for i in (1, 2, 3)] == [True, True, True]


def test_a_good_step_in_between_forgives() -> None:
    rig = Rig()
    rig.runner.errors = [RuntimeError(), RuntimeError(), None, RuntimeError(), RuntimeError(), None]
    rig.run(*([submit(i, max_new=1)] for i in range(1, 7)))
    reasons = [finish.reason for i in range(1, 7) if (finish := rig.outputs(i)[-1].finish) is not None]
    error, length = FinishReason.ERROR, FinishReason.LENGTH
    assert reasons == [error, error, length, error, error, length]


def test_a_sequence_the_scheduler_refuses_ends_in_an_error_and_the_others_run() -> None:
    rig = Rig()
    rig.run([submit(1, num_prompt=600), submit(2)])
    finish = rig.outputs(1)[-1].finish
    assert finish is not None
    assert finish.reason is FinishReason.ERROR
    assert "512" in (finish.error or "")
    assert len(rig.outputs(2)) == 4


def test_a_refused_sequence_is_reported_even_if_there_is_no_step() -> None:
    rig = Rig()
    rig.run([submit(1, num_prompt=600)])
    assert [output.finish is not None for output in rig.outputs(1)] == [True]


def test_shutdown_ends_the_loop_at_once() -> None:
    rig = Rig()
    rig.channel.incoming = [[submit(1)], [Shutdown()]]
    rig.loop.run()
    assert len(rig.outputs(1)) == 1


def test_logprobs_and_prompt_logprobs_cross_the_wire() -> None:
    rig = Rig()
    rig.run([submit(1, num_logprobs=2, num_prompt_logprobs=1)])
    outputs = rig.outputs(1)
    assert [raw.token_id for out in outputs for raw in out.prompt_logprobs] == [21, 22, 23, 24]
    assert all(len(out.logprobs) == 1 and len(out.logprobs[0].top_token_ids) == 2 for out in outputs)


def test_the_pulse_rests_while_waiting_and_ages_in_a_step() -> None:
    clock = VirtualClock()
    pulse = Pulse(clock)
    clock.advance(100.0)
    assert pulse.age_seconds() == 0.0
    pulse.turn()
    clock.advance(7.0)
    assert pulse.age_seconds() == 7.0
    pulse.rest()
    assert pulse.age_seconds() == 0.0


def test_a_long_step_that_gets_on_is_no_hang() -> None:
    clock = VirtualClock()
    pulse = Pulse(clock)
    pulse.beat()
    clock.advance(50.0)
    assert pulse.age_seconds() == 0.0, "a beat at rest (a load's profile step) begins no turn"
    pulse.turn()
    for _ in range(10):
        clock.advance(20.0)
        pulse.beat()
    clock.advance(2.0)
    assert pulse.age_seconds() == 2.0


def test_a_report_tells_what_the_parts_of_its_step_took() -> None:
    rig = Rig()
    launch = rig.runner.launch

    class Parted:
        def __init__(self, handle: StepHandle) -> None:
            self._handle = handle

        def result(self) -> StepResult:
            return replace(self._handle.result(), tensors_seconds=0.001, sample_seconds=0.002)

    rig.runner.launch = lambda batch: Parted(launch(batch))  # type: ignore[method-assign]
    rig.run([submit(1, max_new=2)])
    for frame in rig.channel.sent:
        stats = frame.stats
        assert (stats.tensors_seconds, stats.sample_seconds, stats.update_seconds) == (0.001, 0.002, 0.0)
        assert stats.forward_seconds == pytest.approx(stats.step_seconds - 0.003)
        assert stats.step_seconds > 0.003
