"""Single tasks of the recipe: what they ask can be answered, and rests on what was said before."""

import json
from random import Random

from training.mixture import mixed_talk, sample_of
from training.passage import Passage, ask_altered, ask_known, draw_passage
from training.tasks.answering import NOT_SAID, studying
from training.tasks.calling import NO_TOOL, errands
from training.tasks.extraction import records
from training.tasks.remembering import memory
from training.world import Split, World


def test_a_studied_passage_is_never_asked_the_same_twice() -> None:
    for index in range(80):
        messages = sample_of(studying, World(Random(index), Split.TRAIN)).messages
        questions = [message.content for message in messages[2::2]]
        assert len(set(questions)) == len(questions)
        assert len(messages) >= 4
    answers = {m.content for i in range(20) for m in sample_of(studying, World(Random(i), Split.TRAIN)).messages[1::2]}
    assert NOT_SAID in answers
    assert len(answers) > 20


def _passage(seed: int) -> tuple[World, Passage]:
    world = World(Random(seed), Split.TRAIN)
    return world, draw_passage(world, 2, 4)


def test_a_known_answer_rests_on_a_sentence_of_the_passage() -> None:
    for seed in range(50):
        world, passage = _passage(seed)
        _, _, fact = ask_known(world, passage)
        assert passage.statement(fact) in passage.text


def test_an_altered_question_asks_of_somebody_else_or_with_other_values() -> None:
    altered = 0
    for seed in range(60):
        world, passage = _passage(seed)
        question = ask_altered(world, passage)
        known = {
            fact.fill(wording)
            for fact in passage.facts
            for asked in fact.kind.questions
            for wording in asked.asks.known
        }
        assert question not in known
        altered += question is not None
    assert altered > 40


def test_errands_call_only_what_is_offered() -> None:
    refused = repeated = 0
    for index in range(80):
        sample = sample_of(errands, World(Random(index), Split.TRAIN))
        offered = {tool.name: {p.name for p in tool.parameters if p.required} for tool in sample.tools}
        called = [call for message in sample.messages for call in message.tool_calls]
        assert all(offered[call.name] <= set(call.arguments) for call in called)
        repeated += len({call.name for call in called}) < len(called)
        refused += sum(message.content == NO_TOOL for message in sample.messages)
    assert refused > 40
    assert repeated > 10


def test_records_hold_the_keys_asked_for_in_their_order() -> None:
    for index in range(80):
        messages = sample_of(records, World(Random(index), Split.TRAIN)).messages
        assert len(messages) >= 4
        for question, answer in zip(messages[2::2], messages[3::2], strict=True):
            keys = list(json.loads(answer.content))
            places = [question.content.index(key) for key in keys]
            assert places == sorted(places)


def test_what_users_told_is_asked_back_behind_what_came_between() -> None:
    apart = 0
    for index in range(400):
        sample = sample_of(mixed_talk, World(Random(index), Split.TRAIN))
        roles = [message.role for message in sample.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        answer = sample.messages[-1].content
        if answer.startswith("Your hobby is "):
            hobby = answer.removeprefix("Your hobby is ").removesuffix(".")
            told_at = next(i for i, m in enumerate(sample.messages) if hobby.lower() in m.content.lower())
            apart += len(sample.messages) - told_at > 6
    assert apart > 0


def test_nobody_introduces_themselves_twice_in_one_conversation() -> None:
    introduced = 0
    for index in range(600):
        messages = sample_of(mixed_talk, World(Random(index), Split.TRAIN)).messages
        named = [
            m for m in messages if m.content.startswith("Hello, ") and m.content.endswith("What can I do for you?")
        ]
        assert len(named) <= 1
        introduced += len(named)
    assert introduced > 0


def test_a_thing_remembered_stands_before_the_question_for_it() -> None:
    for index in range(100):
        messages = sample_of(memory, World(Random(index), Split.TRAIN)).messages
        source = messages[-1].source
        assert source is not None
        assert not source or any(source in message.content for message in messages[:-2])
