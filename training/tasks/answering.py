"""Questions about a given passage, among them those that the passage leaves open."""

from training.exchange import Exchange, ask, reply
from training.passage import Passage, ask_altered, ask_known, ask_missing, draw_passage
from training.phrasing import casual
from training.sample import Message
from training.world import Split, Templates, World

HEADS = (
    "",
    "",
    "Passage: ",
    "Text: ",
    "Context: ",
    "Document: ",
    "Article: ",
    "Story: ",
    "Read this: ",
    "Here is a text: ",
    "Here is a passage:\n",
    "Information: ",
    "The passage:\n",
)
LEADS = (
    "",
    "",
    "",
    "Question: ",
    "Tell me: ",
    "Please answer: ",
    "Answer this: ",
    "Use the text to answer: ",
    "Now the question: ",
    "From the passage, ",
    "Answer the question. ",
    "Q: ",
    "Based on the text, ",
    "Read the text and answer. ",
    "My question is: ",
    "According to the passage, ",
)
TAILS = ("", "", "", "", " Please answer.", "\nAnswer:", " Answer from the passage.", "\nA:", " Use only the text.")
BREAKS = ("\n\n", "\n", " ", "\n---\n")
COMPOSED_SHARE = 0.65
SHORT_SHARE = 0.6

NOT_SAID = "The passage does not say."

LAYOUTS = Templates(
    (
        "{passage}\n\n{question}",
        "Passage: {passage}\n\nQuestion: {question}",
        "Read this: {passage}\n{question}",
        "{question}\n\n{passage}",
        "Here is a passage.\n{passage}\n\nAnswer this question: {question}",
        "Answer from the passage.\n\n{passage}\n\n{question}",
        "Question: {question}\nPassage: {passage}",
        "Read the passage and answer the question.\n\nPassage: {passage}\n\nQuestion: {question}",
        "{passage} {question}",
        "Text: {passage}\nQuestion: {question}\nAnswer:",
        "Context: {passage}\n\n{question}",
    ),
    (
        "Consider the following lines.\n\n{passage}\n\nNow tell me: {question}",
        "I want to know something: {question} The text says: {passage}",
        '"{passage}"\n\n{question}',
    ),
)


def _set_out(world: World, passage: str, question: str) -> str:
    """The passage and the question in one message."""
    if world.split is Split.NEW_TEMPLATES or not world.chance(COMPOSED_SHARE):
        return world.say(LAYOUTS, passage=passage, question=question)
    lead = world.pick(LEADS)
    if lead.endswith(", "):
        question = question[0].lower() + question[1:]
    asked = lead + question + world.pick(TAILS)
    told = world.pick(HEADS) + passage
    return world.pick(BREAKS).join((told, asked) if world.chance(0.7) else (asked, told))


def _ask(
    world: World, passage: Passage, num_turns: int, missing: float, insist: bool = False, altered: float = 0.0
) -> list[Message]:
    """Questions and answers about a passage that comes with the first.

    A question is never asked twice: one drawn again ends the talk, or is left out if the talk is to `insist`.
    `altered` is the share of near misses among the questions that the passage leaves open.
    """
    messages: list[Message] = []
    asked: set[str] = set()
    about = passage.people[0] if len(passage.people) == 1 else None
    for turn in range(num_turns):
        if world.chance(missing):
            question = ask_altered(world, passage) if altered and world.chance(altered) else None
            question, answer, source, about = question or ask_missing(world, passage), NOT_SAID, "", None
        else:
            question, answer, fact = ask_known(world, passage, about)
            source, about = passage.statement(fact), fact.person
        if question in asked:
            if insist:
                continue
            break
        asked.add(question)
        messages += [
            ask(_set_out(world, passage.text, question) if turn == 0 else casual(world, question)),
            reply(answer, source),
        ]
    return messages


def answering(world: World, missing: float = 0.3) -> Exchange:
    """One to five questions about a passage of one to three people."""
    num_people = world.number(1, 3)
    passage = draw_passage(world, num_people, world.number(num_people + 1, num_people * 2 + 2))
    messages = _ask(world, passage, world.number(1, 5), missing)
    return Exchange("not_said" if messages[-1].content == NOT_SAID else "answering", tuple(messages))


def studying(world: World) -> Exchange:
    """Several questions about one passage, so that each passage teaches more; most passages are short.

    In a short one there is little to confuse: it is where the model learns to tell whether a thing is said at all.
    """
    if world.chance(SHORT_SHARE):
        num_people = world.number(1, 2)
        passage = draw_passage(world, num_people, world.number(num_people, 4), fillers=0.05, emphasis=True)
        num_turns = world.number(5, 8)
    else:
        num_people = world.number(1, 3)
        passage = draw_passage(world, num_people, world.number(num_people + 1, num_people * 2 + 2), emphasis=True)
        num_turns = world.number(4, 7)
    messages = _ask(world, passage, num_turns, 0.4, insist=True, altered=0.4)
    return Exchange("studying", tuple(messages), joins=False)


def long_answering(world: World) -> Exchange:
    """Six questions about a passage of many people, up to the whole context."""
    num_people = world.number(6, 24)
    passage = draw_passage(world, num_people, num_people * world.number(2, 3), fillers=0.2)
    return Exchange("long_answering", tuple(_ask(world, passage, 6, 0.2)), joins=False)
