import datetime as dt
import itertools
import json
import tracemalloc
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from tests.text.conftest import CHATML, write_folder
from tidemill.core.errors import InvalidRequestError, ModelLoadError
from tidemill.core.messages import FunctionCall, Message, Role, ToolCall
from tidemill.core.requests import ChatPrompt
from tidemill.text.sandbox import MAX_SECONDS, ChatEnvironment
from tidemill.text.template import ChatTemplate
from tidemill.text.template_limits import TemplateBudgetError

TURNS = """{%- if messages[0].role == 'system' %}
    {%- set ns = namespace(system=messages[0].content | trim) %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set ns = namespace(system='') %}
    {%- set rest = messages %}
{%- endif %}
{{- bos_token }}
{%- macro turn(role, text) -%}
[{{ role | upper }}] {{ text }}
{% endmacro %}
{%- for message in rest %}
    {%- if message.role == 'tool' %}{% continue %}{% endif %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate') }}
    {%- endif %}
    {%- if loop.last and ns.system %}{{- 'SYS ' ~ ns.system ~ '\n' }}{%- endif %}
    {%- generation %}{{- turn(message['role'], message['content'] | trim) }}{%- endgeneration %}
    {%- for call in message.tool_calls or [] %}
        {{- call.function | tojson }}{{ call.function.arguments | tojson(indent=2) }}
    {%- endfor %}
    {%- if loop.index > 40 %}{% break %}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}[ASSISTANT]{% endif %}
{%- if tools is not none %}{{ tools | length }}{% endif %}
"""

MIXED = """{% for m in messages %}
    {% set parts = m['content'].split('\n') %}
  {{ loop.index0 }}: {{ parts | join(' / ') | replace('<', '&') }} {{ '%s-%d' % (m.role, 3) }} {{ '-' * 3 + '>' }}
    {% if not loop.last %}
,
    {% endif %}
{% endfor %}
{{ "{:>8}".format('x') }}{{ 'a'.ljust(4) }}|{{ [1, 2] + [3] }}
{{ {'k': 'é<>&'} | tojson }} {{ 2 ** 5 * 2 }} {{ eos_token }}
"""


def chat(*turns: tuple[Role, str], **options: bool) -> ChatPrompt:
    return ChatPrompt(messages=tuple(Message(role=role, content=content) for role, content in turns), **options)


CHATS = [
    chat(("user", "hello")),
    chat(("system", " be brief "), ("user", "hello\nthere"), ("assistant", "hi <b>"), ("user", "  ünï 🎉 ")),
    chat(("user", "{{ 7 * 7 }}{% raw %}"), add_generation_prompt=False),
]


@pytest.mark.parametrize("source", [CHATML, TURNS, MIXED])
@pytest.mark.parametrize("prompt", CHATS)
def test_renders_as_transformers(source: str, prompt: ChatPrompt, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "byte_fallback")
    (folder / "chat_template.jinja").write_text(source, encoding="utf-8")
    reference = PreTrainedTokenizerFast.from_pretrained(folder)
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    expected = reference.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=prompt.add_generation_prompt
    )
    template = ChatTemplate.load(folder)
    assert template is not None
    assert template.render(prompt) == expected
    assert template.render(prompt) == expected


@pytest.mark.parametrize("source", [CHATML, TURNS])
@pytest.mark.parametrize("content", ["Once upon", "a trailing space ", " both "])
def test_continues_a_message_as_transformers(source: str, content: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "byte_fallback")
    (folder / "chat_template.jinja").write_text(source, encoding="utf-8")
    prompt = chat(("user", "tell"), ("assistant", content), add_generation_prompt=False, continue_final_message=True)
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    reference = PreTrainedTokenizerFast.from_pretrained(folder)
    expected = reference.apply_chat_template(messages, tokenize=False, continue_final_message=True)
    template = ChatTemplate.load(folder)
    assert template is not None
    assert template.render(prompt) == expected


def test_tool_calls_are_objects() -> None:
    call = ToolCall(id="c1", function=FunctionCall(name="add", arguments='{"a": 1, "b": "ü"}'))
    prompt = ChatPrompt(messages=(Message(role="assistant", tool_calls=(call,)),))
    source = "{{ messages[0].tool_calls[0].function | tojson }}{{ messages[0].content is none }}"
    text = ChatTemplate(source, {}).render(prompt)
    assert text == '{"name": "add", "arguments": {"a": 1, "b": "ü"}}True'


@pytest.mark.parametrize(
    ("source", "role"), [("{{ messages[0].role }}", "system"), ("{{ messages[0].role }}{# developer #}", "developer")]
)
def test_a_developer_is_a_system_to_a_template_that_knows_none(source: str, role: str) -> None:
    assert ChatTemplate(source, {}).render(chat(("developer", "x"))) == role


def test_the_clock_comes_from_outside() -> None:
    template = ChatTemplate("{{ strftime_now('%d %b %Y') }}", {}, now=lambda: dt.datetime(2024, 7, 26, tzinfo=dt.UTC))
    assert template.render(chat(("user", "x"))) == "26 Jul 2024"


def test_where_a_template_is_found(tmp_path: Path) -> None:
    assert ChatTemplate.load(tmp_path) is None
    config = tmp_path / "tokenizer_config.json"
    named = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    for value, expected in (("plain", "plain"), (named, "D")):
        config.write_text(json.dumps({"chat_template": value}))
        template = ChatTemplate.load(tmp_path)
        assert template is not None
        assert template.source == expected
    (tmp_path / "chat_template.jinja").write_text("own file")
    template = ChatTemplate.load(tmp_path)
    assert template is not None
    assert template.source == "own file"


@pytest.mark.parametrize("source", ["{% for %}", "{{ ", "{% unknown %}", "{{ x | nosuchfilter }}"])
def test_a_malformed_template_does_not_load(source: str) -> None:
    with pytest.raises(ModelLoadError, match="malformed"):
        ChatTemplate(source, {})


def test_named_templates_without_a_default_do_not_load(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": [{"name": "rag", "template": "R"}]}))
    with pytest.raises(ModelLoadError, match="default"):
        ChatTemplate.load(tmp_path)


def test_a_refusal_by_the_template_is_the_requests_fault() -> None:
    with pytest.raises(InvalidRequestError, match="roles must alternate"):
        ChatTemplate(TURNS, {}).render(chat(("assistant", "no")))


ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({'role': 'system'}) }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.environment }}",
    "{% include '/etc/passwd' %}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ raise_exception.__globals__ }}",
    "{{ environment.charge }}{{ undefined_name.attribute }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_the_sandbox_holds(source: str) -> None:
    prompt = chat(("user", "x"))
    try:
        text = ChatTemplate(source, {}).render(prompt)
    except InvalidRequestError:
        text = ""
    assert text == ""
    assert prompt == chat(("user", "x"))


BOMBS = [
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% for i in range(100000) %}{% for j in range(100000) if j < 0 %}x{% endfor %}{% endfor %}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{{ 'a' * 10**10 }}",
    "{{ [0] * 10**9 }}",
    "{{ 10 ** (10 ** 8) }}",
    "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{% set ns = namespace(n=3) %}{% for i in range(60) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "{% set ns = namespace(s='aaaa') %}{% for i in range(60) %}{% set ns.s = ns.s.replace('a', ns.s) %}{% endfor %}",
    "{% set ns = namespace(s='aaaa') %}{% for i in range(60) %}{% set ns.s = ns.s|replace('a', ns.s) %}{% endfor %}",
    "{% set ns = namespace(s='aaaa') %}{% for i in range(60) %}{% set ns.s = ns.s.join(ns.s) %}{% endfor %}",
    "{% set ns = namespace(s='aaaa') %}{% for i in range(60) %}{% set ns.s = ns.s|list|join(ns.s) %}{% endfor %}",
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{{ 'a'.ljust(10**10) }}",
    "{{ 'a' | center(10**10) }}",
    "{{ 'a' | indent(10**10) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (10**9, 1) }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ '{:>{}}'.format(1, 10**9) }}",
    "{{ messages | tojson(indent=10**9) }}",
    "{{ lipsum(n=100000) }}",
    "{{ 5 | round(10**9) }}",
    "{{ range(100000) | batch(10**9, 'x') | list }}",
    "{% for i in range(100000) %}" + "x" * 10_000 + "{% endfor %}",
    "{% macro f() %}{% for i in range(100000) %}" + "x" * 10_000 + "{% endfor %}{% endmacro %}{{ f() }}",
    "{% set big = 'a' * 10**6 %}{% for i in range(100000) %}{{ big }}{% endfor %}",
    "{% set big = 'a' * 10**6 %}{% for i in range(100000) %}{% set x = big | upper %}{% endfor %}",
    "{% set big = 'a' * 10**6 %}{% for i in range(100000) %}{% set x = big.split('b') %}{% endfor %}",
    "{% for i in range(100000) recursive %}{{ loop(range(100000)) }}{% endfor %}",
]


# Each makes or reads far more than it is charged for by the length of what it names.
SLY_BOMBS = [
    "{% set b = 'x' * 8000000 %}{% for i in range(9) %}{% set x = b[i:] %}{% endfor %}",
    "{{ ('%(a)9999d' * 20000) % {'a': 1} }}",
    "{{ ('{0:9999}' * 20000).format(1) }}",
    "{% set b = 'x' * 1000000 %}{{ (('{0}' * 200).format(b)) | length }}",
    "{% set b = 'x' * 1000000 %}{{ ([b] * 200 ~ '') | length }}",
    "{% set b = 'x' * 1000000 %}{{ ([b] * 200) | string | length }}",
    "{% set b = 'x' * 1000000 %}{{ ([b] * 200) | tojson | length }}",
    "{% set b = 'x' * 1000000 %}{{ [[b] * 200] | join | length }}",
    "{% set b = 'x' * 1000000 %}{% set d = {'a': [b] * 200} %}{{ (d.items() ~ '') | length }}",
    "{% set ns = namespace(a=['x' * 1000000] * 200) %}{{ (ns ~ '') | length }}",
    "{% set n=namespace(a=[1]*9999) %}{% for i in 'x' * 99 %}{% set n.a=[n.a] %}{% endfor %}{{ n.a|tojson(indent=99)}}",
]


@pytest.mark.parametrize("source", SLY_BOMBS)
def test_nothing_is_made_before_it_is_charged(source: str) -> None:
    template = ChatTemplate(source, {})
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequestError, match="more work than a rendering may take"):
            template.render(chat(("user", "x")))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000_000


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(9) %}{% set x = range(9) | select('equalto', -1) | list %}{% endfor %}",
        "{% for i in range(9) %}{% endfor %}",
        "{{ 'a' in 'b' }}",
        "{% if 'a' is in b %}{% endif %}",
    ],
)
def test_what_reads_and_makes_nothing_is_bounded_by_time(source: str) -> None:
    now = itertools.count(step=MAX_SECONDS)
    environment = ChatEnvironment(dt.datetime.now, clock=lambda: float(next(now)))
    template = environment.from_string(source)
    environment.reset()
    next(now)
    with pytest.raises(TemplateBudgetError):
        template.render(b="b")


@pytest.mark.parametrize("source", BOMBS)
def test_no_template_hangs_or_eats_memory(source: str) -> None:
    with pytest.raises((InvalidRequestError, ModelLoadError)):
        ChatTemplate(source, {}).render(chat(("user", "x")))


def test_a_long_conversation_is_within_the_budget() -> None:
    turns: list[tuple[Role, str]] = [("user", "word " * 100), ("assistant", "word " * 100)] * 1000
    assert len(ChatTemplate(CHATML, {}).render(chat(*turns))) > 1_000_000
    assert len(ChatTemplate(CHATML, {}).render(chat(("user", "w" * 4_000_000)))) > 4_000_000
