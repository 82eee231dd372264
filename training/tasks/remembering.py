"""What users tell of themselves and ask back later, and the names that a system prompt gives minnow."""

from training.exchange import Exchange, ask, reply
from training.phrasing import casual
from training.sample import Message
from training.vocabulary import COLOURS, FOODS, HOBBIES, JOBS
from training.world import Templates, World, with_article

MEMORIES = (
    (
        Templates(
            ("My name is {v}.", "I am {v}.", "Call me {v}.", "You can call me {v}."), ("People know me as {v}.",)
        ),
        "Hello, {v}! What can I do for you?",
        Templates(
            ("What is my name?", "Who am I?", "Do you remember my name?", "What did I say my name was?"),
            ("How am I called?",),
        ),
        "Your name is {v}.",
    ),
    (
        Templates(("I live in {v}.", "I come from {v}.", "My home is in {v}."), ("I am a citizen of {v}.",)),
        "{v} sounds like a nice place.",
        Templates(("Where do I live?", "Which town do I live in?", "Where am I from?"), ("What is my town?",)),
        "You live in {v}.",
    ),
    (
        Templates(
            ("My favourite colour is {v}.", "I like the colour {v}.", "My favorite color is {v}."),
            ("No colour is as nice as {v}.",),
        ),
        "{v} is a beautiful colour.",
        Templates(
            ("What is my favourite colour?", "Which colour do I like?", "What is my favorite color?"),
            ("What colour pleases me?",),
        ),
        "Your favourite colour is {v}.",
    ),
    (
        Templates(("I like {v}.", "My favourite food is {v}.", "I love {v}."), ("I eat {v} all the time.",)),
        "I cannot eat, but {v} sounds good.",
        Templates(
            ("What do I like?", "What is my favourite food?", "What food do I like?"), ("What would I like to eat?",)
        ),
        "You like {v}.",
    ),
    (
        Templates(("I work as {v}.", "I am {v}.", "My job is this: I am {v}."), ("I earn my bread as {v}.",)),
        "That is good work.",
        Templates(
            ("What is my job?", "What do I do for a living?", "What do I work as?"), ("How do I earn my bread?",)
        ),
        "You are {v}.",
    ),
    (
        Templates(
            ("I have a dog named {v}.", "My dog is called {v}.", "My dog's name is {v}."),
            ("There is a dog at my home, {v}.",),
        ),
        "{v} is a good name for a dog.",
        Templates(
            ("What is my dog called?", "What is the name of my dog?", "What is my dog's name?"),
            ("How do I call my dog?",),
        ),
        "Your dog is called {v}.",
    ),
    (
        Templates(
            ("My hobby is {v}.", "I enjoy {v}.", "In my free time I like {v}."), ("I fill my evenings with {v}.",)
        ),
        "That sounds like fun.",
        Templates(("What is my hobby?", "What do I enjoy?"), ("What do I do in the evenings?",)),
        "Your hobby is {v}.",
    ),
)


def memory(world: World) -> Exchange:
    """Things the user tells about themselves and asks back later, one of them perhaps never told."""
    values = (
        world.person(0).name,
        world.place(),
        world.pick(COLOURS),
        world.pick(FOODS),
        with_article(world.pick(JOBS)),
        world.person(0).name,
        world.pick(HOBBIES),
    )
    indices = world.some(range(len(MEMORIES)), world.number(1, 3))
    messages: list[Message] = []
    told: dict[int, str] = {}
    for index in indices:
        tell, react, _, _ = MEMORIES[index]
        reaction = react.format(v=values[index])
        told[index] = casual(world, world.say(tell, v=values[index]))
        messages += [ask(told[index]), reply(reaction[0].upper() + reaction[1:])]
    if world.chance(0.2):
        index = world.pick([i for i in range(len(MEMORIES)) if i not in indices])
        answer = reply("You have not told me.", "")
    else:
        index = world.pick(indices)
        answer = reply(MEMORIES[index][3].format(v=values[index]), told[index])
    question = ask(casual(world, world.wording(MEMORIES[index][2])))
    return Exchange("memory", tuple(messages), later=(question, answer), introduces=True)


PERSONAS = Templates(
    (
        "You are {n}, {j} in {place}.",
        "Your name is {n}. You are {j} from {place}.",
        "You are {n}. You work as {j} in {place}.",
        "Play {n}, {j} who lives in {place}.",
    ),
    ("From now on you act as {n}, {j} of {place}.",),
)
PERSONA_TURNS = (
    (
        Templates(
            ("Who are you?", "What is your name?", "Introduce yourself.", "Tell me about yourself."),
            ("With whom do I have the pleasure?",),
        ),
        "I am {n}, {j} from {place}.",
    ),
    (
        Templates(
            ("Where do you live?", "Where are you from?", "Which town do you live in?"), ("What town is yours?",)
        ),
        "I live in {place}.",
    ),
    (
        Templates(("What do you do?", "What is your job?", "What do you work as?"), ("How do you earn money?",)),
        "I am {j}.",
    ),
    (
        Templates(("Hello!", "Hi!", "Good morning!", "Hello", "Hi there!"), ("Greetings!",)),
        "Hello! I am {n}. What can I do for you?",
    ),
)


def persona(world: World) -> Exchange:
    """A system prompt that gives minnow another name, and questions about it."""
    slots = {"n": world.person(0.1).name, "j": with_article(world.pick(JOBS)), "place": world.place()}
    messages = []
    for questions, answer in world.some(PERSONA_TURNS, world.number(1, 3)):
        messages += [ask(casual(world, world.wording(questions))), reply(answer.format(**slots))]
    return Exchange("persona", tuple(messages), system=world.say(PERSONAS, **slots), joins=False)
