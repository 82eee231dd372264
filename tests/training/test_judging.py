"""What is right: the expected words, the same calls, and any story of those it was asked for."""

from random import Random

import pytest

from training.examination import SUBJECTS, draw_questions, is_right
from training.judging import is_told
from training.plots import PLOTS, draw_slots, slots_of, tell
from training.sample import Message, Sample, answer_of
from training.tasks.stories import CAST
from training.world import Split, World


@pytest.mark.parametrize("subject", sorted(SUBJECTS))
def test_the_expected_answer_passes_and_another_fails(subject: str) -> None:
    for split in (Split.NEW_NAMES, Split.NEW_TEMPLATES):
        for question in draw_questions(2, split, subject, 5):
            assert is_right(question, answer_of(question.sample))
            assert not is_right(question, answer_of(question.sample)[:-1] + "#")


def test_a_story_must_tell_of_those_it_was_asked_for() -> None:
    questions = draw_questions(2, Split.NEW_NAMES, "story", 40)
    named = [q for q in questions if any(word not in CAST for word in (slots_of(answer_of(q.sample)) or {}).values())]
    other = next(answer_of(q.sample) for q in questions if "storm" in answer_of(q.sample))
    alone = [q for q in questions if slots_of(answer_of(q.sample))["p"] not in q.sample.messages[-2].content]  # type: ignore[index]
    assert any(is_right(q, other) for q in alone)
    assert not all(is_right(q, other) for q in named)


def test_who_has_a_part_of_a_named_ones_name_is_not_named() -> None:
    world = World(Random(1), Split.TRAIN)
    slots = draw_slots(world) | {"p": "Ann", "f": "Tarkeik"}
    told = {name: tell(world, PLOTS[0], slots | {"p": name}) for name in ("Ann", "Zoe")}
    asked_for = {
        request: Sample("story", (Message("user", request), Message("assistant", told["Ann"])))
        for request in ("A story about Anna, please.", "A story about Ann, please.")
    }
    right = {request: is_told(sample, told["Zoe"]) for request, sample in asked_for.items()}
    assert right == {"A story about Anna, please.": True, "A story about Ann, please.": False}
