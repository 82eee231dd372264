"""The endless, deterministic stream of conversations: which tasks, how often, and how they are strung together."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from training.exchange import Exchange
from training.sample import Message, Sample
from training.tasks.answering import answering, long_answering, studying
from training.tasks.calling import calling, errands, no_tool, offered, two_calls
from training.tasks.chatting import greeting, talk
from training.tasks.extraction import extraction, people, records
from training.tasks.knowing import knowing
from training.tasks.outside import gibberish, outside
from training.tasks.remembering import memory, persona
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
    (story, 4.0),
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
    (story, 3.0),
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
LOOKUP_WEIGHTS: Mix = (
    (studying, 36.0),
    (answering, 9.0),
    (long_answering, 0.1),
    (extraction, 6.0),
    (records, 4.0),
    (people, 3.0),
    (sentiment, 6.0),
    (topic, 3.0),
    (summary, 2.0),
    (story, 3.0),
    (tense, 3.0),
    (tone, 1.2),
    (calling, 8.0),
    (no_tool, 5.0),
    (errands, 12.0),
    (two_calls, 1.5),
    (greeting, 1.5),
    (talk, 2.0),
    (memory, 5.0),
    (persona, 1.2),
    (outside, 2.0),
    (gibberish, 0.4),
    (knowing, 1.0),
)
FINAL_WEIGHTS: Mix = (
    (studying, 32.0),
    (answering, 18.0),
    (long_answering, 0.1),
    (extraction, 9.0),
    (records, 5.0),
    (people, 3.0),
    (sentiment, 8.0),
    (topic, 4.0),
    (summary, 2.0),
    (story, 3.0),
    (tense, 3.0),
    (tone, 1.2),
    (calling, 13.0),
    (no_tool, 4.0),
    (errands, 12.0),
    (two_calls, 1.5),
    (greeting, 1.5),
    (talk, 2.0),
    (memory, 5.0),
    (persona, 1.2),
    (outside, 2.0),
    (gibberish, 0.4),
    (knowing, 1.0),
)
RAISED: dict[Task, float] = {tense: 7.0, story: 6.0, no_tool: 6.0, memory: 7.0, talk: 4.0, greeting: 2.0, tone: 2.0}
SETTLING_WEIGHTS: Mix = tuple((task, RAISED.get(task, weight)) for task, weight in FINAL_WEIGHTS)
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
IDLE_TOOLS_CHANCE = 0.06


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the training, from the conversation numbered `start` on: its mixture, and its unfamiliar names.

    `pointing` weighs the surprise at where the pointing heads look against the loss.
    """

    start: int
    mix: Mix
    wild: float = 0.0
    patched: float = 0.0
    pointing: float = 1.0


WILD_FROM, LATER_FROM, LOOKUP_FROM, FINAL_FROM, SETTLING_FROM = 24_000, 64_000, 104_000, 144_000, 192_000
PHASES = (
    Phase(0, WEIGHTS),  # first names made of syllables, which are quick to learn
    Phase(WILD_FROM, WEIGHTS, wild=0.3),
    Phase(LATER_FROM, LATER_WEIGHTS, wild=0.08, patched=0.2),  # many questions on one passage or one list of tools
    Phase(LOOKUP_FROM, LOOKUP_WEIGHTS, wild=0.04, patched=0.15),  # more of them, many of them near misses
    Phase(FINAL_FROM, FINAL_WEIGHTS, wild=0.05, patched=0.25, pointing=0.3),  # what is found by now is to be written
    Phase(SETTLING_FROM, SETTLING_WEIGHTS, wild=0.05, patched=0.25, pointing=0.3),  # and what came seldom, rehearsed
)


def phase_of(index: int) -> Phase:
    """The phase of the conversation with this number."""
    return [phase for phase in PHASES if phase.start <= index][-1]


def with_right_articles(text: str) -> str:
    """The text with `an` for `a` where a vowel follows."""
    return re.sub(r"\b([Aa]) (?=[aeiou][a-z])", r"\1n ", text)


def _mend(message: Message) -> Message:
    source = with_right_articles(message.source) if message.source else message.source
    return replace(message, content=with_right_articles(message.content), source=source)


def _draw(world: World, mix: Mix) -> Exchange:
    tasks, weights = zip(*mix, strict=True)
    return world.rng.choices(tasks, weights)[0](world)  # type: ignore[no-any-return]


def _joined(world: World, mix: Mix, at_least: int = 1) -> list[Exchange]:
    """Exchanges that can be one conversation."""
    first = _draw(world, mix)
    while at_least > 1 and not first.joins:
        first = _draw(world, mix)
    exchanges = [first]
    while first.joins and len(exchanges) < MAX_JOINED and (len(exchanges) < at_least or world.chance(JOIN_CHANCE)):
        following = _draw(world, mix)
        introduced = any(exchange.introduces for exchange in exchanges)
        if following.joins and not (following.introduces and introduced):
            exchanges.append(following)
    return exchanges


def _strung(exchanges: list[Exchange]) -> Exchange:
    """The exchanges as one: what refers back comes last."""
    last = next((exchange for exchange in exchanges if exchange.later), exchanges[-1])
    messages = [m for exchange in exchanges for m in exchange.messages]
    return replace(
        last,
        messages=tuple(_mend(m) for m in (*messages, *last.later)),
        system=exchanges[0].system,
        tools=exchanges[0].tools,
        later=(),
    )


def mixed_talk(world: World) -> Exchange:
    """A conversation that goes from one subject to the next, passages among them."""
    return replace(_strung(_joined(world, FINAL_WEIGHTS, at_least=3)), task="mixed_talk")


def sample_of(task: Task, world: World) -> Sample:
    """One task alone, as the examination asks it."""
    exchange = _strung([task(world)])
    system = (Message("system", exchange.system),) if exchange.system else ()
    return Sample(exchange.task, system + exchange.messages, exchange.tools, exchange.exact)


def draw_sample(seed: int, split: Split, index: int) -> Sample:
    """The conversation number `index`: the same for the same seed, split and index, for ever."""
    phase = phase_of(index)
    wild, patched = (phase.wild, phase.patched) if split is Split.TRAIN else (0.0, 0.0)
    world = World(Random(f"{seed}/{split}/{index}"), split, wild, patched)
    exchanges = _joined(world, phase.mix)
    whole = _strung(exchanges)
    system, tools = whole.system, whole.tools
    if not system and world.chance(SYSTEM_CHANCE):
        system = world.pick(SYSTEM_PROMPTS)
    wishful = any(exchange.task == "outside" for exchange in exchanges)
    if exchanges[0].joins and not wishful and world.chance(IDLE_TOOLS_CHANCE):
        tools = offered(world)
    messages = (Message("system", system), *whole.messages) if system else whole.messages
    return Sample(whole.task, messages, tools, whole.exact)
