"""What a kind of fact is: how a passage states it, how one asks for it, what the answer is.

Every sentence has the person as its subject, so that a pronoun can stand in.
"""

from collections.abc import Callable
from dataclasses import dataclass

from training.world import Templates, World

Slots = dict[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask of a fact, and the sentence that answers."""

    asks: Templates
    answer: str


@dataclass(frozen=True, slots=True)
class FactKind:
    """`key` is the slot that tells two facts of this kind apart."""

    name: str
    key: str
    draw: Callable[[World], Slots]
    states: Templates
    questions: tuple[Question, ...]
