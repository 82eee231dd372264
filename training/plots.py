"""Plots of short stories: what may happen in each sentence, and the one line that sums it up."""

import re
from dataclasses import dataclass

from training.vocabulary import ANIMALS, COLOURS, EVENTS, FOODS, JOBS, SPOTS, THINGS, WEEKDAYS
from training.world import Person, World, with_article

Slots = dict[str, str]


@dataclass(frozen=True, slots=True)
class Plot:
    """Alternatives for each sentence in order, and the summary."""

    name: str
    sentences: tuple[tuple[str, ...], ...]
    summary: str


PLOTS: tuple[Plot, ...] = (
    Plot(
        "lost",
        (
            ("One morning {p} lost a {thing} near the {spot}.", "On {day}, {p} lost a {thing} near the {spot}."),
            (
                "{P} looked everywhere, but it was gone.",
                "{P} searched for hours and found nothing.",
                "{P} asked everyone and grew sad.",
            ),
            (
                "Then {f} came by and saw something shine in the grass.",
                "In the evening {f} walked past the {spot} and saw it.",
                "But {f} had seen it fall and had picked it up.",
            ),
            (
                "{f} brought the {thing} back, and {p} was very glad.",
                "{f} knocked on the door with the {thing}, and {p} could not believe it.",
            ),
            (
                "They shared {food} and became good friends.",
                "To say thank you, {p} cooked {food} for {f}.",
                "From that day on they were friends.",
            ),
        ),
        "{p} lost a {thing} and {f} found it.",
    ),
    Plot(
        "contest",
        (
            (
                "{p}, {job}, wanted to win the {event} in {place}.",
                "Every year there was a {event} in {place}, and {p}, {job}, wanted to win it.",
            ),
            (
                "{P} practised day and night.",
                "{P} practised for weeks, even in the rain.",
                "The neighbours laughed, but {p} did not give up.",
            ),
            ("On the day of the {event} the whole town was there.", "When {day} came, the square was full of people."),
            (
                "{f} was good, but {p} was better.",
                "{f} came close, but {p} made no mistake.",
                "{p} took a deep breath and did not look at {f}.",
            ),
            (
                "In the end {p} won, and everybody cheered.",
                "{p} won first prize, a {thing}.",
                "{p} won, and even {f} clapped.",
            ),
        ),
        "{p} won the {event} in {place}.",
    ),
    Plot(
        "storm",
        (
            ("A storm came over {place} on {day} night.", "One night a great storm broke over {place}."),
            (
                "The wind tore at the roofs and the river rose.",
                "The rain fell so hard that nobody could see the {spot}.",
            ),
            (
                "{p} heard {f} call for help from the {spot}.",
                "{f} was trapped at the {spot}, and only {p} heard the cries.",
            ),
            ("{P} took a rope and a lantern and went out.", "{P} did not wait, and ran into the dark."),
            (
                "Before sunrise both were safe by the fire.",
                "{p} brought {f} home, and they drank hot tea until morning.",
            ),
        ),
        "{p} saved {f} in a storm in {place}.",
    ),
    Plot(
        "pet",
        (
            ("{p} lived alone near the {spot} in {place}.", "In {place}, near the {spot}, lived {p}, {job}."),
            (
                "One day a {colour} {animal} sat in front of the door.",
                "On {day} a hungry {animal} came into the garden.",
            ),
            ("{P} gave it some {food}.", "{P} gave it water and a warm bed."),
            ("The next day the {animal} was still there.", "The {animal} did not want to leave."),
            ("So {p} kept the {animal} and called it {f}.", "{p} named it {f}, and they were never apart again."),
        ),
        "{p} took in a {animal} and called it {f}.",
    ),
    Plot(
        "journey",
        (
            ("{p} had never seen {place}.", "All year {p} dreamed of going to {place}."),
            (
                "On {day} {p} packed a {thing} and set out.",
                "{P} sold a {thing} to pay for the journey and left on {day}.",
            ),
            ("On the road {p} met {f}, {job}, who knew the way.", "The road was long, but {f}, {job}, came along."),
            (
                "They slept under the stars and ate {food}.",
                "They crossed a hill, a forest and a river.",
                "They sang songs to forget their tired feet.",
            ),
            (
                "At last they saw the lights of {place}.",
                "After three days they stood at the {spot} of {place} and smiled.",
            ),
        ),
        "{p} travelled to {place} with {f}.",
    ),
    Plot(
        "repair",
        (
            ("The {thing} of {p} was broken.", "One day the {thing} that {p} loved broke in two."),
            (
                "{P} wanted to throw it away.",
                "{P} had no money for a new one.",
                "{P} sat down by the {spot} and sighed.",
            ),
            ("{f}, {job}, asked to see it.", "But {f}, {job}, said that it could be saved."),
            ("{f} worked on it all night.", "With glue and patience {f} put it together again."),
            (
                "On {day} the {thing} was as good as new, and {p} gave {f} {food}.",
                "The {thing} looked better than before, and {p} danced with joy.",
            ),
        ),
        "{f} repaired the {thing} of {p}.",
    ),
    Plot(
        "gift",
        (
            ("It was the birthday of {f}, and {p} had no gift.", "{p} wanted to give {f} something special."),
            ("{P} had only a few coins.", "The shops in {place} were too dear.", "{P} thought about it all day."),
            ("So {p} made a {thing} by hand.", "In the end {p} built a {thing} out of old wood."),
            ("{f} opened the box and was silent for a moment.", "{f} looked at it for a long time."),
            ('"It is the best gift of all," said {f}.', "Then {f} laughed and hugged {p}.", "{f} kept it for ever."),
        ),
        "{p} made a {thing} for {f}.",
    ),
    Plot(
        "shop",
        (
            (
                "{p} opened a small shop near the {spot} in {place}.",
                "On {day} {p} opened a little shop in {place}, by the {spot}.",
            ),
            ("For a week nobody came.", "At first only the cat looked in.", "The first days were quiet."),
            ("Then {f} tasted the {food} and told everyone.", "One day {f} bought some {food} and loved it."),
            ("Soon there was a long line in front of the door.", "The next morning the whole street wanted some."),
            ("Now {p} and {f} run the shop together.", "{p} thanked {f} and gave away {food} for free that day."),
        ),
        "{p} opened a shop in {place} and {f} made it known.",
    ),
)


def draw_slots(
    world: World, hero: Person | None = None, friend: Person | None = None, place: str | None = None
) -> Slots:
    """Words for every slot of a plot."""
    hero = hero or world.person(0)
    friend = friend or world.person(0)
    return {
        "p": hero.name,
        "P": hero.pronoun,
        "f": friend.name,
        "place": place or world.place(),
        "thing": world.pick(COLOURS) + " " + world.pick(THINGS),
        "spot": world.pick(SPOTS),
        "day": world.pick(WEEKDAYS),
        "food": world.pick(FOODS),
        "job": with_article(world.pick(JOBS)),
        "event": world.pick(EVENTS),
        "colour": world.pick(COLOURS),
        "animal": world.pick(ANIMALS),
    }


def tell(world: World, plot: Plot, slots: Slots) -> str:
    """The story, one sentence of each kind."""
    return " ".join(world.pick(options).format(**slots) for options in plot.sentences)


def _without_articles(text: str) -> str:
    return re.sub(r"\b([Aa])n? ", r"\1 ", text)


def _read_on(text: str, sentences: tuple[tuple[str, ...], ...], slots: Slots) -> Slots | None:
    """The slots with which the sentences, one of each kind, tell exactly this text."""
    if not sentences:
        return None if text else slots
    for option in sentences[0]:
        open_slots: set[str] = set()

        def slot(match: re.Match[str], seen: set[str] = open_slots) -> str:
            name = match.group(1)
            if name in slots:
                return re.escape(slots[name])
            if name in seen:
                return f"(?P={name})"
            seen.add(name)
            return f"(?P<{name}>[^.!?,]{{1,40}}?)"

        pattern = re.sub(r"\\\{(\w+)\\\}", slot, re.escape(_without_articles(option)))
        pattern += r" (?P<rest_>.*)" if len(sentences) > 1 else r"(?P<rest_>)"
        if (match := re.fullmatch(pattern, text)) is None:
            continue
        found = match.groupdict()
        rest = found.pop("rest_")
        if (told := _read_on(rest, sentences[1:], slots | found)) is not None:
            return told
    return None


def slots_of(text: str) -> Slots | None:
    """What fills the slots of a told story (see `tell`); None where the text is no plot told from end to end."""
    return next(
        (slots for plot in PLOTS if (slots := _read_on(_without_articles(text), plot.sentences, {})) is not None),
        None,
    )
