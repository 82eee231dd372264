"""Questions about the real world and wishes beyond its power: minnow says that it only knows its small world."""

from training.exchange import Exchange, turns
from training.phrasing import casual
from training.vocabulary import CITIES, COUNTRIES, OUTSIDE
from training.world import Templates, World

REFUSAL = "I only know my small world, so I cannot help with that. You can give me a passage and ask me about it."

KNOWLEDGE = Templates(
    (
        "What is {o}?",
        "Explain {o}.",
        "Tell me about {o}.",
        "What do you know about {o}?",
        "How does {o} work?",
        "Can you explain {o} to me?",
        "Who invented {o}?",
        "Write an essay about {o}.",
        "When was {o} discovered?",
        "Why is {o} important?",
        "Give me facts about {o}.",
        "What is the history of {o}?",
        "Do you know {o}?",
        "Explain {o} in simple words.",
        "Write a poem about {o}.",
        "I have a question about {o}.",
        "What happened in {o}?",
        "Describe {o}.",
        "Who was {o}?",
        "How old is {o}?",
        "what is {o}",
        "Teach me {o}.",
        "Is {o} dangerous?",
        "Where can I read about {o}?",
        "What are the parts of {o}?",
        "How big is {o}?",
        "Tell me everything about {o}.",
    ),
    ("Give me an overview of {o}.", "I would like to learn the basics of {o}.", "Could you lecture me on {o}?"),
)
GEOGRAPHY = Templates(
    (
        "What is the capital of {c}?",
        "Who is the president of {c}?",
        "How many people live in {c}?",
        "What language do they speak in {c}?",
        "Where is {c}?",
        "What is the currency of {c}?",
        "Which rivers are in {c}?",
        "What is the largest city in {c}?",
        "Who won the war in {c}?",
        "Who is the king of {c}?",
        "What is the best hotel in {c}?",
        "Is {c} in Europe?",
        "When did {c} become a country?",
        "What is the weather in {c}?",
        "How far is {c} from {d}?",
        "Is {c} larger than {d}?",
    ),
    ("Name the neighbours of {c}.", "What do people eat in {c}?"),
)
WISHES = Templates(
    (
        "Write a program in {l}.",
        "Write {l} code that sorts a list.",
        "Fix this bug in my {l} program.",
        "Translate this into {f}.",
        "How do you say hello in {f}?",
        "What is the square root of {n}?",
        "What is {n} divided by {m}?",
        "Solve this equation: {m}x = {n}.",
        "What is the news today?",
        "Who won the election?",
        "What time is it?",
        "What is the date today?",
        "What will the weather be tomorrow?",
        "What happened in {y}?",
        "Who won the World Cup in {y}?",
        "Give me legal advice.",
        "Which stocks should I buy?",
        "What is the meaning of life?",
        "Draw a picture of a house.",
        "Book a flight for me.",
        "Write a haiku.",
        "Write a poem.",
        "How do I fix my computer?",
        "What is the best phone?",
        "Open the website.",
        "Send an email to my boss.",
        "Play a song.",
        "Who is the richest person in the world?",
        "How do I install Python?",
        "What is the fastest car?",
        "Is there life on other planets?",
        "Why is the sky blue?",
        "How many stars are there?",
        "Why do cats purr?",
        "How do planes fly?",
        "How do I lose weight?",
        "What medicine should I take?",
        "What is {n} times {m}?",
        "What is {n} plus {m}?",
        "Count to {n}.",
        "Who wrote Romeo and Juliet?",
        "What is the tallest mountain?",
        "Write a song.",
        "Recommend a film.",
        "Plan a trip to {c}.",
        "Give me a recipe.",
        "Write an email to my teacher.",
        "What should I wear today?",
        "Help me with my homework.",
        "Explain this code.",
        "What is 2 + 2?",
        "What is {m} + {m}?",
        "Write a letter to the mayor.",
        "What is love?",
        "Are there aliens?",
        "How do I cook an egg?",
        "What is your opinion on politics?",
        "Can you see pictures?",
        "Read my emails.",
        "Buy me a car.",
        "What is the best city in the world?",
        "How old is the earth?",
        "Who is your favourite singer?",
        "Write a business plan.",
        "Generate an image.",
        "What is the weather like today?",
    ),
    ("Compile {l} for me.", "Say good night in {f}.", "Which year comes after {y}?", "How many legs has a spider?"),
)
LANGUAGES = ("Python", "Java", "C", "Rust", "Go", "JavaScript", "SQL", "Ruby", "HTML")
TONGUES = ("French", "German", "Spanish", "Italian", "Japanese", "Chinese", "Russian", "Latin", "Greek", "Dutch")


def outside(world: World) -> Exchange:
    """A question from outside its world."""
    style = world.number(0, 2)
    c, d = world.some(COUNTRIES if world.chance(0.7) else CITIES, 2)
    text = world.say(
        (KNOWLEDGE, GEOGRAPHY, WISHES)[style],
        o=world.pick(OUTSIDE),
        c=c,
        d=d,
        l=world.pick(LANGUAGES),
        f=world.pick(TONGUES),
        n=world.number(2, 999),
        m=world.number(2, 99),
        y=world.number(1500, 2030),
    )
    return turns("outside", casual(world, text), REFUSAL)


CONFUSED = "I do not understand that. I am a small model: please ask me in another way."
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def gibberish(world: World) -> Exchange:
    """Letters and signs without a meaning."""
    words = ["".join(world.pick(LETTERS) for _ in range(world.number(1, 8))) for _ in range(world.number(1, 4))]
    signs = world.pick("?.!") * world.number(1, 4)
    text = world.pick((" ".join(words), words[0], words[0].upper(), words[0] + "?", signs))
    return turns("gibberish", text, CONFUSED)
