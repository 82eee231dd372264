"""Calls of a tool from a given list, the use of its result, and the times when no tool fits."""

import json
from collections.abc import Iterable

from training.exchange import Exchange, ask, call, reply
from training.sample import Message, Tool, ToolCall, tool_line
from training.toolbox import KNOWN_JOBS, NEW_NOUNS, NOUNS, Job, made_up, weather
from training.world import Split, Templates, World

FRAMES = Templates(
    (
        "{r}{end}",
        "Please {r}{end}",
        "Can you {r}?",
        "{r}, please{end}",
        "Hi! {r}{end}",
        "Hello, {r}{end}",
        "Could you {r}?",
        "I need you to {r}.",
        "{r}{end} Thanks!",
        "I want you to {r}.",
        "Would you {r}?",
        "Now {r}{end}",
        "Help me: {r}{end}",
        "Go ahead and {r}{end}",
        "First, {r}{end}",
        "{r}",
        "Quick, {r}{end}",
        "Can you please {r}?",
        "Would you be so kind and {r}?",
    ),
    ("It would help me if you could {r}.", "Next thing to do: {r}{end}"),
)
QUESTION_FRAMES = Templates(
    (
        "{r}?",
        "Please tell me, {r}?",
        "Hi! {r}?",
        "Hello, {r}?",
        "{r}, please?",
        "{r}? Thanks!",
        "{r}",
        "Do you know this: {r}?",
        "Question: {r}?",
        "One more thing, {r}?",
        "I want to know: {r}?",
    ),
    ("I keep asking myself, {r}?",),
)
QUESTION_WORDS = ("what", "how", "is")
SHORT_SHARE = 0.75
NO_TOOL = "I have no tool for that."


def _job(world: World) -> Job:
    if world.split is Split.NEW_TEMPLATES:
        return made_up(world, world.pick(NEW_NOUNS)) if world.chance(0.5) else world.pick(KNOWN_JOBS)(world)
    return made_up(world, world.pick(NOUNS)) if world.chance(0.55) else world.pick(KNOWN_JOBS)(world)


def _differs(tool: Tool, others: Iterable[Tool]) -> bool:
    """Whether a tool does something else than all the others."""
    words = set(tool.name.split("_"))
    return all(
        tool.name != other.name
        and tool.description != other.description
        and not ("weather" in words and "weather" in other.name)
        for other in others
    )


def _jobs(world: World, taken: Tool, count: int) -> list[Job]:
    """So many jobs for tools that differ from each other and from the one that is `taken`."""
    jobs: list[Job] = []
    while len(jobs) < count:
        job = _job(world)
        if _differs(job.tool, [taken, *(other.tool for other in jobs)]):
            jobs.append(job)
    return jobs


def _others(world: World, taken: Tool, count: int) -> list[Tool]:
    return [job.tool for job in _jobs(world, taken, count)]


def _request(world: World, text: str) -> str:
    if text.split(maxsplit=1)[0] in QUESTION_WORDS:
        framed = world.say(QUESTION_FRAMES, r=text)
    else:
        framed = world.say(FRAMES, r=text, end=".")
    return framed[0].upper() + framed[1:]


def _offer(world: World, tool: Tool) -> tuple[Tool, ...]:
    tools = _others(world, tool, world.number(0, 4))
    tools.insert(world.number(0, len(tools)), tool)
    return tuple(tools)


def calling(world: World) -> Exchange:
    """One request, one call, and often the answer from its result."""
    job = _job(world)
    messages: list[Message] = [
        ask(_request(world, job.request)),
        call(ToolCall(job.tool.name, job.arguments), source=tool_line(job.tool)),
    ]
    task = "calling"
    if world.chance(0.4):
        messages += [Message("tool", json.dumps(job.result, ensure_ascii=False)), reply(job.answer)]
        task = "tool_result"
    return Exchange(task, tuple(messages), tools=_offer(world, job.tool), joins=False)


def no_tool(world: World) -> Exchange:
    """A request that none of the tools on offer can serve."""
    job = _job(world)
    tools = tuple(_others(world, job.tool, world.number(1, 4)))
    return Exchange("no_tool", (ask(_request(world, job.request)), reply(NO_TOOL, "")), tools=tools, joins=False)


def two_calls(world: World) -> Exchange:
    """The weather of two towns: two calls in one message."""
    job = weather(world)
    (key, city), *rest = job.arguments.items()
    other = world.place()
    request = job.request.replace(city, f"{city} and {other}")
    calls = call(
        *(ToolCall(job.tool.name, {key: name, **dict(rest)}) for name in (city, other)), source=tool_line(job.tool)
    )
    return Exchange("calling", (ask(_request(world, request)), calls), tools=_offer(world, job.tool), joins=False)


def _served(world: World, job: Job) -> list[Message]:
    messages = [
        ask(_request(world, job.request)),
        call(ToolCall(job.tool.name, job.arguments), source=tool_line(job.tool)),
    ]
    if world.chance(0.4):
        messages += [Message("tool", json.dumps(job.result, ensure_ascii=False)), reply(job.answer)]
    return messages


def errands(world: World) -> Exchange:
    """Several requests in a row with one list of tools, some of which none of them can serve.

    A tool may be asked for twice or never: whether one fits can only be told from the list, not from the talk so far.
    """
    is_short = world.chance(SHORT_SHARE)
    num_offered = world.number(1, 2 if is_short else 5)
    jobs = _jobs(world, Tool("", "", ()), num_offered + world.number(1, 2))
    at_hand, missing = jobs[:num_offered], jobs[num_offered:]
    messages: list[Message] = []
    for _ in range(world.number(2, 3 if is_short else 5)):
        if missing and world.chance(0.5):
            messages += [ask(_request(world, missing.pop().request)), reply(NO_TOOL, "")]
        elif at_hand:
            job = world.pick(at_hand)
            at_hand.remove(job)
            if job.again is not None:
                at_hand.append(job.again(world))
            messages += _served(world, job)
    tools = [job.tool for job in jobs[:num_offered]]
    world.rng.shuffle(tools)
    return Exchange("errands", tuple(messages), tools=tuple(tools), joins=False)


def offered(world: World) -> tuple[Tool, ...]:
    """Tools that lie on the table while the talk is about something else."""
    return _offer(world, _job(world).tool)
