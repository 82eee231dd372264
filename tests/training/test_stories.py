"""Stories: who is in them, and which text is one from end to end."""

from random import Random

import pytest

from training.mixture import sample_of
from training.plots import slots_of
from training.tasks.stories import CAST, TOWNS, story
from training.world import Split, World


def test_whoever_a_request_for_a_story_leaves_open_is_of_the_cast() -> None:
    for index in range(150):
        question, told = sample_of(story, World(Random(index), Split.TRAIN)).messages
        slots = slots_of(told.content)
        assert slots is not None
        people = [slots[slot] for slot in "pf" if slot in slots]
        assert all(name in CAST or name in question.content for name in people)
        assert len(set(people)) == len(people)
        assert "place" not in slots or slots["place"] in TOWNS or slots["place"] in question.content


@pytest.mark.parametrize(
    "text",
    [
        "One morning Cisisisisisisisis",
        "Rosa lost a lamp near the well. She looked everywhere, but it was gone.",
        "Hello! I can tell stories.",
        "",
    ],
)
def test_what_is_no_story_to_the_end_is_told_from_one(text: str) -> None:
    assert slots_of(text) is None
