"""The data of the recipe: deterministic, split without overlap, and written as the chat template writes it."""

import json
from functools import partial
from random import Random

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from training import names
from training.batches import Encoded, encode, micro_batches, step_samples
from training.examination import draw_questions
from training.facts.kinds import KINDS
from training.mixture import (
    LATER_FROM,
    PHASES,
    WILD_FROM,
    draw_sample,
    phase_of,
    with_right_articles,
)
from training.sample import (
    Message,
    Parameter,
    Sample,
    Tool,
    ToolCall,
    answer_of,
    message_dict,
    prompt_of,
    render,
    tool_schema,
)
from training.tokenizer import TEMPLATE_FILE
from training.train import BUNDLED
from training.vocabulary import FIRST_NAMES
from training.world import Split, Templates, World


def _text(sample: Sample) -> str:
    return "".join(text for text, _ in render(sample))


def _apply_template(sample: Sample, add_generation_prompt: bool = False) -> str:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    template = environment.from_string(TEMPLATE_FILE.read_text())
    return template.render(
        messages=[message_dict(message) for message in sample.messages],
        tools=[tool_schema(tool) for tool in sample.tools] or None,
        add_generation_prompt=add_generation_prompt,
    )


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))


@pytest.mark.parametrize("split", list(Split))
def test_the_same_index_gives_the_same_conversation(split: Split) -> None:
    assert [draw_sample(1, split, i) for i in range(50)] == [draw_sample(1, split, i) for i in range(50)]
    assert draw_sample(1, split, 3) != draw_sample(2, split, 3)


def test_a_known_conversation_has_not_changed() -> None:
    assert _text(draw_sample(1, Split.TRAIN, 0)) == (
        "<|begin|><|user|>Hi! Please answer with positive, negative or neutral.\n\n"
        "The song in Zurich was brilliant.\n<|end|><|assistant|>positive<|end|>"
    )


@pytest.mark.parametrize(
    "draw", [names.person_name, names.place_name, names.surname, names.wild_name, names.patched_name]
)
def test_held_out_names_are_never_trained_on(draw: object) -> None:
    assert callable(draw)
    rng = Random(5)
    trained = {draw(rng, held_out=False) for _ in range(3000)}
    held_out = {draw(rng, held_out=True) for _ in range(3000)}
    assert not trained & held_out
    assert not any(names.is_held_out(name) for name in trained)
    assert all(names.is_held_out(name) for name in held_out)


def test_splits_share_no_question_about_a_passage() -> None:
    drawn = {
        split: {prompt_of(q.sample) for q in draw_questions(2, split, "question answering", 60)}
        for split in (Split.NEW_NAMES, Split.NEW_TEMPLATES)
    }
    trained = {_text(draw_sample(1, Split.TRAIN, i)) for i in range(2000)}
    assert not drawn[Split.NEW_NAMES] & drawn[Split.NEW_TEMPLATES]
    assert not any(prompt in text for prompt in drawn[Split.NEW_NAMES] for text in trained)


def test_names_of_any_letters_come_later_and_in_training_only() -> None:
    late = "".join(_text(draw_sample(1, Split.TRAIN, WILD_FROM + i)) for i in range(300))
    early = "".join(_text(draw_sample(1, Split.TRAIN, i)) for i in range(300))
    assert "quu" in late.lower()
    assert "quu" not in early.lower()
    examined = "".join(_text(draw_sample(1, Split.NEW_NAMES, WILD_FROM + i)) for i in range(300))
    assert "quu" not in examined.lower()


def test_later_conversations_ask_more_of_each_passage_and_each_list_of_tools() -> None:
    drawn = [draw_sample(1, Split.TRAIN, LATER_FROM + i) for i in range(300)]
    assert {"studying", "errands", "records"} <= {sample.task for sample in drawn}
    assert drawn == [draw_sample(1, Split.TRAIN, LATER_FROM + i) for i in range(300)]
    earlier = {draw_sample(1, Split.TRAIN, LATER_FROM - 1 - i).task for i in range(300)}
    assert not earlier & {"studying", "errands", "records"}


def test_a_phase_holds_until_the_next() -> None:
    assert phase_of(0) == PHASES[0]
    assert phase_of(WILD_FROM) == phase_of(LATER_FROM - 1) == PHASES[1]
    assert phase_of(LATER_FROM) == PHASES[2]
    assert phase_of(10**9) == PHASES[-1]


def test_no_held_out_first_name_is_ever_trained_on() -> None:
    texts = [_text(draw_sample(1, Split.TRAIN, LATER_FROM + i)) for i in range(400)]
    held_out = [name for name in FIRST_NAMES if names.is_held_out(name) and name != "Will"]
    assert held_out
    assert not [name for name in held_out if any(f" {name} " in text for text in texts)]


def test_new_templates_are_used_only_in_their_split() -> None:
    templates = Templates(("known {x}",), ("new {x}",))
    assert World(Random(1), Split.TRAIN).say(templates, x=1) == "known 1"
    assert World(Random(1), Split.NEW_NAMES).say(templates, x=1) == "known 1"
    assert World(Random(1), Split.NEW_TEMPLATES).say(templates, x=1) == "new 1"


def test_every_fact_fills_every_wording() -> None:
    for kind in KINDS:
        slots = kind.draw(World(Random(7), Split.TRAIN)) | {"p": "Ann"}
        wordings = [*kind.states.known, *kind.states.new]
        for question in kind.questions:
            wordings += [*question.asks.known, *question.asks.new, question.answer]
        assert not [wording for wording in wordings if "{" in wording.format(**slots)]
        assert kind.key in slots


@pytest.mark.parametrize("split", list(Split))
def test_the_template_writes_what_training_reads(split: Split) -> None:
    for index in range(150):
        sample = draw_sample(3, split, index)
        assert _apply_template(sample) == _text(sample)


def test_the_template_ends_in_the_assistants_turn_when_asked() -> None:
    sample = Sample("chat", (Message("system", "Be brief."), Message("user", "Hi")))
    assert (
        _apply_template(sample, add_generation_prompt=True)
        == "<|begin|><|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>"
    )


def test_tools_and_calls_are_written_out() -> None:
    tool = Tool(
        "get_weather", "Get the weather.", (Parameter("city", "string"), Parameter("day", "string", required=False))
    )
    messages = (
        Message("user", "Weather in Oslo?"),
        Message("assistant", "", (ToolCall("get_weather", {"city": "Oslo"}),)),
    )
    sample = Sample("calling", messages, (tool,))
    assert prompt_of(sample) == (
        "<|begin|><|system|>Tools:\n- get_weather(city: string, day?: string): Get the weather.\n<|end|>"
        "<|user|>Weather in Oslo?<|end|><|assistant|>"
    )
    assert answer_of(sample) == '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


def test_only_the_assistant_is_learnt(tokenizer: Tokenizer) -> None:
    sample = draw_sample(1, Split.TRAIN, 5)
    encoded = encode(tokenizer, sample)
    learnt = tokenizer.decode(
        [i for i, learn in zip(encoded.ids, encoded.learn, strict=True) if learn], skip_special_tokens=False
    )
    assert learnt == "".join(text for text, learn in render(sample) if learn)


def test_answers_are_told_where_to_look(tokenizer: Tokenizer) -> None:
    tool = Tool("get_time", "Get the time.", (Parameter("city", "string"),))
    messages = (
        Message("user", "Ann likes tea. Ben is 9. How old is Ben?"),
        Message("assistant", "Ben is 9 years old.", source="Ben is 9."),
        Message("user", "Who is Eve?"),
        Message("assistant", "The passage does not say.", source=""),
        Message("user", "Thanks"),
        Message("assistant", "You are welcome!"),
    )
    encoded = encode(tokenizer, Sample("test", messages, (tool,)))
    looked_at = [
        tokenizer.decode(encoded.ids[start:end], skip_special_tokens=False) for _, start, end, _ in encoded.pointers
    ]
    assert set(looked_at) == {"Ben is 9.", "<|begin|>"}
    assert [encoded.learn[position] for position, *_ in encoded.pointers].count(False) == 2
    assert all(encoded.learn[position + 1] for position, *_ in encoded.pointers)
    batch = micro_batches(tokenizer, [encoded], 512)[0]
    assert batch.pointers.tolist() == [[0, *pointer] for pointer in encoded.pointers]


def test_piecewise_encoding_is_the_encoding_of_the_whole(tokenizer: Tokenizer) -> None:
    for index in range(100):
        sample = draw_sample(4, Split.NEW_NAMES, index)
        assert encode(tokenizer, sample).ids == tokenizer.encode(_text(sample), add_special_tokens=False).ids


def test_text_comes_back_from_its_tokens(tokenizer: Tokenizer) -> None:
    text = "Zoë paid 1,250 € — “fine”, said Anna.\n\tGrüße 你好 🐟 don't"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_micro_batches_keep_every_conversation_and_the_limit(tokenizer: Tokenizer) -> None:
    samples = step_samples(tokenizer, 1, Split.TRAIN, 0, 40, 2048)
    batches = micro_batches(tokenizer, samples, 1024)
    assert sum(len(batch.ids) for batch in batches) == len(samples)
    assert sum(int(batch.learn.sum()) for batch in batches) == sum(sum(one.learn) for one in samples)
    assert all(len(batch.ids) == 1 or batch.ids.numel() <= 1024 + 8 * len(batch.ids) for batch in batches)


def test_micro_batches_are_cut_so_that_little_is_padding() -> None:
    samples = [Encoded([5] * length, [True] * length, []) for length in (8, 8, 8, 8, 8, 8, 800)]
    tokenizer = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    shapes = [tuple(batch.ids.shape) for batch in micro_batches(tokenizer, samples, 10_000)]
    assert shapes == [(6, 8), (1, 800)]


def test_articles_are_mended() -> None:
    assert with_right_articles("A owl and a old lamp, a boat, plan a b") == "An owl and an old lamp, a boat, plan a b"
