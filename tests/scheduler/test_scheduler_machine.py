"""The whole scheduler under random adds, aborts, steps and failures, over a runner that checks what is cached."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.fakes.scheduling import FULL, check_books, make_bench, request, unpressed, window
from tidemill.core.errors import OverloadedError
from tidemill.core.requests import FinishReason
from tidemill.scheduler.sequence import SequenceRequest

MAX_MODEL_LEN = 40
MAX_NUM_SEQS = 4
MAX_QUEUE = 6
layouts = st.sampled_from(
    [((FULL,), 10), ((FULL,), 40), ((window(6),), 9), ((FULL, window(6)), 19), ((window(5), FULL, window(11)), 29)]
)
prompts = st.builds(
    lambda num_common, rest: (7,) * num_common + tuple(rest), st.integers(1, 9), st.lists(st.integers(0, 1), max_size=5)
)
wishes = st.fixed_dictionaries(
    {
        "prompt": prompts,
        "max_new_tokens": st.one_of(st.integers(0, 3), st.integers(8, 26)),
        "priority": st.integers(0, 2),
        "salt": st.sampled_from(["", "", "", "a"]),
        "num_prompt_logprobs": st.sampled_from([None, None, 0]),
    }
)


class SchedulerMachine(RuleBasedStateMachine):
    """Few tokens and few salts, so that prefixes are often common; few blocks, so that preemption is too."""

    @initialize(layout=layouts, prefix_caching=st.booleans(), max_preemptions=st.integers(0, 2))
    def build(self, layout: object, prefix_caching: bool, max_preemptions: int) -> None:
        groups, num_blocks = layout  # type: ignore[misc]
        self.bench = make_bench(
            num_blocks=num_blocks,
            groups=groups,
            max_num_seqs=MAX_NUM_SEQS,
            max_num_batched_tokens=12,
            max_queue=MAX_QUEUE,
            max_preemptions=max_preemptions,
            prefix_caching=prefix_caching,
            max_model_len=MAX_MODEL_LEN,
        )
        self.max_preemptions = max_preemptions
        self.asked: dict[int, SequenceRequest] = {}
        self.gone: set[int] = set()
        self.num_made = 0

    @property
    def alive(self) -> list[int]:
        return [i for i in self.asked if i not in self.gone and i not in self.bench.finishes]

    @rule(wishes=st.lists(wishes, min_size=1, max_size=6))
    def add(self, wishes: list[dict[str, object]]) -> None:
        for wish in wishes:
            asked = request(self.num_made, **wish)  # type: ignore[arg-type]
            self.num_made += 1
            if len(self.alive) < MAX_NUM_SEQS + MAX_QUEUE:
                self.bench.add(asked)
                self.asked[asked.sequence_id] = asked
                continue
            with pytest.raises(OverloadedError):
                self.bench.add(asked)

    @rule(num_steps=st.integers(1, 20))
    def step(self, num_steps: int) -> None:
        for _ in range(num_steps):
            self.bench.step()
            self.books_are_right()

    @rule(kind=st.sampled_from(["abort", "abort", "abort under way", "fail one", "fail step"]), data=st.data())
    def disturb(self, kind: str, data: st.DataObject) -> None:
        if not self.alive:
            return
        victim = data.draw(st.sampled_from(self.alive))
        if kind == "abort":
            self._abort(victim)
        elif kind == "abort under way":
            self.bench.step(meanwhile=lambda: self._abort(victim))
        elif kind == "fail one":
            self._fail_one(victim)
        else:
            self._fail_step()

    def _fail_one(self, victim: int) -> None:
        self.bench.runner.errors[victim] = "broken"
        self.bench.step()
        if self.bench.runner.errors.pop(victim, None) is None:
            assert self.bench.finishes[victim].reason is FinishReason.ERROR
            self.gone.add(victim)

    def _fail_step(self) -> None:
        batch = self.bench.scheduler.schedule()
        assert batch is not None
        self.bench.runner.run(batch)
        outputs = self.bench.scheduler.fail(batch, "the step failed")
        assert [o.sequence_id for o in outputs] == [s.sequence_id for s in batch.sequences]
        self.gone.update(o.sequence_id for o in outputs)

    def _abort(self, sequence_id: int) -> None:
        assert self.bench.scheduler.abort(sequence_id)
        assert not self.bench.scheduler.abort(sequence_id)
        self.gone.add(sequence_id)

    @invariant()
    def books_are_right(self) -> None:
        check_books(self.bench)

    @invariant()
    def nobody_is_preempted_too_often(self) -> None:
        for sequence in self.bench.scheduler._sequences.values():
            assert sequence.num_preemptions <= self.max_preemptions

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        while self.bench.step() is not None:
            pass
        assert not self.alive, "everything finishes"
        self.books_are_right()
        assert self.bench.scheduler._kv.num_used == 0
        for sequence_id, asked in self.asked.items():
            if sequence_id not in self.gone:
                assert self.bench.tokens.get(sequence_id, []) == unpressed(asked)
                spoken_of = [entry.token_id for entry in self.bench.prompt_logprobs.get(sequence_id, [])]
                wants = asked.sampling.num_prompt_logprobs is not None
                assert spoken_of == (list(asked.prompt_token_ids[1:]) if wants else [])


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
