"""Whether a further prompt goes into a step that already completes others, or waits for the next one.

Asked by the composer, and its rule by the forecast. Orders nobody and grants nothing.
"""

from collections.abc import Collection

from tidemill.cost.model import CostModel
from tidemill.cost.step_shape import StepShape, streams_shape
from tidemill.cost.step_times import StepTimes
from tidemill.scheduler.pacing import floor_seconds, shape_of
from tidemill.scheduler.prompt_order import PromptOrder
from tidemill.scheduler.sequence import Sequence


class StepSharing:
    """The prompts of one step so far; `begin_step` before each. What a preemption takes back still counts."""

    def __init__(self, model: CostModel, order: PromptOrder) -> None:
        self._model = model
        self._order = order
        self._streams = self._shape = streams_shape(0, 0)
        self._num_wanting = 0
        self._num_begun = 0
        self._completed: list[Sequence] = []

    def begin_step(self, streams: Collection[Sequence], num_prompts: int) -> None:
        """A step holds `streams`, and `num_prompts` want to be computed beside them."""
        self._streams = self._shape = shape_of(streams)
        self._num_wanting = num_prompts
        self._num_begun = 0
        self._completed.clear()

    def note(self, sequence: Sequence, start: int, num_tokens: int) -> None:
        """`num_tokens` of a prompt, from position `start` on, are in the step."""
        self._shape = self._shape.with_prompt(num_tokens, start)
        self._num_begun += 1
        if start + num_tokens == len(sequence.tokens):
            self._completed.append(sequence)

    def admits(self, sequence: Sequence, start: int, most: int) -> bool:
        """Whether the step goes on with up to `most` tokens of the prompt of `sequence`, from position `start` on.

        What a prompt of a lesser class, by priority or as its tenant has had its share, adds is no gain to the others.
        """
        if not self._completed or not self._order.keeps_promises or not self._model.is_calibrated:
            return True
        if self._order.class_of(sequence) > self._order.class_of(self._completed[-1]):
            return False
        num_tokens = min(most, len(sequence.tokens) - start)
        return may_share(
            self._model.times,
            self._streams,
            self._shape,
            self._shape.with_prompt(num_tokens, start),
            num_completed=len(self._completed),
            num_behind=max(1, self._num_wanting - self._num_begun),
        )


def may_share(
    times: StepTimes, streams: StepShape, step: StepShape, shared: StepShape, *, num_completed: int, num_behind: int
) -> bool:
    """Whether a prompt may make `step`, in which `num_completed` prompts are completed beside `streams`, `shared`.

    Those it completes wait so much longer for their first token as the step grows; that prompt and all others not begun
    in the step, `num_behind`, are spared the fixed part of one more step. The smaller sum of waits is chosen: a prompt
    is not held up for the sake of the next, yet many short ones are computed together.
    """
    if not num_completed:
        return True
    added_seconds = times.seconds(shared) - times.seconds(step)
    return num_completed * added_seconds <= num_behind * floor_seconds(times, streams)
