"""What somebody has: things bought, found and given, animals, the colours of what is owned."""

from training.facts.kind import FactKind, Question, Slots
from training.vocabulary import ANIMALS, COLOURS, HERD, SHOPS, SPOTS
from training.world import Templates, World


def _purchase(world: World) -> Slots:
    return {"thing": world.thing(), "price": world.price(), "shop": world.pick(SHOPS)}


def _pet(world: World) -> Slots:
    return {"animal": world.pick(ANIMALS), "pet": world.person(0).name}


def _find(world: World) -> Slots:
    return {"thing": world.thing(), "spot": world.pick(SPOTS)}


def _herd(world: World) -> Slots:
    return {"count": world.in_words(world.number(2, 19)), "herd": world.pick(HERD)}


def _gift(world: World) -> Slots:
    return {"friend": world.person().name, "thing": world.thing()}


def _colour(world: World) -> Slots:
    return {
        "owned": world.pick(("boat", "door", "coat", "house", "bicycle", "hat", "car", "cart")),
        "colour": world.pick(COLOURS),
    }


PURCHASE = FactKind(
    "purchase",
    "thing",
    _purchase,
    Templates(
        (
            "{p} bought a {thing} at the {shop} for {price}.",
            "{p} paid {price} for a {thing} at the {shop}.",
            "{p} went to the {shop} and bought a {thing} for {price}.",
            "{p} found a {thing} at the {shop} and paid {price} for it.",
        ),
        ("{p} spent {price} on a {thing} at the {shop}.", "{p} got a {thing} from the {shop}, which cost {price}."),
    ),
    (
        Question(
            Templates(
                (
                    "What did {p} buy?",
                    "What did {p} pay for?",
                    "What did {p} get at the {shop}?",
                    "What has {p} bought?",
                    "What thing did {p} buy?",
                    "What did {p} buy at the {shop}?",
                    "Which thing did {p} buy?",
                ),
                ("What was it that {p} bought?",),
            ),
            "{p} bought a {thing}.",
        ),
        Question(
            Templates(
                (
                    "How much did {p} pay?",
                    "How much did {p} pay for the {thing}?",
                    "How much money did {p} spend?",
                    "What did {p} pay for the {thing}?",
                    "How expensive was the {thing}?",
                    "For how much did {p} buy the {thing}?",
                    "What did the {thing} cost?",
                    "What was the price of the {thing}?",
                    "How much was the {thing}?",
                ),
                ("What did {p} have to pay for the {thing}?", "Tell me the price of the {thing}."),
            ),
            "The {thing} cost {price}.",
        ),
        Question(
            Templates(
                (
                    "Where did {p} buy the {thing}?",
                    "Where did {p} get the {thing}?",
                    "In which shop was the {thing}?",
                    "Where has {p} bought the {thing}?",
                    "Where was the {thing} bought?",
                    "At which shop did {p} buy the {thing}?",
                ),
                ("Where did the {thing} come from?",),
            ),
            "{p} bought the {thing} at the {shop}.",
        ),
        Question(
            Templates(
                ("Who bought the {thing}?", "Who paid {price}?", "Who bought a {thing}?"),
                ("Who is the buyer of the {thing}?",),
            ),
            "{p} bought the {thing}.",
        ),
    ),
)
PET = FactKind(
    "pet",
    "pet",
    _pet,
    Templates(
        (
            "{p} has a {animal} named {pet}.",
            "{p} has a {animal} called {pet}.",
            "{p} keeps a {animal} and calls it {pet}.",
            "{p} owns a {animal}, and its name is {pet}.",
        ),
        ("{p} shares the house with {pet}, a {animal}.",),
    ),
    (
        Question(
            Templates(
                (
                    "What is the name of {p}'s {animal}?",
                    "What is {p}'s {animal} called?",
                    "What name does the {animal} of {p} have?",
                    "How is the {animal} of {p} called?",
                    "Tell me the name of the {animal}.",
                    "What does {p} call the {animal}?",
                ),
                ("Which name did {p} give to the {animal}?",),
            ),
            "The {animal} is called {pet}.",
        ),
        Question(
            Templates(
                ("What animal does {p} have?", "What pet does {p} have?", "Which animal does {p} keep?"),
                ("What kind of animal does {p} own?",),
            ),
            "{p} has a {animal}.",
        ),
        Question(
            Templates(("Who is {pet}?", "What kind of animal is {pet}?"), ("What sort of creature is {pet}?",)),
            "{pet} is the {animal} of {p}.",
        ),
    ),
)
FIND = FactKind(
    "find",
    "thing",
    _find,
    Templates(
        (
            "{p} found a {thing} near the {spot}.",
            "{p} found a {thing} by the {spot}.",
            "{p} discovered a {thing} behind the {spot}.",
            "{p} picked up a {thing} at the {spot}.",
        ),
        ("{p} came upon a {thing} near the {spot}.",),
    ),
    (
        Question(
            Templates(
                (
                    "What did {p} find?",
                    "What has {p} found?",
                    "Which thing did {p} find?",
                    "What did {p} pick up?",
                    "What did {p} discover?",
                    "What did {p} find at the {spot}?",
                ),
                ("What thing was found by {p}?",),
            ),
            "{p} found a {thing}.",
        ),
        Question(
            Templates(
                (
                    "Where did {p} find the {thing}?",
                    "Where was the {thing} found?",
                    "At which place was the {thing}?",
                    "Where has {p} found the {thing}?",
                    "Where did {p} discover the {thing}?",
                    "Where was the {thing}?",
                ),
                ("At what spot did {p} find the {thing}?",),
            ),
            "The {thing} was at the {spot}.",
        ),
        Question(
            Templates(("Who found the {thing}?", "Who discovered the {thing}?"), ("By whom was the {thing} found?",)),
            "{p} found the {thing}.",
        ),
    ),
)
FLOCK = FactKind(
    "herd",
    "herd",
    _herd,
    Templates(
        (
            "{p} has {count} {herd}.",
            "{p} keeps {count} {herd}.",
            "{p} owns {count} {herd}.",
            "{p} looks after {count} {herd}.",
        ),
        ("{p} takes care of {count} {herd}.",),
    ),
    (
        Question(
            Templates(
                (
                    "How many {herd} does {p} have?",
                    "How many {herd} does {p} own?",
                    "What number of {herd} does {p} have?",
                    "How many {herd} has {p}?",
                    "How many {herd} does {p} look after?",
                    "How many {herd} does {p} keep?",
                    "How many {herd} are there?",
                ),
                ("What is the number of {herd} that {p} has?",),
            ),
            "{p} has {count} {herd}.",
        ),
        Question(
            Templates(
                ("Who has {count} {herd}?", "Who keeps {herd}?", "Who has {herd}?"),
                ("Who is the owner of the {herd}?",),
            ),
            "{p} has {count} {herd}.",
        ),
    ),
)
GIFT = FactKind(
    "gift",
    "friend",
    _gift,
    Templates(
        (
            "{p} gave {friend} a {thing}.",
            "{p} gave a {thing} to {friend}.",
            "{p} sent {friend} a {thing} as a gift.",
            "{p} made a {thing} for {friend}.",
        ),
        ("{p} presented {friend} with a {thing}.",),
    ),
    (
        Question(
            Templates(
                (
                    "What did {p} give to {friend}?",
                    "What was the gift of {p} for {friend}?",
                    "What did {p} have for {friend}?",
                    "What did {friend} receive?",
                    "What did {p} give {friend}?",
                    "What did {friend} get from {p}?",
                ),
                ("Which gift did {p} have for {friend}?",),
            ),
            "{p} gave {friend} a {thing}.",
        ),
        Question(
            Templates(
                (
                    "Who gave {friend} a {thing}?",
                    "Who gave the {thing} to {friend}?",
                    "Who had a gift for {friend}?",
                ),
                ("From whom did {friend} get the {thing}?",),
            ),
            "{p} gave {friend} a {thing}.",
        ),
        Question(
            Templates(
                ("Who got the {thing}?", "Who got a {thing} from {p}?", "To whom did {p} give the {thing}?"),
                ("Who was given the {thing}?",),
            ),
            "{friend} got the {thing}.",
        ),
    ),
)
COLOUR = FactKind(
    "colour",
    "owned",
    _colour,
    Templates(
        ("{p} has a {colour} {owned}.", "{p} painted the {owned} {colour}.", "{p} owns a {colour} {owned}."),
        ("{p} is proud of a {colour} {owned}.",),
    ),
    (
        Question(
            Templates(
                (
                    "What colour is the {owned} of {p}?",
                    "What is the colour of {p}'s {owned}?",
                    "Which colour is the {owned} of {p}?",
                    "In what colour is the {owned} of {p}?",
                    "What colour is {p}'s {owned}?",
                    "What color is {p}'s {owned}?",
                ),
                ("Which colour does {p}'s {owned} have?",),
            ),
            "The {owned} of {p} is {colour}.",
        ),
        Question(
            Templates(
                ("Who has a {colour} {owned}?", "Whose {owned} is {colour}?"), ("Who owns the {colour} {owned}?",)
            ),
            "The {owned} of {p} is {colour}.",
        ),
    ),
)
