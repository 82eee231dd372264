"""The tools of minnow's world: well-known ones and endlessly many made up from verbs, nouns and slots.

A slot is a kind of argument: what it may be called, how a request mentions it, and how a value is drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from training.sample import Parameter, Tool
from training.vocabulary import COLOURS, FOODS, GOODS, HOBBIES
from training.world import World


@dataclass(frozen=True, slots=True)
class Slot:
    """A kind of argument."""

    names: tuple[str, ...]
    type: str
    phrases: tuple[str, ...]
    draw: Callable[[World], Any]


CITY = Slot(("city", "location", "place", "town"), "string", ("in {v}", "for {v}"), lambda w: w.place())
TARGET = Slot(("destination", "to", "city"), "string", ("to {v}",), lambda w: w.place())
DATE = Slot(
    ("date", "day", "when"), "string", ("on {v}", "for {v}"), lambda w: w.date() if w.chance(0.5) else w.weekday()
)
TIME = Slot(("time", "hour", "at"), "string", ("at {v}", "for {v}"), lambda w: w.time())
PERSON = Slot(("person", "name", "customer", "contact"), "string", ("for {v}", "with {v}"), lambda w: w.person().name)
GUESTS = Slot(
    ("people", "guests", "seats", "party_size"),
    "integer",
    ("for {v} people", "for {v} guests"),
    lambda w: w.number(2, 12),
)
COUNT = Slot(
    ("count", "quantity", "amount"), "integer", ("and make it {v}", "with a count of {v}"), lambda w: w.number(2, 60)
)
COLOUR = Slot(("colour", "color"), "string", ("in {v}",), lambda w: w.pick(COLOURS))
MAX_PRICE = Slot(
    ("max_price", "budget", "limit"),
    "integer",
    ("for at most {v} euros", "under {v} euros"),
    lambda w: w.number(5, 300),
)
MINUTES = Slot(("minutes", "duration"), "integer", ("for {v} minutes",), lambda w: w.number(2, 90))
SLOTS = (CITY, TARGET, DATE, TIME, PERSON, GUESTS, COUNT, COLOUR, MAX_PRICE, MINUTES)

VERBS = (
    "find",
    "book",
    "order",
    "rent",
    "reserve",
    "check",
    "cancel",
    "buy",
    "get",
    "plan",
    "start",
    "schedule",
    "search",
    "request",
    "list",
)
NOUNS = (
    "ferry",
    "hotel",
    "table",
    "taxi",
    "bicycle",
    "boat",
    "ticket",
    "room",
    "train",
    "lesson",
    "doctor",
    "tent",
    "concert",
    "meeting",
    "delivery",
    "tour",
    "bus",
    "flight",
    "garden",
    "parcel",
    "locker",
    "guide",
    "court",
    "restaurant",
    "museum",
    "pump",
    "kitchen",
    "desk",
)
NEW_NOUNS = ("sauna", "canoe", "gondola", "studio", "piano", "balloon")


@dataclass(frozen=True, slots=True)
class Job:
    """A tool, a request that needs it, the arguments, and what a result leads to."""

    tool: Tool
    request: str
    arguments: dict[str, Any]
    result: dict[str, Any]
    answer: str
    again: Callable[[World], "Job"] | None = None
    """Another request for the same tool, where one can be drawn."""


def made_up(world: World, noun: str) -> Job:
    """A tool put together from a verb, a noun and one to three slots."""
    verb = world.pick(VERBS)
    slots: list[Slot] = []
    names: list[str] = []
    for slot in world.some(SLOTS, world.number(1, 3)):
        name = world.pick(slot.names)
        if name not in names:
            slots.append(slot)
            names.append(name)
    return _made_up_job(world, verb, noun, tuple(zip(names, slots, strict=True)))


def _made_up_job(world: World, verb: str, noun: str, slots: tuple[tuple[str, Slot], ...]) -> Job:
    values = {name: slot.draw(world) for name, slot in slots}
    parameters = tuple(Parameter(name, slot.type) for name, slot in slots)
    phrases = [world.pick(slot.phrases).format(v=values[name]) for name, slot in slots]
    world.rng.shuffle(phrases)
    reference = world.pick("ABCDEFGHKLMNPRSTUVWXYZ") + str(world.number(100, 999))
    outcomes: tuple[tuple[str, dict[str, Any]], ...] = (
        (f"Done. The reference is {reference}.", {"status": "ok", "reference": reference}),
        (f"Done. The reference is {reference}.", {"reference": reference}),
        ("That did not work: nothing is free.", {"error": "nothing is free"}),
        (f"The price is {(price := world.number(3, 400))} euros.", {"price": price, "currency": "euros"}),
    )
    answer, result = world.pick(outcomes)
    return Job(
        Tool(f"{verb}_{noun}", f"{verb.capitalize()} a {noun}.", parameters),
        f"{verb} a {noun} {' '.join(phrases)}",
        values,
        result,
        answer,
        again=partial(_made_up_job, verb=verb, noun=noun, slots=slots),
    )


def weather(world: World) -> Job:
    """The weather somewhere, perhaps on a day."""
    city, key = world.place(), world.pick(("city", "location", "place"))
    arguments = {key: city}
    parameters = [Parameter(key, "string")]
    request = world.pick(
        (
            "what is the weather in {c}",
            "what is the weather like in {c}",
            "tell me the weather in {c}",
            "is it raining in {c}",
            "how is the weather in {c}",
            "get the weather for {c}",
            "check the weather in {c}",
            "how warm is it in {c}",
        )
    ).format(c=city)
    if world.chance(0.3):
        day = world.weekday()
        arguments["day"] = day
        parameters.append(Parameter("day", "string"))
        request += f" on {day}"
    elif world.chance(0.3):
        parameters.append(Parameter(world.pick(("day", "unit", "date")), "string", required=False))
    degrees, sky = world.number(-9, 36), world.pick(("sunny", "cloudy", "rainy", "windy", "foggy", "snowy"))
    name = world.pick(("get_weather", "get_current_weather", "weather", "weather_forecast"))
    result = {world.pick(("temperature", "degrees")): degrees, world.pick(("sky", "condition", "conditions")): sky}
    description = world.pick(
        (
            "Get the weather of a city.",
            "Get the current weather.",
            "Look up the weather.",
            "Get the current weather in a given location.",
        )
    )
    return Job(
        Tool(name, description, tuple(parameters)),
        request,
        arguments,
        result,
        f"It is {degrees} degrees and {sky} in {city}.",
    )


def clock(world: World) -> Job:
    """The time of day somewhere."""
    city, key, time = world.place(), world.pick(("city", "location", "place")), world.time()
    request = world.pick(("what time is it in {c}", "tell me the time in {c}", "what is the time in {c}")).format(
        c=city
    )
    return Job(
        Tool(world.pick(("get_time", "current_time")), "Get the time in a city.", (Parameter(key, "string"),)),
        request,
        {key: city},
        {"time": time},
        f"It is {time} in {city}.",
    )


def message(world: World) -> Job:
    """A message to somebody."""
    person, key = world.person().name, world.pick(("to", "recipient", "person"))
    text = world.pick(
        (
            "I will be late",
            f"see you at {world.time()}",
            f"dinner is at {world.time()}",
            f"bring {world.pick(FOODS)}",
            f"meet me in {world.place()}",
            f"the {world.pick(GOODS)} are ready",
            "happy birthday",
        )
    )
    request = world.pick(
        ("send {p} a message: {t}", "tell {p} this: {t}", "write to {p}: {t}", "send a message to {p} that says: {t}")
    ).format(p=person, t=text)
    return Job(
        Tool("send_message", "Send a message to a person.", (Parameter(key, "string"), Parameter("text", "string"))),
        request,
        {key: person, "text": text},
        {"status": "sent"},
        f"I sent the message to {person}.",
    )


def sums(world: World) -> Job:
    """A sum or a product of two numbers."""
    a, b = world.number(2, 999), world.number(2, 999)
    name, word, sign, result = world.pick(
        (("add", "plus", "+", a + b), ("multiply", "times", "*", a * b), ("subtract", "minus", "-", a - b))
    )
    request = world.pick(
        ("what is {a} {w} {b}", "how much is {a} {w} {b}", "calculate {a} {w} {b}", "what is {a} {s} {b}")
    ).format(a=a, b=b, w=word, s=sign)
    return Job(
        Tool(name, f"{name.capitalize()} two numbers.", (Parameter("a", "number"), Parameter("b", "number"))),
        request,
        {"a": a, "b": b},
        {"result": result},
        f"The result is {result}.",
    )


def alarm(world: World) -> Job:
    """An alarm or a timer."""
    if world.chance(0.5):
        time = world.time()
        request = world.pick(("wake me at {t}", "set an alarm for {t}", "I want an alarm at {t}")).format(t=time)
        return Job(
            Tool("set_alarm", "Set an alarm.", (Parameter("time", "string"),)),
            request,
            {"time": time},
            {"status": "ok"},
            f"The alarm is set for {time}.",
        )
    minutes = world.number(1, 90)
    request = world.pick(
        ("set a timer for {m} minutes", "start a timer of {m} minutes", "remind me in {m} minutes")
    ).format(m=minutes)
    return Job(
        Tool("set_timer", "Start a timer.", (Parameter("minutes", "integer"),)),
        request,
        {"minutes": minutes},
        {"status": "ok"},
        f"The timer is set for {minutes} minutes.",
    )


def lookup(world: World) -> Job:
    """A search by words, a person's phone number, or the price of a thing."""
    kind = world.number(0, 2)
    if kind == 0:
        query = world.pick(
            (world.thing(), world.pick(HOBBIES) + " in " + world.place(), world.pick(FOODS), world.place())
        )
        titles = [query.capitalize() if query[0].islower() else query, world.place()]
        request = world.pick(
            ("search for {q}", "look up {q}", "find pages about {q}", "search the web for {q}")
        ).format(q=query)
        return Job(
            Tool(world.pick(("search", "web_search")), "Search for pages.", (Parameter("query", "string"),)),
            request,
            {"query": query},
            {"results": titles},
            f"I found {titles[0]} and {titles[1]}.",
        )
    if kind == 1:
        person, number = world.person().name, str(world.number(10000, 99999))
        request = world.pick(
            ("what is the phone number of {p}", "find the number of {p}", "how can I call {p}")
        ).format(p=person)
        return Job(
            Tool("find_contact", "Find the phone number of a person.", (Parameter("name", "string"),)),
            request,
            {"name": person},
            {"phone": number},
            f"The phone number of {person} is {number}.",
        )
    item, price = world.pick(GOODS), world.number(2, 99)
    request = world.pick(("how much are the {i}", "what do the {i} cost", "get the price of the {i}")).format(i=item)
    return Job(
        Tool("get_price", "Get the price of an item.", (Parameter("item", "string"),)),
        request,
        {"item": item},
        {"price": price, "currency": "euros"},
        f"The {item} cost {price} euros.",
    )


KNOWN_JOBS: tuple[Callable[[World], Job], ...] = (weather, weather, clock, message, sums, alarm, lookup)
