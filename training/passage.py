"""A passage of facts about a few people; knows who has which fact, and which facts are missing."""

import re
from dataclasses import dataclass

from training.facts.kind import FactKind, Question, Slots
from training.facts.kinds import KINDS
from training.world import Person, Templates, World

FILLERS = Templates(
    (
        "It was a fine day.",
        "The weather was mild.",
        "Nobody knew why.",
        "The town was quiet.",
        "It had rained all night.",
        "People talked about it for weeks.",
        "The bells rang at noon.",
        "It was a busy week.",
        "The streets were full.",
        "Everybody was in a good mood.",
        "The wind came from the sea.",
        "There was a smell of fresh bread.",
    ),
    ("A soft rain fell.", "The whole street was asleep."),
)


ATTEMPTS = 10
EMPHASIS = {"purchase": 4, "find": 4, "gift": 4, "home": 8, "meeting": 3, "trip": 3, "pet": 2, "event": 2}
EMPHASES = tuple(EMPHASIS.get(kind.name, 1) for kind in KINDS)


@dataclass(frozen=True, slots=True)
class Fact:
    """Something true of a person in a passage."""

    kind: FactKind
    person: Person
    slots: Slots

    def fill(self, template: str) -> str:
        """The template with this fact's words."""
        return template.format(p=self.person.name, **self.slots)


@dataclass(frozen=True, slots=True)
class Passage:
    """A text and the facts it states; `statements` are the sentences that state them, in the same order."""

    text: str
    people: tuple[Person, ...]
    facts: tuple[Fact, ...]
    statements: tuple[str, ...]

    def statement(self, fact: Fact) -> str:
        """The sentence that states a fact."""
        return self.statements[self.facts.index(fact)]


def _draw_facts(world: World, people: list[Person], count: int, emphasis: bool) -> list[Fact]:
    facts: list[Fact] = []
    taken: set[tuple[str, str]] = set()
    held: set[tuple[str, str]] = set()
    while len(facts) < count:
        kind = world.rng.choices(KINDS, EMPHASES)[0] if emphasis else world.pick(KINDS)
        person = world.pick(people)
        slots = kind.draw(world)
        mark = (kind.name, slots[kind.key])
        if mark in taken or (kind.name, person.name) in held:
            continue
        taken.add(mark)
        held.add((kind.name, person.name))
        facts.append(Fact(kind, person, slots))
    return facts


def _state(world: World, fact: Fact, before: Fact | None) -> str:
    text = world.wording(fact.kind.states)
    if before is not None and before.person == fact.person and text.startswith("{p}") and world.chance(0.6):
        return text.replace("{p}", fact.person.pronoun, 1).format(**fact.slots)
    return fact.fill(text)


def draw_passage(
    world: World, num_people: int, num_facts: int, fillers: float = 0.15, emphasis: bool = False
) -> Passage:
    """A passage of so many facts (at most about 12 a person), with a filler now and then.

    With `emphasis` the kinds that are hard to tell apart come more often.
    """
    people = [world.person() for _ in range(num_people)]
    facts = _draw_facts(world, people, num_facts, emphasis)
    if world.chance(0.7):
        facts.sort(key=lambda fact: people.index(fact.person))
    sentences: list[str] = []
    statements: list[str] = []
    before: Fact | None = None
    for fact in facts:
        if world.chance(fillers):
            sentences.append(world.wording(FILLERS))
            before = None
        statements.append(_state(world, fact, before))
        sentences.append(statements[-1])
        before = fact
    return Passage(" ".join(sentences), tuple(people), tuple(facts), tuple(statements))


SUBJECT = re.compile(r"\b(does|did|is) \{p\}(?!')")


def ask_known(world: World, passage: Passage, about: Person | None = None) -> tuple[str, str, Fact]:
    """A question that the passage answers, with the answer and the fact it concerns.

    Somebody whom the talk is `about` already may be asked after as `he` or `she`.
    """
    fact = world.pick(passage.facts)
    question = world.pick(fact.kind.questions)
    while _is_ambiguous(passage, fact, question):
        fact = world.pick(passage.facts)
        question = world.pick(fact.kind.questions)
    wording = world.wording(question.asks)
    if fact.person == about and world.chance(0.4):
        wording = SUBJECT.sub(rf"\1 {fact.person.pronoun.lower()}", wording)
    return fact.fill(wording), fact.fill(question.answer), fact


def ask_altered(world: World, passage: Passage) -> str | None:
    """A question about something said, but of somebody else or with another value, so that the passage leaves it open.

    Nothing where no such question is found in a few draws.
    """
    fact = world.pick(passage.facts)
    wording = world.wording(world.pick(fact.kind.questions).asks)
    alike = [other for other in passage.facts if other.kind is fact.kind]
    for _ in range(ATTEMPTS):
        if "{p}" in wording:
            person = world.person() if world.chance(0.5) else world.pick(passage.people)
            if all(other.person != person for other in alike):
                return wording.format(p=person.name, **fact.slots)
        else:
            slots = fact.kind.draw(world)
            named = [slot for slot in slots if f"{{{slot}}}" in wording]
            if all(other.slots[slot] != slots[slot] for other in alike for slot in named):
                return wording.format(**slots)
    return None


def _is_ambiguous(passage: Passage, fact: Fact, question: Question) -> bool:
    """Whether two facts fit the question: `a lamp` beside `the lamp`, or two people at the same event's place."""
    things = [f.slots["thing"] for f in passage.facts if "thing" in f.slots]
    shared = "thing" in fact.slots and things.count(fact.slots["thing"]) > 1
    return shared and "{thing}" in "".join(question.asks.known + question.asks.new)


def ask_missing(world: World, passage: Passage) -> str:
    """A question that the passage leaves open: a stranger, or something unsaid about somebody present."""
    person = world.pick(passage.people) if world.chance(0.7) else world.person()
    told = {fact.kind.name for fact in passage.facts if fact.person == person}
    said = {fact.slots[fact.kind.key] for fact in passage.facts}
    while True:
        kind = world.pick(KINDS)
        slots = kind.draw(world)
        text = world.wording(world.pick(kind.questions).asks)
        if slots[kind.key] not in said and not (kind.name in told and "{p}" in text):
            return text.format(p=person.name, **slots)
