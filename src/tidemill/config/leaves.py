"""Every setting as one row: its name, section, kind, default and description. Owns how text becomes a value of it.

Command-line flags, environment variables and the reference page are all made from these rows.
"""

import math
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from tidemill.config.settings import Settings
from tidemill.config.sizes import parse_size

Kind = Literal["text", "whole", "number", "switch", "choice", "names", "size"]
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting. `annotation` is its declared type with its bounds; `choices` are what a choice may be."""

    section: str
    section_title: str
    name: str
    kind: Kind
    annotation: Any
    default: Any
    description: str
    bounds: str
    choices: tuple[str, ...]

    @property
    def flag(self) -> str:
        """The command-line flag; the model is an argument."""
        return "MODEL" if self.name == "model" else "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "TIDEMILL_" + self.name.upper()

    def parse(self, text: str) -> Any:
        """The value that `text` spells, of the right type but not yet within bounds. Raises `ValueError`."""
        if self.kind == "whole":
            return int(text)
        if self.kind == "number":
            return float(text)
        if self.kind == "size":
            return parse_size(text)
        if self.kind == "switch":
            return _parse_switch(text)
        if self.kind == "names":
            return tuple(name.strip() for name in text.split(",") if name.strip())
        return text

    def check(self, value: Any) -> Any:
        """`value` as the setting's type, within its bounds; a size may be text. Raises `ValueError`."""
        if self.kind == "size" and isinstance(value, str):
            value = parse_size(value)
        if self.kind == "names" and isinstance(value, str):
            raise ValueError("expected a list of names")
        try:
            checked = msgspec.convert(value, self.annotation)
        except msgspec.ValidationError as error:
            raise ValueError(_in_words(str(error))) from error
        if isinstance(checked, float) and not math.isfinite(checked):
            raise ValueError("expected a finite number")
        return checked


def leaves() -> tuple[Leaf, ...]:
    """Every setting, section by section, in the order of declaration."""
    return tuple(
        leaf
        for section in msgspec.structs.fields(Settings)
        for leaf in _leaves_of(section.name, typing.cast(type[msgspec.Struct], section.type))
    )


def _leaves_of(section: str, struct: type[msgspec.Struct]) -> list[Leaf]:
    hints = typing.get_type_hints(struct, include_extras=True)
    title = " ".join((struct.__doc__ or section).split()).split(". ")[0].rstrip(".")
    rows = []
    for field in msgspec.structs.fields(struct):
        annotation = hints[field.name]
        assert get_origin(annotation) is Annotated, f"{section}.{field.name} has no description"
        base, *metas = get_args(annotation)
        meta = next(meta for meta in metas if isinstance(meta, msgspec.Meta))
        kind, choices = _kind_of(base, is_size=bool(meta.extra and meta.extra.get("is_size")))
        rows.append(
            Leaf(
                section=section,
                section_title=title,
                name=field.name,
                kind=kind,
                annotation=annotation,
                default=field.default,
                description=meta.description or "",
                bounds=_bounds_of([meta, *_inner_metas(base)]),
                choices=choices,
            )
        )
    return rows


def _kind_of(base: Any, *, is_size: bool) -> tuple[Kind, tuple[str, ...]]:
    base = _inner(base)
    if get_origin(base) is Literal:
        return "choice", get_args(base)
    if get_origin(base) is tuple:
        return "names", ()
    if is_size:
        return "size", ()
    kinds: dict[type, Kind] = {bool: "switch", int: "whole", float: "number", str: "text"}
    return kinds[base], ()


def _in_words(reason: str) -> str:
    """The converter's reason, without the names of Python's types."""
    for name, word in (("`int`", "a whole number"), ("`float`", "a number"), ("`str`", "text"), ("`bool`", "a switch")):
        reason = reason.replace(name, word)
    return reason[0].lower() + reason[1:].split(" - at ")[0]


def _inner(base: Any) -> Any:
    """The type itself, without `| None` and without bounds of its own."""
    if get_origin(base) in (types.UnionType, typing.Union):
        base = next(arg for arg in get_args(base) if arg is not type(None))
    return get_args(base)[0] if get_origin(base) is Annotated else base


def _inner_metas(base: Any) -> list[msgspec.Meta]:
    """Bounds that stand within `Annotated[int, Meta(ge=1)] | None`."""
    inner = [arg for arg in get_args(base) if get_origin(arg) is Annotated]
    return [meta for arg in inner for meta in get_args(arg)[1:] if isinstance(meta, msgspec.Meta)]


def _bounds_of(metas: list[msgspec.Meta]) -> str:
    signs = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
    found = [(sign, getattr(meta, name)) for meta in metas for name, sign in signs]
    return ", ".join(f"{sign} {value}" for sign, value in found if value is not None)


def _parse_switch(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("expected true or false")
    return word in _TRUE
