"""Short stories told on request, and short stories summed up in one sentence."""

from training.exchange import Exchange, turns
from training.names import is_held_out
from training.phrasing import Asks, casual, request
from training.plots import PLOTS, draw_slots, tell
from training.vocabulary import CITIES, FIRST_NAMES
from training.world import Person, Templates, World

CAST = tuple(name for name in FIRST_NAMES if not is_held_out(name))[:24]
TOWNS = tuple(name for name in CITIES if not is_held_out(name))[:12]

SUMMARY_REQUESTS = Templates(
    (
        "Summarise this story in one sentence.\n\n{text}",
        "Summarize: {text}",
        "{text}\n\nSum this up in one sentence.",
        "What happens in this story?\n{text}",
        "Give me a short summary of this text.\n\n{text}",
        "Text: {text}\nSummary:",
        "Please summarize the following story in one sentence:\n{text}",
        "Write a one-line summary.\n\n{text}",
        "Summarise the text: {text}",
    ),
    ("Tell me in a few words what this is about: {text}", "I have no time to read this. What is the gist?\n{text}"),
)
SUMMARY_ASKS = Asks(
    (
        "summarise {this}",
        "summarize {this}",
        "sum up {this}",
        "give me a summary of {this}",
        "write a summary of {this}",
        "shorten {this} to one sentence",
        "tell me briefly what happens in {this}",
        "condense {this} into one sentence",
        "summarize {this} in one sentence",
        "summarise {this} briefly",
        "write one sentence that sums up {this}",
        "give a short summary",
        "make a summary of {this}",
        "write a short summary of {this}",
        "say in one sentence what happens in {this}",
        "summarize the main point of {this}",
    ),
    (
        "what happens in {this}",
        "what is the main point of {this}",
        "what is the story of {this} in one sentence",
        "can I have a summary of {this}",
        "what is the short version of {this}",
    ),
)
PLAIN = Templates(
    (
        "Tell me a story.",
        "Tell me a short story.",
        "Write a story.",
        "Write a short story, please.",
        "I would like to hear a story.",
        "Can you tell me a story?",
        "A story, please!",
        "Make up a story.",
        "Tell me another story.",
        "Write me a short tale.",
    ),
    ("Do you know a nice tale?", "Entertain me with a story."),
)
ABOUT = Templates(
    (
        "Tell me a story about {p}.",
        "Write a short story about {p}.",
        "Can you write a story about {p}?",
        "I want a story with {p} in it.",
        "Tell me a short story about {p}, please.",
        "Make up a story about {p}.",
    ),
    ("Could {p} be the hero of a story?",),
)
ABOUT_TWO = Templates(
    (
        "Tell me a story about {p} and {f}.",
        "Write a short story about {p} and {f}.",
        "Can you write a story with {p} and {f}?",
    ),
    ("Invent something in which {p} meets {f}.",),
)
ABOUT_PLACE = Templates(
    (
        "Tell me a story about {p} in {place}.",
        "Write a story about {p} from {place}.",
        "Write a short story in which {p} is in {place}.",
    ),
    ("Let {p} have an adventure in {place}.",),
)


def summary(world: World) -> Exchange:
    """A story and its one sentence."""
    plot, slots = world.pick(PLOTS), draw_slots(world)
    return turns(
        "summary",
        request(world, SUMMARY_REQUESTS, SUMMARY_ASKS, tell(world, plot, slots)),
        plot.summary.format(**slots),
    )


def story(world: World) -> Exchange:
    """A story on request, about whom and where the request says.

    Whoever and wherever it leaves open is of a fixed cast and a few towns: a name made up letter by letter, each as
    likely as the next, is where greedy decoding falls into a loop.
    """
    style = world.number(0, 3)
    hero, friend = (Person(name, world.chance(0.5)) for name in world.some(CAST, 2))
    slots = draw_slots(
        world,
        hero if style == 0 else None,
        None if style == 2 else friend,
        None if style == 3 else world.pick(TOWNS),
    )
    plot = world.pick(PLOTS)
    if style == 3:
        plot = world.pick([plot for plot in PLOTS if "{place}" in plot.summary])
    wish = casual(world, world.say((PLAIN, ABOUT, ABOUT_TWO, ABOUT_PLACE)[style], **slots))
    return turns("story", wish, tell(world, plot, slots), exact=False)
