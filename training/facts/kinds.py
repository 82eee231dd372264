"""All kinds of facts, in an order that draws depend on."""

from training.facts.belongings import COLOUR, FIND, FLOCK, GIFT, PET, PURCHASE
from training.facts.happenings import EVENT, MEETING, TRIP
from training.facts.kind import FactKind
from training.facts.person import AGE, HOBBY, HOME, JOB, ROUTINE, TASTE

KINDS: tuple[FactKind, ...] = (
    HOME,
    JOB,
    AGE,
    PURCHASE,
    PET,
    MEETING,
    TRIP,
    TASTE,
    HOBBY,
    FIND,
    FLOCK,
    GIFT,
    COLOUR,
    EVENT,
    ROUTINE,
)
