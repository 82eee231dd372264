"""A view of the closed world for one sample: it draws people, places, things and templates.

Holds the random stream and the split; every task draws from it and from nothing else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import TypeVar

from training import names
from training.vocabulary import COLOURS, CURRENCIES, MATERIALS, MONTHS, NUMBER_WORDS, THINGS, WEEKDAYS

T = TypeVar("T")


class Split(StrEnum):
    """Which names and which templates a sample may use."""

    TRAIN = "train"
    NEW_NAMES = "new_names"
    NEW_TEMPLATES = "new_templates"


@dataclass(frozen=True, slots=True)
class Templates:
    """Wordings of one thing: those that are trained on, and those that never are."""

    known: tuple[str, ...]
    new: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.known
        assert self.new
        assert not set(self.known) & set(self.new)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody; `name` may hold a surname."""

    name: str
    she: bool

    @property
    def pronoun(self) -> str:
        """`She` or `He`."""
        return "She" if self.she else "He"

    @property
    def possessive(self) -> str:
        """`Her` or `His`."""
        return "Her" if self.she else "His"


def with_article(noun: str) -> str:
    """The noun with `a` or `an`."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


class World:
    """Draws for one sample; two worlds with the same stream and split draw the same.

    `wild_names` is the share of names that are made of any letters rather than of syllables, `patched_names` that of
    names pieced together from plain words.
    """

    def __init__(self, rng: Random, split: Split, wild_names: float = 0.0, patched_names: float = 0.0) -> None:
        self.rng = rng
        self.split = split
        self._held_out = split is not Split.TRAIN
        self._wild_names = wild_names
        self._patched_names = patched_names
        self._used: set[str] = set()

    def pick(self, options: Sequence[T]) -> T:
        """One of the options."""
        return self.rng.choice(options)

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """Several different options."""
        return self.rng.sample(options, count)

    def chance(self, probability: float) -> bool:
        """Whether a thing of this probability happens."""
        return self.rng.random() < probability

    def wording(self, templates: Templates) -> str:
        """A template of the kind this split may use."""
        return self.pick(templates.new if self.split is Split.NEW_TEMPLATES else templates.known)

    def say(self, templates: Templates, **slots: object) -> str:
        """A template of the kind this split may use, filled in."""
        return self.wording(templates).format(**slots)

    def _fresh(self, draw: str) -> bool:
        if draw in self._used:
            return False
        self._used.add(draw)
        return True

    def _name(self, draw: Callable[[Random, bool], str]) -> str:
        if self._wild_names > 0 and self.chance(self._wild_names):
            draw = names.wild_name
        elif self._patched_names > 0 and self.chance(self._patched_names):
            draw = names.patched_name
        return draw(self.rng, self._held_out)

    def person(self, surname: float = 0.2) -> Person:
        """Somebody not drawn before; `surname` is the chance of a full name."""
        while not self._fresh(name := self._name(names.person_name)):
            pass
        if self.chance(surname):
            name += " " + self._name(names.surname)
        return Person(name, self.chance(0.5))

    def place(self) -> str:
        """A town not drawn before."""
        while not self._fresh(name := self._name(names.place_name)):
            pass
        return name

    def thing(self) -> str:
        """A thing with an adjective or two, no article."""
        noun = self.pick(THINGS)
        if self.chance(0.7):
            noun = self.pick(COLOURS + MATERIALS) + " " + noun
        return noun

    def date(self) -> str:
        """A day of the year, the day first or the month first."""
        day, month = self.rng.randint(1, 28), self.pick(MONTHS)
        return f"{day} {month}" if self.chance(0.6) else f"{month} {day}"

    def weekday(self) -> str:
        """A day of the week."""
        return self.pick(WEEKDAYS)

    def time(self) -> str:
        """A time of day such as 7:30."""
        return f"{self.rng.randint(1, 23)}:{self.pick(('00', '15', '30', '45', '05', '10', '20', '40', '50'))}"

    def price(self) -> str:
        """A price with its currency."""
        return f"{self.rng.randint(2, 99) if self.chance(0.8) else self.rng.randint(100, 950)} {self.pick(CURRENCIES)}"

    def number(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return self.rng.randint(low, high)

    def in_words(self, number: int) -> str:
        """A number as a word up to twelve, else in digits."""
        return NUMBER_WORDS[number] if number < len(NUMBER_WORDS) else str(number)
