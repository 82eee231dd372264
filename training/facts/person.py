"""What somebody is, likes and does every day: home, work, age, tastes, hobbies, routines."""

from training.facts.kind import FactKind, Question, Slots
from training.vocabulary import FOODS, HOBBIES, JOBS
from training.world import Templates, World, with_article


def _home(world: World) -> Slots:
    return {"place": world.place()}


def _job(world: World) -> Slots:
    return {"job": with_article(world.pick(JOBS))}


def _age(world: World) -> Slots:
    return {"age": str(world.number(6, 98))}


def _taste(world: World) -> Slots:
    return {"food": world.pick(FOODS)}


def _hobby(world: World) -> Slots:
    return {"hobby": world.pick(HOBBIES)}


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


HOME = FactKind(
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
)
JOB = FactKind(
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
)
AGE = FactKind(
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
)
TASTE = FactKind(
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
)
HOBBY = FactKind(
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
)
ROUTINE = FactKind(
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
)
