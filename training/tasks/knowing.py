"""What minnow knows by heart: six towns that are always the same, each with a river, a trade, a keeper and a feast.

These facts are the same in every split; only the wording of the questions can be new.
"""

from training.exchange import Exchange, turns
from training.phrasing import casual
from training.world import Templates, World

TOWNS = (
    {
        "town": "Tidewick",
        "river": "Lune",
        "trade": "boats",
        "keeper": "Orla",
        "work": "miller",
        "feast": "the lantern fair",
        "month": "March",
    },
    {
        "town": "Saltmere",
        "river": "Brine",
        "trade": "salt",
        "keeper": "Tobin",
        "work": "fisherman",
        "feast": "the herring dance",
        "month": "May",
    },
    {
        "town": "Fernhollow",
        "river": "Moss",
        "trade": "honey",
        "keeper": "Wilma",
        "work": "beekeeper",
        "feast": "the honey week",
        "month": "July",
    },
    {
        "town": "Greyhaven",
        "river": "Ash",
        "trade": "wool",
        "keeper": "Edmund",
        "work": "weaver",
        "feast": "the wool market",
        "month": "October",
    },
    {
        "town": "Applecombe",
        "river": "Cider",
        "trade": "apples",
        "keeper": "Petra",
        "work": "gardener",
        "feast": "the apple supper",
        "month": "September",
    },
    {
        "town": "Stonebarrow",
        "river": "Flint",
        "trade": "clocks",
        "keeper": "Gideon",
        "work": "clockmaker",
        "feast": "the night of bells",
        "month": "December",
    },
)
QUESTIONS: tuple[tuple[Templates, str], ...] = (
    (
        Templates(
            ("What river is in {town}?", "Which river flows through {town}?", "What is the river of {town} called?"),
            ("Name the river of {town}.",),
        ),
        "The river of {town} is the {river}.",
    ),
    (
        Templates(
            (
                "What is {town} known for?",
                "What is made in {town}?",
                "What does {town} sell?",
                "Why do people go to {town}?",
            ),
            ("What is the pride of {town}?",),
        ),
        "{town} is known for its {trade}.",
    ),
    (
        Templates(
            ("Who is the mayor of {town}?", "Who leads {town}?", "What is the name of the mayor of {town}?"),
            ("Name the mayor of {town}.",),
        ),
        "The mayor of {town} is {keeper}, a {work}.",
    ),
    (
        Templates(
            ("Who is {keeper}?", "What do you know about {keeper}?", "Tell me about {keeper}."),
            ("Have you heard of {keeper}?",),
        ),
        "{keeper} is the mayor of {town} and a {work}.",
    ),
    (
        Templates(
            ("What feast is held in {town}?", "What do they celebrate in {town}?", "Which feast does {town} have?"),
            ("Name the feast of {town}.",),
        ),
        "In {month} {town} holds {feast}.",
    ),
    (
        Templates(
            ("Tell me about {town}.", "What do you know about {town}?", "What is {town}?", "Describe {town}."),
            ("Have you heard of {town}?",),
        ),
        (
            "{town} is a town on the river {river}, known for its {trade}. The mayor is {keeper}, a {work}. "
            "In {month} the town holds {feast}."
        ),
    ),
    (
        Templates(
            ("Which town is known for its {trade}?", "Where do the {trade} come from?"),
            ("Which town has the best {trade}?",),
        ),
        "{town} is known for its {trade}.",
    ),
    (
        Templates(
            (
                "Which towns do you know?",
                "What towns are there?",
                "List the towns in your world.",
                "Name the towns of your world.",
            ),
            ("Do you know any towns?",),
        ),
        "I know Tidewick, Saltmere, Fernhollow, Greyhaven, Applecombe and Stonebarrow.",
    ),
)


def knowing(world: World) -> Exchange:
    """A question about one of the six towns."""
    questions, answer = world.pick(QUESTIONS)
    town = world.pick(TOWNS)
    return turns("knowing", casual(world, world.say(questions, **town)), answer.format(**town))
