"""What minnow is examined in: the questions of each subject, who judges the answers, and the groups of subjects.

Knows no model: answers come in as text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from training.exchange import Exchange
from training.judging import is_expected, is_told
from training.mixture import mixed_talk, sample_of
from training.sample import Sample
from training.tasks.answering import answering
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


@dataclass(frozen=True, slots=True)
class Subject:
    """Where its questions come from, and who judges the answers.

    Only conversations with one right answer are asked, unless `has_one_answer` is false, and only `of_task`, if set.
    """

    task: Callable[[World], Exchange]
    of_task: str | None = None
    judge: Callable[[Sample, str], bool] = is_expected
    has_one_answer: bool = True

    def asks(self, sample: Sample) -> bool:
        """Whether a conversation of its task is a question of it."""
        return (sample.exact or not self.has_one_answer) and self.of_task in (None, sample.task)


SUBJECTS: dict[str, Subject] = {
    "sentiment": Subject(sentiment),
    "topic": Subject(topic),
    "extraction of fields": Subject(extraction),
    "extraction of people": Subject(people),
    "question answering": Subject(answering, of_task="answering"),
    "the passage does not say": Subject(answering, of_task="not_said"),
    "tool call": Subject(calling, of_task="calling"),
    "two tool calls": Subject(two_calls),
    "use of a tool's result": Subject(calling, of_task="tool_result"),
    "no tool fits": Subject(no_tool),
    "summary": Subject(summary),
    "tense": Subject(tense),
    "tone": Subject(tone),
    "memory of the chat": Subject(memory),
    "system prompt's name": Subject(persona),
    "greeting": Subject(greeting),
    "identity and abilities": Subject(talk),
    "its own world": Subject(knowing),
    "outside its world": Subject(outside),
    "story": Subject(story, judge=is_told, has_one_answer=False),
    "talk of many things": Subject(mixed_talk),
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
    """So many questions; the same for the same seed, split and subject."""
    of = SUBJECTS[subject]
    questions: list[Question] = []
    index = 0
    while len(questions) < count:
        sample = sample_of(of.task, World(Random(f"examination {seed}/{split}/{subject}/{index}"), split))
        index += 1
        if of.asks(sample):
            questions.append(Question(subject, sample))
    return questions


def is_right(question: Question, answer: str) -> bool:
    """Whether an answer is right, as the subject judges it."""
    return SUBJECTS[question.subject].judge(question.sample, answer)
