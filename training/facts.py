"""Kinds of facts about a person: how a passage states them, how one asks for them, what the answer is.

Every sentence has the person as its subject, so that a pronoun can stand in.
"""

from collections.abc import Callable
from dataclasses import dataclass

from training.vocabulary import ANIMALS, COLOURS, EVENTS, FOODS, HERD, HOBBIES, JOBS, SHOPS, SPOTS, VEHICLES
from training.world import Templates, World, with_article

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


def _home(world: World) -> Slots:
    return {"place": world.place()}


def _job(world: World) -> Slots:
    return {"job": with_article(world.pick(JOBS))}


def _age(world: World) -> Slots:
    return {"age": str(world.number(6, 98))}


def _purchase(world: World) -> Slots:
    return {"thing": world.thing(), "price": world.price(), "shop": world.pick(SHOPS)}


def _pet(world: World) -> Slots:
    return {"animal": world.pick(ANIMALS), "pet": world.person(0).name}


def _meeting(world: World) -> Slots:
    return {"friend": world.person().name, "place": world.place(), "day": world.weekday()}


def _trip(world: World) -> Slots:
    return {"place": world.place(), "vehicle": world.pick(VEHICLES), "date": world.date()}


def _taste(world: World) -> Slots:
    return {"food": world.pick(FOODS)}


def _hobby(world: World) -> Slots:
    return {"hobby": world.pick(HOBBIES)}


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


def _event(world: World) -> Slots:
    return {"event": world.pick(EVENTS), "date": world.date(), "place": world.place()}


def _wake(world: World) -> Slots:
    return {
        "time": world.time(),
        "act": world.pick(
            (
                "gets up",
                "opens the shop",
                "goes to bed",
                "feeds the animals",
                "leaves the house",
                "has lunch",
                "starts work",
            )
        ),
    }


KINDS: tuple[FactKind, ...] = (
    FactKind(
        "home",
        "place",
        _home,
        Templates(
            (
                "{p} lives in {place}.",
                "{p} has lived in {place} for years.",
                "{p} has a small house in {place}.",
                "{p} has a home in {place}.",
                "{p} is from {place}.",
                "{p} comes from {place} and still lives there.",
            ),
            ("{p} settled in {place} long ago.", "{p} rents a flat in {place}."),
        ),
        (
            Question(
                Templates(
                    (
                        "Where does {p} live?",
                        "In which town does {p} live?",
                        "What town does {p} live in?",
                        "Where is {p} from?",
                        "In what town is {p} living?",
                        "What is the home town of {p}?",
                        "Where is {p} living?",
                        "Where is the home of {p}?",
                    ),
                    ("Which town is {p} at home in?", "Do you know where {p} lives?"),
                ),
                "{p} lives in {place}.",
            ),
            Question(
                Templates(
                    ("Who lives in {place}?", "Which person lives in {place}?", "Who has a home in {place}?"),
                    ("Name the person who lives in {place}.",),
                ),
                "{p} lives in {place}.",
            ),
        ),
    ),
    FactKind(
        "job",
        "job",
        _job,
        Templates(
            (
                "{p} is {job}.",
                "{p} works as {job}.",
                "{p} has worked as {job} for a long time.",
                "{p} became {job} last year.",
                "{p} earns a living as {job}.",
            ),
            ("{p} makes money as {job}.", "By trade, {p} is {job}."),
        ),
        (
            Question(
                Templates(
                    (
                        "What is the job of {p}?",
                        "What does {p} do for a living?",
                        "What does {p} work as?",
                        "What is {p}'s job?",
                        "Which job does {p} have?",
                        "What is {p} by profession?",
                        "Tell me the job of {p}.",
                        "What work does {p} do?",
                    ),
                    ("How does {p} earn money?", "What is {p}'s trade?"),
                ),
                "{p} is {job}.",
            ),
            Question(
                Templates(
                    ("Who is {job}?", "Who works as {job}?", "Which person is {job}?"),
                    ("Name the person who is {job}.",),
                ),
                "{p} is {job}.",
            ),
        ),
    ),
    FactKind(
        "age",
        "age",
        _age,
        Templates(
            (
                "{p} is {age} years old.",
                "{p} turned {age} this year.",
                "{p} is {age}.",
                "{p} just turned {age} years old.",
            ),
            ("{p} has reached the age of {age}.",),
        ),
        (
            Question(
                Templates(
                    (
                        "How old is {p}?",
                        "What is the age of {p}?",
                        "What is {p}'s age?",
                        "Do you know how old {p} is?",
                        "Can you tell me how old {p} is?",
                        "What age is {p}?",
                    ),
                    ("How many years old is {p}?", "Tell me {p}'s age."),
                ),
                "{p} is {age} years old.",
            ),
        ),
    ),
    FactKind(
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
    ),
    FactKind(
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
    ),
    FactKind(
        "meeting",
        "friend",
        _meeting,
        Templates(
            (
                "{p} met {friend} in {place} on {day}.",
                "{p} met {friend} on {day} in {place}.",
                "{p} ran into {friend} in {place} on {day}.",
                "{p} had lunch with {friend} in {place} on {day}.",
            ),
            ("{p} saw {friend} in {place} last {day}.",),
        ),
        (
            Question(
                Templates(
                    (
                        "Who did {p} meet?",
                        "Who has {p} met?",
                        "Which person did {p} meet?",
                        "Who did {p} see?",
                        "Who did {p} run into?",
                        "Whom did {p} meet?",
                        "Who did {p} meet on {day}?",
                        "Who did {p} meet in {place}?",
                    ),
                    ("With whom did {p} spend time?",),
                ),
                "{p} met {friend}.",
            ),
            Question(
                Templates(
                    (
                        "Where did {p} meet {friend}?",
                        "Where was it that {p} met {friend}?",
                        "In what town did {p} and {friend} meet?",
                        "Where has {p} met {friend}?",
                        "Where did {p} and {friend} meet?",
                        "In which town did {p} meet {friend}?",
                    ),
                    ("In what place did {p} and {friend} see each other?",),
                ),
                "{p} met {friend} in {place}.",
            ),
            Question(
                Templates(
                    (
                        "When did {p} meet {friend}?",
                        "On what day did {p} meet {friend}?",
                        "What day did {p} meet {friend}?",
                        "When was it that {p} met {friend}?",
                        "On which day did {p} meet {friend}?",
                        "When did {p} and {friend} meet?",
                    ),
                    ("What day was it when {p} met {friend}?",),
                ),
                "{p} met {friend} on {day}.",
            ),
            Question(
                Templates(("Who met {friend}?", "Who ran into {friend}?"), ("Who was it that met {friend}?",)),
                "{p} met {friend}.",
            ),
        ),
    ),
    FactKind(
        "trip",
        "place",
        _trip,
        Templates(
            (
                "{p} went to {place} by {vehicle} on {date}.",
                "{p} travelled to {place} by {vehicle} on {date}.",
                "{p} took a {vehicle} to {place} on {date}.",
                "{p} left for {place} by {vehicle} on {date}.",
            ),
            ("{p} made a journey to {place} by {vehicle} on {date}.",),
        ),
        (
            Question(
                Templates(
                    (
                        "Where did {p} go?",
                        "Where did {p} travel to?",
                        "Which place did {p} visit?",
                        "Where has {p} been?",
                        "To which town did {p} go?",
                        "Which town did {p} travel to?",
                        "Where did {p} go on {date}?",
                    ),
                    ("What was the goal of {p}'s journey?",),
                ),
                "{p} went to {place}.",
            ),
            Question(
                Templates(
                    (
                        "How did {p} go to {place}?",
                        "How did {p} travel?",
                        "What did {p} take to get to {place}?",
                        "Which way of travel did {p} choose?",
                        "By what did {p} travel?",
                        "How did {p} get to {place}?",
                        "How did {p} travel to {place}?",
                    ),
                    ("By what means did {p} reach {place}?",),
                ),
                "{p} went to {place} by {vehicle}.",
            ),
            Question(
                Templates(
                    (
                        "When did {p} go to {place}?",
                        "When did {p} travel to {place}?",
                        "On which date did {p} go to {place}?",
                        "What was the date of the trip to {place}?",
                        "When was {p} in {place}?",
                        "On what date did {p} travel?",
                        "When did {p} leave for {place}?",
                    ),
                    ("What was the date of {p}'s trip?",),
                ),
                "{p} went to {place} on {date}.",
            ),
            Question(
                Templates(
                    ("Who went to {place}?", "Who travelled to {place}?", "Who took a {vehicle} to {place}?"),
                    ("Which person made a trip to {place}?",),
                ),
                "{p} went to {place}.",
            ),
        ),
    ),
    FactKind(
        "taste",
        "food",
        _taste,
        Templates(
            (
                "{p} likes {food}.",
                "{p} loves {food}.",
                "{p} is very fond of {food}.",
                "{p} eats {food} whenever possible.",
            ),
            ("{p} cannot get enough of {food}.",),
        ),
        (
            Question(
                Templates(
                    (
                        "What does {p} like?",
                        "What does {p} love?",
                        "What is {p} fond of?",
                        "What does {p} like best?",
                        "What does {p} like to eat or drink?",
                        "Which food does {p} like?",
                    ),
                    ("What would {p} gladly be served?",),
                ),
                "{p} likes {food}.",
            ),
            Question(
                Templates(("Who likes {food}?", "Who loves {food}?"), ("Who is fond of {food}?",)), "{p} likes {food}."
            ),
        ),
    ),
    FactKind(
        "hobby",
        "hobby",
        _hobby,
        Templates(
            (
                "{p} enjoys {hobby}.",
                "{p} spends every weekend on {hobby}.",
                "{p} has a hobby, {hobby}.",
                "{p} is good at {hobby}.",
            ),
            ("{p} fills free hours with {hobby}.",),
        ),
        (
            Question(
                Templates(
                    (
                        "What is the hobby of {p}?",
                        "What hobby does {p} have?",
                        "What is {p}'s hobby?",
                        "Which hobby does {p} have?",
                        "What is {p} good at?",
                        "What does {p} enjoy?",
                        "What does {p} do for fun?",
                    ),
                    ("How does {p} spend free time?",),
                ),
                "The hobby of {p} is {hobby}.",
            ),
            Question(
                Templates(("Who enjoys {hobby}?", "Whose hobby is {hobby}?"), ("Who does {hobby} for fun?",)),
                "The hobby of {p} is {hobby}.",
            ),
        ),
    ),
    FactKind(
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
                Templates(
                    ("Who found the {thing}?", "Who discovered the {thing}?"), ("By whom was the {thing} found?",)
                ),
                "{p} found the {thing}.",
            ),
        ),
    ),
    FactKind(
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
    ),
    FactKind(
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
    ),
    FactKind(
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
    ),
    FactKind(
        "event",
        "event",
        _event,
        Templates(
            (
                "{p} will go to the {event} in {place} on {date}.",
                "{p} will be at the {event} in {place} on {date}.",
                "{p} has a ticket for the {event} in {place} on {date}.",
                "{p} is helping at the {event} in {place} on {date}.",
            ),
            ("{p} looks forward to the {event} in {place} on {date}.",),
        ),
        (
            Question(
                Templates(
                    (
                        "When is the {event}?",
                        "On which day is the {event}?",
                        "When does the {event} take place?",
                        "What is the date of the {event}?",
                        "On what date is the {event}?",
                        "When is the {event} in {place}?",
                        "What date is the {event}?",
                    ),
                    ("Which day is the {event} held on?",),
                ),
                "The {event} is on {date}.",
            ),
            Question(
                Templates(
                    (
                        "Where is the {event}?",
                        "Where does the {event} take place?",
                        "Which town has the {event}?",
                        "In what town is the {event}?",
                        "In which town is the {event}?",
                        "Where will the {event} be?",
                    ),
                    ("Which town holds the {event}?",),
                ),
                "The {event} is in {place}.",
            ),
            Question(
                Templates(
                    ("Who will be at the {event}?", "Who will go to the {event}?"), ("Who plans to be at the {event}?",)
                ),
                "{p} will be at the {event}.",
            ),
        ),
    ),
    FactKind(
        "routine",
        "act",
        _wake,
        Templates(
            (
                "{p} {act} at {time}.",
                "{p} always {act} at {time}.",
                "{p} usually {act} at {time}.",
                "{p} {act} at {time} every day.",
            ),
            ("{p} {act} at {time} as a rule.",),
        ),
        (
            Question(
                Templates(
                    ("What does {p} do at {time}?", "What does {p} do every day at {time}?"),
                    ("What happens at {time} with {p}?",),
                ),
                "{p} {act} at {time}.",
            ),
            Question(
                Templates(
                    ("At what time does {p} do this: {act}?", "Who {act} at {time}?"),
                    ("Which person {act} at {time}?",),
                ),
                "{p} {act} at {time}.",
            ),
        ),
    ),
)
