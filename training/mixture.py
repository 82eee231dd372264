"""The endless, deterministic stream of conversations: which tasks, how often, and how they are strung together."""

import re
from collections.abc import Callable
from dataclasses import replace
from random import Random

from training.exchange import Exchange
from training.sample import Message, Sample
from training.tasks.answering import answering, long_answering, studying
from training.tasks.calling import calling, errands, no_tool, offered, two_calls
from training.tasks.chatting import greeting, memory, persona, talk
from training.tasks.extraction import extraction, people, records
from training.tasks.knowing import knowing
from training.tasks.outside import gibberish, outside
from training.tasks.rewriting import tense, tone
from training.tasks.sentiment import sentiment
from training.tasks.stories import story, summary
from training.tasks.topic import topic
from training.world import Split, World

Task = Callable[[World], Exchange]
Mix = tuple[tuple[Task, float], ...]

WEIGHTS: Mix = (
    (answering, 24.0),
    (long_answering, 0.6),
    (extraction, 12.0),
    (people, 2.0),
    (sentiment, 6.0),
    (topic, 5.0),
    (summary, 5.0),
    (story, 2.5),
    (tense, 4.0),
    (tone, 3.0),
    (calling, 14.0),
    (no_tool, 3.0),
    (two_calls, 1.0),
    (greeting, 3.0),
    (talk, 4.5),
    (memory, 4.0),
    (persona, 2.0),
    (outside, 5.0),
    (gibberish, 0.6),
    (knowing, 3.0),
)
LATER_WEIGHTS: Mix = (
    (studying, 24.0),
    (answering, 7.0),
    (long_answering, 0.1),
    (extraction, 6.0),
    (records, 10.0),
    (people, 4.0),
    (sentiment, 2.5),
    (topic, 2.5),
    (summary, 2.0),
    (story, 0.4),
    (tense, 5.0),
    (tone, 1.2),
    (calling, 9.0),
    (no_tool, 5.0),
    (errands, 11.0),
    (two_calls, 1.5),
    (greeting, 1.6),
    (talk, 2.0),
    (memory, 5.0),
    (persona, 1.2),
    (outside, 2.2),
    (gibberish, 0.4),
    (knowing, 1.0),
)
SYSTEM_PROMPTS = (
    "You are minnow, a helpful assistant.",
    "You are a helpful assistant.",
    "You are minnow.",
    "Answer briefly.",
    "Be friendly and helpful.",
    "You are a small and helpful language model.",
    "You are an AI assistant. Help the user.",
)
JOIN_CHANCE = 0.45
MAX_JOINED = 4
SYSTEM_CHANCE = 0.15
WILD_FROM = 80_000  # first the syllables, which are quick to learn; from here on names of any letters among them
WILD_SHARE = 0.3
LATER_FROM = 240_000  # from here on many questions on one passage, many requests with one list of tools
LATER_WILD_SHARE = 0.08
LATER_PATCHED_SHARE = 0.2
IDLE_TOOLS_CHANCE = 0.06


def with_right_articles(text: str) -> str:
    """The text with `an` for `a` where a vowel follows."""
    return re.sub(r"\b([Aa]) (?=[aeiou][a-z])", r"\1n ", text)


def _mend(message: Message) -> Message:
    return replace(message, content=with_right_articles(message.content)) if message.content else message


def _draw(world: World, mix: Mix) -> Exchange:
    tasks, weights = zip(*mix, strict=True)
    return world.rng.choices(tasks, weights)[0](world)  # type: ignore[no-any-return]


def _joined(world: World, mix: Mix) -> list[Exchange]:
    exchanges = [first := _draw(world, mix)]
    while first.joins and len(exchanges) < MAX_JOINED and world.chance(JOIN_CHANCE):
        following = _draw(world, mix)
        if following.joins:
            exchanges.append(following)
    return exchanges


def sample_of(task: Task, world: World) -> Sample:
    """One task alone, as the examination asks it."""
    exchange = task(world)
    messages = tuple(_mend(m) for m in exchange.messages)
    system = (Message("system", exchange.system),) if exchange.system else ()
    return Sample(exchange.task, system + messages, exchange.tools, exchange.exact)


def draw_sample(seed: int, split: Split, index: int) -> Sample:
    """The conversation number `index`: the same for the same seed, split and index, for ever."""
    later = index >= LATER_FROM
    wild = patched = 0.0
    if split is Split.TRAIN and later:
        wild, patched = LATER_WILD_SHARE, LATER_PATCHED_SHARE
    elif split is Split.TRAIN and index >= WILD_FROM:
        wild = WILD_SHARE
    world = World(Random(f"{seed}/{split}/{index}"), split, wild, patched)
    exchanges = _joined(world, LATER_WEIGHTS if later else WEIGHTS)
    first = exchanges[0]
    system, tools = first.system, first.tools
    if not system and world.chance(SYSTEM_CHANCE):
        system = world.pick(SYSTEM_PROMPTS)
    wishful = any(exchange.task == "outside" for exchange in exchanges)
    if first.joins and not wishful and world.chance(IDLE_TOOLS_CHANCE):
        tools = offered(world)
    messages = [_mend(m) for exchange in exchanges for m in exchange.messages]
    if system:
        messages.insert(0, Message("system", system))
    return Sample(exchanges[-1].task, tuple(messages), tools, exchanges[-1].exact)
