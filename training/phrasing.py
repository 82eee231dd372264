"""Many ways to ask for the same thing: a request put together from a frame, an ask, a name for the text, and a layout.

Fixed templates alone would teach the model their letters; the combinations here teach it which words matter.
"""

from dataclasses import dataclass

from training.world import Split, Templates, World

COMPOSED_SHARE = 0.65
THIS = (
    "this text",
    "the text",
    "the following text",
    "this",
    "the text below",
    "the following",
    "the text above",
    "that text",
)
IMPERATIVE_FRAMES = (
    "{a}.",
    "{a}.",
    "{a}",
    "Please {a}.",
    "Please {a}",
    "Can you {a}?",
    "Could you {a}?",
    "I want you to {a}.",
    "{a}, please.",
    "I need you to {a}.",
    "Your task: {a}.",
    "Hi! Please {a}.",
    "Would you {a}?",
    "Now {a}.",
    "Task: {a}",
    "You should {a}.",
)
QUESTION_FRAMES = (
    "{a}?",
    "{a}?",
    "{a}",
    "Tell me, {a}?",
    "Please tell me: {a}?",
    "Hello! {a}?",
    "Question: {a}?",
    "One question: {a}?",
    "So, {a}?",
)
LAYOUTS = (
    "{ask}\n\n{text}",
    "{ask}\n{text}",
    "{text}\n\n{ask}",
    "{text}\n{ask}",
    "{ask} {text}",
    "{ask}\n\nText: {text}",
    "Text: {text}\n\n{ask}",
    '{ask}\n"{text}"',
    '"{text}"\n\n{ask}',
    "{ask}\nInput: {text}",
    "{ask}\n\n{text}\n",
    "Here is a text: {text}\n{ask}",
    "{ask}\n---\n{text}",
)
CONTRACTIONS = (
    ("What is", "What's"),
    ("Who is", "Who's"),
    ("Where is", "Where's"),
    ("I am", "I'm"),
    ("do not", "don't"),
    ("How is", "How's"),
    ("what is", "what's"),
)


@dataclass(frozen=True, slots=True)
class Asks:
    """Ways to put a wish (`imperatives`) or to ask (`questions`), with a slot {this} for the text."""

    imperatives: tuple[str, ...]
    questions: tuple[str, ...]


def request(world: World, templates: Templates, asks: Asks, text: str, **slots: object) -> str:
    """A request about a text: one of the fixed templates, or put together."""
    if world.split is Split.NEW_TEMPLATES or not world.chance(COMPOSED_SHARE):
        return world.say(templates, text=text, **slots)
    questioning = world.chance(len(asks.questions) / (len(asks.questions) + len(asks.imperatives)))
    ask = world.pick(asks.questions if questioning else asks.imperatives).format(this=world.pick(THIS), **slots)
    framed = world.pick(QUESTION_FRAMES if questioning else IMPERATIVE_FRAMES).format(a=ask)
    framed = framed[0].upper() + framed[1:] if world.chance(0.85) else framed
    if world.chance(0.2):
        framed = framed.rstrip(".?") + ":"
        return world.pick(("{ask} {text}", "{ask}\n{text}", "{ask}\n\n{text}")).format(ask=framed, text=text)
    return world.pick(LAYOUTS).format(ask=framed, text=text)


def casual(world: World, text: str) -> str:
    """A remark as people type it: now and then contracted, without a capital, or without its last stop."""
    if world.split is Split.NEW_TEMPLATES:
        return text
    if world.chance(0.15):
        for full, short in CONTRACTIONS:
            text = text.replace(full, short)
    if world.chance(0.12):
        text = text[0].lower() + text[1:]
    if world.chance(0.12):
        text = text.rstrip(".!?") or text
    if world.chance(0.06):
        text = world.pick(("Please ", "So, ", "Well, ", "Hm, ", "Now, ")) + text[0].lower() + text[1:]
    return text
