"""Entities of a text as JSON: the keys that are asked for, in the order asked, null where the text has none."""

import json

from training.exchange import Exchange, ask, reply, turns
from training.phrasing import Asks, request
from training.vocabulary import EVENTS, GOODS, JOBS
from training.world import Templates, World, with_article

Value = str | int | None

REQUESTS = Templates(
    (
        "Extract {keys} from this text as JSON.\n\n{text}",
        "{text}\n\nGive me {keys} as JSON.",
        "Extract as JSON with the keys {keys}: {text}",
        "Text: {text}\nReturn JSON with {keys}.",
        "Read the text and write JSON with the keys {keys}.\n\n{text}",
        "{text}\nExtract {keys} as JSON.",
        "Find {keys} in the text. Answer with JSON only.\nText: {text}",
        "Please extract the entities {keys} as a JSON object:\n{text}",
        "Extract the entities as JSON ({keys}).\n\n{text}",
        "Turn this into JSON with the keys {keys}: {text}",
    ),
    (
        "Which {keys} does this mention? Reply in JSON.\n\n{text}",
        "Fill a JSON record having {keys} out of the following note: {text}",
    ),
)
ASKS = Asks(
    (
        "extract {keys} from {this} as JSON",
        "give me {keys} from {this} as JSON",
        "return {keys} of {this} in JSON format",
        "write {keys} of {this} as a JSON object",
        "find {keys} in {this} and answer in JSON",
        "pull {keys} out of {this} and write JSON",
        "get {keys} from {this} as JSON",
        "list {keys} of {this} as JSON",
        "convert {this} to JSON with {keys}",
        "extract JSON with the keys {keys} from {this}",
        "make a JSON object with the fields {keys} from {this}",
        "output JSON with {keys}",
        "fill in a JSON object with {keys}",
        "extract these entities from {this} as JSON: {keys}",
        "return a JSON object with {keys}",
        "parse {this} into JSON with the fields {keys}",
    ),
    (
        "what are {keys} in {this}, as JSON",
        "which {keys} are in {this}, as JSON",
        "what would a JSON object with {keys} of {this} look like",
    ),
)
TRIPS = Templates(
    (
        "{person} travels to {place} on {date}.",
        "On {date}, {person} left for {place}.",
        "{person} will visit {place} on {date}.",
        "{person} arrived in {place} on {date}.",
        "We expect {person} in {place} on {date}.",
        "{person} moved to {place} on {date}.",
        "I saw {person} in {place} on {date}.",
        "On {date} there was a letter from {person} in {place}.",
        "{person} was born in {place} on {date}.",
        "{person}, who lives in {place}, wrote to us on {date}.",
    ),
    ("The train to {place} took {person} there on {date}.", "Come {date}, {person} is going to be in {place}."),
)
ORDERS = Templates(
    (
        "{person} orders {quantity} {item} for {price}.",
        "I am {person} and I want {quantity} {item}. I will pay {price}.",
        "{quantity} {item} for {person}, please, {price} in all.",
        "Please send {quantity} {item} to {person}. The price is {price}.",
        "{person} bought {quantity} {item} and paid {price}.",
        "Order from {person}: {quantity} {item}, {price}.",
        "{person} would like {quantity} {item}. That makes {price}.",
        "Sold {quantity} {item} to {person} for {price}.",
    ),
    ("For {price}, {person} takes {quantity} {item}.", "Put {quantity} {item} aside for {person}, who owes {price}."),
)
EVENT_TEXTS = Templates(
    (
        "The {event} in {place} starts at {time} on {date}.",
        "Come to the {event} in {place} on {date} at {time}!",
        "On {date} at {time} there is a {event} in {place}.",
        "{place} invites you to the {event} on {date}, at {time}.",
        "Do not miss the {event} in {place}: {date}, {time}.",
        "The next {event} is on {date} at {time} in {place}.",
    ),
    ("People of {place} meet at {time} on {date} for the {event}.", "Mark {date}, {time}: {event} in {place}."),
)
CARDS = Templates(
    (
        "{person} is {a_job} from {place}, {age} years old.",
        "My name is {person}. I am {age} years old and work as {a_job} in {place}.",
        "{person}, {age}, works as {a_job} in {place}.",
        "In {place} lives {person}, {a_job} of {age} years.",
        "{a_job_big} named {person} lives in {place} and is {age}.",
        "Meet {person}: {a_job}, {age}, from {place}.",
    ),
    ("At {age}, {person} of {place} is still {a_job}.", "{place} has a new citizen, {person}, {a_job} aged {age}."),
)
OTHER_KEYS = ("person", "place", "date", "item", "price", "quantity", "event", "time", "job", "age", "email", "phone")


def _draw(world: World) -> tuple[str, dict[str, Value]]:
    kind = world.number(0, 3)
    person, place = world.person().name, world.place()
    if kind == 0:
        values: dict[str, Value] = {"person": person, "place": place, "date": world.date()}
        return world.say(TRIPS, **values), values
    if kind == 1:
        values = {"person": person, "item": world.pick(GOODS), "quantity": world.number(2, 60), "price": world.price()}
        return world.say(ORDERS, **values), values
    if kind == 2:
        values = {"event": world.pick(EVENTS), "place": place, "date": world.date(), "time": world.time()}
        return world.say(EVENT_TEXTS, **values), values
    values = {"person": person, "job": world.pick(JOBS), "age": world.number(16, 90), "place": place}
    a_job = with_article(str(values["job"]))
    return world.say(CARDS, a_job=a_job, a_job_big=a_job.capitalize(), **values), values


def _list_keys(world: World, keys: list[str]) -> str:
    style = world.number(0, 3)
    if style == 0:
        return ", ".join(f'"{key}"' for key in keys)
    if style == 1 or len(keys) == 1:
        return ", ".join(keys)
    if style == 2:
        return ", ".join(keys[:-1]) + " and " + keys[-1]
    return "the " + ", ".join(keys[:-1]) + " and " + keys[-1]


def _choose_keys(world: World, values: dict[str, Value]) -> list[str]:
    keys = list(values)
    if world.chance(0.5):
        keys = world.some(keys, world.number(2, len(keys)))
    if world.chance(0.2):
        keys.insert(world.number(0, len(keys)), world.pick([key for key in OTHER_KEYS if key not in values]))
    return keys


def _record(values: dict[str, Value], keys: list[str]) -> str:
    return json.dumps({key: values.get(key) for key in keys}, ensure_ascii=False)


def extraction(world: World) -> Exchange:
    """One text of one or two sentences and one JSON object."""
    text, values = _draw(world)
    keys = _choose_keys(world, values)
    question = request(world, REQUESTS, ASKS, text, keys=_list_keys(world, keys))
    return turns("extraction", question, _record(values, keys))


AGAIN = Templates(
    (
        "Now {keys}.",
        "Now give me {keys} as JSON.",
        "And {keys}?",
        "Extract {keys} as JSON.",
        "Again, with the keys {keys}.",
        "The same text, but {keys}.",
        "Return JSON with {keys}.",
        "Now a JSON object with {keys}, please.",
    ),
    ("This time I would like {keys}.",),
)


def records(world: World) -> Exchange:
    """Two to four JSON objects from one text, each with the keys asked for."""
    text, values = _draw(world)
    keys = _choose_keys(world, values)
    messages = [
        ask(request(world, REQUESTS, ASKS, text, keys=_list_keys(world, keys))),
        reply(_record(values, keys)),
    ]
    for _ in range(world.number(1, 3)):
        keys = _choose_keys(world, values)
        world.rng.shuffle(keys)
        messages += [ask(world.say(AGAIN, keys=_list_keys(world, keys))), reply(_record(values, keys))]
    return Exchange("records", tuple(messages))


PEOPLE_REQUESTS = Templates(
    (
        "List the people in this text as JSON.\n\n{text}",
        "{text}\n\nWhich people are named? Answer with a JSON list.",
        "Extract all names of people as a JSON list: {text}",
        "Give me a JSON list of the people.\n{text}",
    ),
    ("Who appears here? Reply with a JSON array.\n{text}",),
)
PEOPLE_ASKS = Asks(
    (
        "list all people in {this} as JSON",
        "extract the names of the people in {this} as a JSON list",
        "give me a JSON list of everybody in {this}",
        "find the people in {this} and answer with a JSON list",
        "write the people of {this} as a JSON array",
        "extract all people from {this} as JSON",
        "name all the people in {this} in a JSON list",
        "return a JSON list of all names in {this}",
    ),
    ("who is named in {this}, as a JSON list", "which people are in {this}, as JSON"),
)
PEOPLE_TEXTS = Templates(
    (
        "{a} and {b} met {c} at the station.",
        "{a} wrote a letter to {b}, and {c} read it.",
        "{a} lives with {b} and {c} in {place}.",
        "In {place}, {a} told {b} about {c}.",
        "{a}, {b} and {c} took the train to {place}.",
        "{a} gave {b} the key that {c} had lost.",
    ),
    ("Neither {a} nor {b} had heard of {c}.",),
)


def people(world: World) -> Exchange:
    """All the people of a text, as a JSON list in the order of the text."""
    text = world.wording(PEOPLE_TEXTS)
    drawn = {key: world.person().name for key in "abc"}
    filled = text.format(**drawn, place=world.place())
    names = sorted(drawn.values(), key=filled.index)
    return turns(
        "extraction", request(world, PEOPLE_REQUESTS, PEOPLE_ASKS, filled), json.dumps(names, ensure_ascii=False)
    )
