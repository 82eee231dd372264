"""What counts as a right answer to a conversation: the very words, the same calls, or a story of its own.

Knows no subject and no model: answers come in as text.
"""

import json
import re

from training.plots import slots_of
from training.sample import CALL_CLOSE, CALL_OPEN, Sample, answer_of


def is_expected(sample: Sample, answer: str) -> bool:
    """Whether an answer is exactly the one of `sample`; of tool calls names and arguments must be."""
    expected = answer_of(sample)
    if CALL_OPEN in expected:
        return answer.startswith(CALL_OPEN) and _calls(answer) == _calls(expected)
    return answer.strip() == expected


def is_told(sample: Sample, answer: str) -> bool:
    """Whether a story follows a plot from end to end, with everybody the request names in it, and there."""
    told, expected = slots_of(answer.strip()), slots_of(answer_of(sample))
    assert expected is not None
    request = sample.messages[-2].content
    names = [expected[slot] for slot in ("p", "f", "place") if slot in expected]
    return told is not None and all(name in told.values() for name in names if _is_named(name, request))


def _is_named(name: str, request: str) -> bool:
    """Whether `name` is a word of the request: Ann is not named where Anna is."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", request) is not None


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
