"""What minnow is examined in: the questions of each task, what counts as right, and the groups of tasks.

Knows no model: answers come in as text.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from training.exchange import Exchange
from training.mixture import mixed_talk, sample_of
from training.plots import slots_of
from training.sample import CALL_CLOSE, CALL_OPEN, Sample, answer_of
from training.tasks.answering import NOT_SAID, answering
from training.tasks.calling import calling, no_tool, two_calls
from training.tasks.chatting import greeting, talk
from training.tasks.extraction import extraction, people
from training.tasks.knowing import knowing
from training.tasks.outside import outside
from training.tasks.remembering import memory, persona
from training.tasks.rewriting import tense, tone
from training.tasks.sentiment import sentiment
from training.tasks.stories import story, summary
from training.tasks.topic import topic
from training.world import Split, World

SUBJECTS: dict[str, tuple[Callable[[World], Exchange], str | None]] = {
    "sentiment": (sentiment, None),
    "topic": (topic, None),
    "extraction of fields": (extraction, None),
    "extraction of people": (people, None),
    "question answering": (answering, "answering"),
    "the passage does not say": (answering, "not_said"),
    "tool call": (calling, "calling"),
    "two tool calls": (two_calls, None),
    "use of a tool's result": (calling, "tool_result"),
    "no tool fits": (no_tool, None),
    "summary": (summary, None),
    "tense": (tense, None),
    "tone": (tone, None),
    "memory of the chat": (memory, None),
    "system prompt's name": (persona, None),
    "greeting": (greeting, None),
    "identity and abilities": (talk, None),
    "its own world": (knowing, None),
    "outside its world": (outside, None),
    "story": (story, None),
    "talk of many things": (mixed_talk, None),
}
GROUPS: dict[str, tuple[str, ...]] = {
    "classification": ("sentiment", "topic"),
    "extraction": ("extraction of fields", "extraction of people"),
    "question answering": ("question answering",),
    "the passage does not say": ("the passage does not say",),
    "tool calls": ("tool call", "two tool calls"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation whose last answer is to be given, and the subject it counts for."""

    subject: str
    sample: Sample


def draw_questions(seed: int, split: Split, subject: str, count: int) -> list[Question]:
    """So many questions with one right answer, or a story as theirs; the same for the same seed, split and subject."""
    task, wanted = SUBJECTS[subject]
    questions: list[Question] = []
    index = 0
    while len(questions) < count:
        sample = sample_of(task, World(Random(f"examination {seed}/{split}/{subject}/{index}"), split))
        index += 1
        if (sample.exact or subject == "story") and (wanted is None or sample.task == wanted):
            questions.append(Question(subject, sample))
    return questions


def _calls(text: str) -> list[object] | None:
    calls: list[object] = []
    for part in text.split(CALL_OPEN)[1:]:
        body, closed, _ = part.partition(CALL_CLOSE)
        try:
            calls.append(json.loads(body))
        except json.JSONDecodeError:
            return None
        if not closed:
            return None
    return calls


def _is_told(question: Question, answer: str) -> bool:
    """Whether a story follows a plot from end to end, with everybody the request names in it, and there."""
    told, expected = slots_of(answer.strip()), slots_of(answer_of(question.sample))
    assert expected is not None
    request = question.sample.messages[-2].content
    named = [expected[slot] for slot in ("p", "f", "place") if expected.get(slot, "\n") in request]
    return told is not None and all(name in told.values() for name in named)


def is_right(question: Question, answer: str) -> bool:
    """Whether an answer is exactly the expected one.

    Of tool calls names and arguments must be, and a story may be told in many ways.
    """
    if question.subject == "story":
        return _is_told(question, answer)
    expected = answer_of(question.sample)
    if CALL_OPEN in expected:
        return answer.startswith(CALL_OPEN) and _calls(answer) == _calls(expected)
    return answer.strip() == expected


def says_not_said(answer: str) -> bool:
    """Whether an answer claims that the passage leaves the question open."""
    return answer.strip() == NOT_SAID
