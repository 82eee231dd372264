"""The environment chat templates run in. Owns what a template may do and how much; knows no messages.

A template comes with a model and is not trusted: it runs in Jinja's immutable sandbox, and every loop turn, macro call
and character it makes is charged to a budget of work and of processor time, so that none can hang the process or eat
its memory.
"""

import datetime as dt
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, MappingView
from typing import Any, cast

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from tidemill.core.clock import Clock
from tidemill.text.template_charges import weave_charges
from tidemill.text.template_limits import (
    MAX_ITEMS,
    MAX_STRING,
    TemplateBudgetError,
    check_format,
    check_power,
    check_product,
    check_widths,
)

MAX_WORK = 64 * 1024 * 1024
"""Characters made, plus a fixed charge for each loop turn and call, in one rendering."""
MAX_SECONDS = 5.0
"""Processor time of one rendering: some single operations read much and make nothing that could be charged."""
_NUMBER_CHARGE = 16
_WIDTH_FILTERS = ("center", "indent", "wordwrap", "truncate", "batch", "slice", "round")
_WIDTH_METHODS = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
# These look at the items of a list; every other filter turns what it is given into text.
_ITEM_FILTERS = (
    *("abs", "attr", "batch", "count", "d", "default", "dictsort", "first", "float", "groupby", "int", "items"),
    *("last", "length", "list", "map", "max", "min", "reject", "rejectattr", "reverse", "round", "select"),
    *("selectattr", "slice", "sort", "unique"),
)
_CONTAINERS = (list, tuple, set, dict, MappingView, Namespace)
_REMOVED_FILTERS = ("random", "pprint", "urlize", "sum", "xmlattr")
_REMOVED_GLOBALS = ("lipsum",)


class RaisedByTemplateError(jinja2.TemplateError):
    """The template called `raise_exception`: it refuses these messages."""


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with a budget. One rendering at a time: the caller holds a lock and calls `reset` before each."""

    intercepted_binops = frozenset(["*", "**", "%", "+"])

    def __init__(self, now: Callable[[], dt.datetime], clock: Clock = time.thread_time) -> None:
        """`now` is the time of day that a template may show; `clock` is this thread's processor time."""
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, GenerationBlock], finalize=self._finalize
        )
        self._clock = clock
        self.reset()
        self.filters["tojson"] = self._to_json
        for name in _REMOVED_FILTERS:
            del self.filters[name]
        for name in _REMOVED_GLOBALS:
            del self.globals[name]
        for name, function in list(self.filters.items()):
            self.filters[name] = self._metered(name, function)
        for name in list(self.tests):
            self.tests[name] = self._timed(cast(Callable[..., Any], self.tests[name]))
        self.filters["join"] = self._join
        self.filters["replace"] = self._replace
        self.filters["format"] = lambda text, *args, **kwargs: self._format_percent(text, kwargs or args)
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = lambda pattern: now().strftime(str(pattern)[:256])

    def reset(self) -> None:
        """Give the next rendering its whole budget."""
        self._work_left = MAX_WORK
        self._deadline = self._clock() + MAX_SECONDS

    def charge(self, amount: int) -> str:
        """Take `amount` from the budget; returns "" so that it can stand in an output. Raises `TemplateBudgetError`."""
        self._work_left -= amount
        if self._work_left < 0 or self._clock() > self._deadline:
            raise TemplateBudgetError("it needs more work than a rendering may take")
        return ""

    def concat_bounded(self, *parts: Any) -> str:
        """The `~` operator."""
        text = "".join(self._text(part) for part in parts)
        self._sized(text)
        return text

    def slice_bounded(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        """`value[start:stop:step]`, which copies."""
        return self._sized(value[start:stop:step])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """`*`, `**`, `%` and `+`, each with a bound on what it makes."""
        if operator == "*":
            check_product(left, right)
        elif operator == "**":
            check_power(left, right)
        elif operator == "%" and isinstance(left, str):
            return self._format_percent(left, right)
        elif operator == "+" and isinstance(left, list | tuple) and isinstance(right, list | tuple):
            self._check_items(len(left) + len(right))
        result = super().call_binop(context, operator, left, right)
        return self._sized(result)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Any call a template makes; those of string methods that can multiply are bounded."""
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str):
            self.charge(len(owner))
            if name == "replace":
                return self._replace(owner, *args, **kwargs)
            if name == "join":
                return self._join(args[0] if args else (), owner)
            if name in _WIDTH_METHODS:
                check_widths((*args, *kwargs.values()))
        return self._sized(super().call(context, obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """The sandbox's own stand-in for `str.format`, for formats of bounded width."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        text = str(value.__self__)

        def bounded(*args: Any, **kwargs: Any) -> str:
            check_format(text)
            self._charge_format(text, "{", (*args, *kwargs.values()))
            return wrapped(*args, **kwargs)

        return bounded

    def _generate(
        self, source: nodes.Template, name: str | None, filename: str | None, defer_init: bool = False
    ) -> str:
        """Compile, with the charges woven into the tree."""
        weave_charges(source)
        return super()._generate(source, name, filename, defer_init=defer_init)

    def _finalize(self, value: Any) -> Any:
        self.charge(len(value) if isinstance(value, str) else 0)
        return self._text(value) if isinstance(value, _CONTAINERS) else value

    def _text(self, value: Any) -> str:
        """`str(value)`, charged before it is made if it is no text yet."""
        self._weigh(value)
        return str(value)

    def _weigh(self, value: Any, indent: int = 0) -> None:
        """Charge what is inside `value` as text: a list that holds one long text many times is spelled out in full."""
        stack = [(value, 1)] if isinstance(value, _CONTAINERS) else []
        while stack:
            item, depth = stack.pop()
            if isinstance(item, Namespace):
                item = item._Namespace__attrs  # noqa: SLF001 - it is what its repr shows
            if isinstance(item, str):
                self.charge(len(item))
            elif isinstance(item, int):
                self.charge(_NUMBER_CHARGE + item.bit_length() // 3)
            elif isinstance(item, _CONTAINERS):
                inner = [*item, *item.values()] if isinstance(item, dict) else list(cast(Iterable[Any], item))
                self.charge(len(inner) * (1 + indent * depth))
                stack += ((each, depth + 1) for each in inner)
            else:
                self.charge(_NUMBER_CHARGE)

    def _sized(self, value: Any) -> Any:
        if isinstance(value, str):
            self.charge(len(value))
            if len(value) > MAX_STRING:
                raise TemplateBudgetError("it makes a string that is too long")
        elif isinstance(value, list | tuple | dict | set):
            self._check_items(len(value))
        return value

    def _metered(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The filter, charged for what it reads and makes. Keeps the mark by which Jinja passes a context first."""

        def metered(*args: Any, **kwargs: Any) -> Any:
            if name in _WIDTH_FILTERS:
                check_widths((*args, *kwargs.values()))
            if name not in _ITEM_FILTERS:
                for arg in args:
                    self._weigh(arg)
            self.charge(sum(len(arg) for arg in args if isinstance(arg, str | list | tuple | dict)))
            return self._sized(function(*args, **kwargs))

        metered.__dict__.update(getattr(function, "__dict__", {}))
        return metered

    def _timed(self, test: Callable[..., Any]) -> Callable[..., Any]:
        """The test, which makes nothing but may read much. Keeps the marks as `_metered` does."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.charge(1)
            return test(*args, **kwargs)

        timed.__dict__.update(getattr(test, "__dict__", {}))
        return timed

    def _check_items(self, count: int) -> None:
        self.charge(count)
        if count > MAX_ITEMS:
            raise TemplateBudgetError("it makes a list that is too long")

    def _join(self, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
        items = [item[attribute] if attribute is not None else item for item in value]
        texts = [self._text(item) for item in items]
        self.charge(sum(map(len, texts)) + len(d) * len(texts))
        return str(d).join(texts)

    def _replace(self, text: Any, old: Any, new: Any, count: int | None = None) -> str:
        text, old, new = self._text(text), self._text(old), self._text(new)
        self.charge(len(text) + text.count(old) * len(new))
        return str(text).replace(old, new, -1 if count is None else count)

    def _format_percent(self, text: Any, values: Any) -> str:
        text = self._text(text)
        if "*" in text or re.search(r"\d{5}", text):
            raise TemplateBudgetError("it formats to a width that is too large")
        given = values if isinstance(values, tuple | Mapping) else (values,)
        self._charge_format(text, "%", given.values() if isinstance(given, Mapping) else given)
        formatted: str = text % given
        return formatted

    def _charge_format(self, text: str, sign: str, values: Iterable[Any]) -> None:
        """Charge for formatting `values`: each place may take the longest of them, and has its own width."""
        longest = max((len(self._text(value)) for value in values), default=0)
        widths = sum(int(number[0]) for number in re.finditer(r"[0-9]+", text))
        self.charge(len(text) + text.count(sign) * longest + widths)

    def _to_json(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """JSON without the HTML escapes of Jinja's own filter, as chat templates expect."""
        if isinstance(indent, int):
            check_widths((indent * 100,))
            self._weigh(value, abs(indent))
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class GenerationBlock(Extension):
    """`{% generation %}...{% endgeneration %}` marks an assistant's words for training; here its body is just text."""

    tags = {"generation"}  # noqa: RUF012 - the base class declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The body's statements, in place of the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: Any) -> None:
    raise RaisedByTemplateError(str(message)[:500])
