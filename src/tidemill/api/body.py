"""From the bytes of a request to a typed struct: caps on size and nesting, and errors that name the field."""

import difflib
import re
from array import array
from collections.abc import Iterable
from itertools import accumulate
from types import NoneType
from typing import Any, Generic, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from starlette.requests import Request

from tidemill.core.errors import InvalidRequestError, OverloadedError, RequestTooLargeError, UnsupportedFieldError

T = TypeVar("T", bound=msgspec.Struct)

_BRACKETS = b"[]{}"
_NOT_BRACKETS = bytes(b for b in range(256) if b not in _BRACKETS)
_SIGNS = bytes.maketrans(_BRACKETS, b"\x01\xff\x01\xff")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*?)`(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_LOCATION = re.compile(r"(?P<message>.*?) - at (?P<key>`key` in )?`\$\.?(?P<path>.*)`$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*?)`")
_PATIENCE = 3
"""How many times the cap is read and thrown away after it, so that the client gets to read the refusal."""
_ENUM = re.compile(r"Invalid enum value (?P<value>.*)", re.DOTALL)
_TAG = re.compile(r"Invalid value '")


class BodyReader:
    """Reads request bodies: each up to a cap, and all that are still arriving up to another."""

    def __init__(self, max_bytes: int, max_arriving_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._max_arriving_bytes = max_arriving_bytes
        self._arriving_bytes = 0

    async def read(self, request: Request) -> bytes:
        """The whole body.

        Raises `RequestTooLargeError` if it is over its cap, of which no more is kept, and `OverloadedError` if too many
        others are arriving at the same time.
        """
        max_bytes = self._max_bytes
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise InvalidRequestError("Compressed request bodies are not accepted.", param="Content-Encoding")
        declared = int(request.headers.get("content-length", "0")[:20])
        # A client that asks first (Expect: 100-continue), or means to send far too much, is told at once. To others the
        # server listens a while longer: an answer to a client that is still sending is often lost to it.
        budget = 0 if "expect" in request.headers else max_bytes * _PATIENCE
        if declared > max_bytes + budget:
            raise _too_large(max_bytes)
        body, num_bytes = bytearray(), 0
        try:
            async for piece in request.stream():
                num_bytes += len(piece)
                if num_bytes > max_bytes + budget:
                    break
                if num_bytes <= max_bytes:
                    self._make_room(len(piece))
                    body += piece
        finally:
            self._arriving_bytes -= len(body)
        if num_bytes > max_bytes:
            raise _too_large(max_bytes)
        return bytes(body)

    def _make_room(self, num_bytes: int) -> None:
        if self._arriving_bytes + num_bytes > self._max_arriving_bytes:
            raise OverloadedError(
                f"More than {self._max_arriving_bytes} bytes of request bodies are arriving at the same time.",
                retry_after_seconds=1.0,
                next_step="Try again, or raise max_arriving_bytes.",
            )
        self._arriving_bytes += num_bytes


def _too_large(max_bytes: int) -> RequestTooLargeError:
    return RequestTooLargeError(
        f"The request body is larger than the {max_bytes} bytes this server accepts.",
        next_step="Send less, or raise max_body_bytes.",
    )


def json_depth(document: bytes) -> int:
    """How deep the brackets of a JSON document nest, strings left out; without recursion, in linear time."""
    plain = document.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside = b"".join(plain.split(b'"')[::2])
    steps = array("b", outside.translate(_SIGNS, _NOT_BRACKETS))
    return max(accumulate(steps), default=0)


class BodyDecoder(Generic[T]):
    """Decodes one kind of request.

    A field with a description is one of the dialect that is not honoured here, or only in part: what its type does not
    take is refused by its name, with the description as the reason. Null is absent.
    """

    def __init__(self, kind: type[T], *, max_depth: int) -> None:
        self.kind = kind
        self._max_depth = max_depth
        self._decoder = msgspec.json.Decoder(kind)
        self._fields, self._reasons = _field_names(kind)
        self._choices = _choices(kind)
        self._tags = sorted({str(s.__struct_config__.tag) for s in _structs_within(kind) if s.__struct_config__.tag})

    def decode(self, body: bytes) -> T:
        """The request in `body`. Raises `InvalidRequestError` or `UnsupportedFieldError` with the field's name."""
        if json_depth(body) > self._max_depth:
            raise InvalidRequestError(f"The JSON body is nested deeper than {self._max_depth} levels.")
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            self._explain(str(error))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequestError(f"The body is not valid JSON: {error}.") from None
        except RecursionError:
            raise InvalidRequestError("The JSON body is nested too deeply.") from None

    def _explain(self, message: str) -> NoReturn:
        if found := _UNKNOWN.match(message):
            self._refuse(found["path"] or "")
            name = found["name"][:100]
            near = difflib.get_close_matches(name, self._fields, n=1)
            where = f"{found['path']}.{name}" if found["path"] else name
            guess = f"Did you mean '{near[0]}'?" if near else None
            hint = "It belongs in another object of the body." if name in self._fields else guess
            raise InvalidRequestError(f"The field '{where}' is not known.", param=where, next_step=hint)
        located = _LOCATION.match(message)
        path = located["path"][:200] if located else ""
        text = located["message"] if located else message
        if missing := _MISSING.match(text):
            where = f"{path}.{missing['name']}" if path else missing["name"]
            raise InvalidRequestError(f"The field '{where}' is required.", param=where)
        self._refuse(path)
        if _TAG.match(text):
            raise UnsupportedFieldError(path, reason=f"it must be {_either(self._tags)}")
        if enum := _ENUM.match(text):
            allowed = self._choices.get(_names(path)[-1], [])
            taken = f"be {_either(allowed)}" if allowed else "have another value"
            what = f"it must {taken}, not {enum['value'][:100]}"
            raise InvalidRequestError(f"The value of '{path}' is not valid: {what}.", param=path)
        if not path:
            raise InvalidRequestError(f"The body is not what this route takes: {text}.")
        key = "a key of " if located and located["key"] else ""
        raise InvalidRequestError(f"The value of {key}'{path}' is not valid: {text}.", param=path)

    def _refuse(self, path: str) -> None:
        """Refuse the field that `path` leads to or through, if it is one of those."""
        names = _names(path)
        for index, name in enumerate(names):
            if name in self._reasons:
                above = path.split(".")[:index]
                raise UnsupportedFieldError(".".join([*above, name]), reason=self._reasons[name])


def _names(path: str) -> list[str]:
    """The names of fields in a path, without positions in lists."""
    return [part.partition("[")[0] for part in path.split(".")]


def _either(values: Iterable[str]) -> str:
    return " or ".join(f"'{value}'" for value in values)


def _hints(kind: type[msgspec.Struct]) -> Iterable[tuple[str, Any]]:
    """Name and type of every field of `kind` and of the structs within it."""
    for struct in _structs_within(kind):
        hints = get_type_hints(struct, include_extras=True)
        for field in msgspec.structs.fields(struct):
            yield field.encode_name, hints[field.name]


def _field_names(kind: type[msgspec.Struct]) -> tuple[list[str], dict[str, str]]:
    """The names of fields that take something, and the reasons of those that do not take everything."""
    names: dict[str, None] = {}
    reasons: dict[str, str] = {}
    for name, hint in _hints(kind):
        if (reason := _description(hint)) is not None:
            reasons[name] = reason
        if (get_args(hint)[0] if hasattr(hint, "__metadata__") else hint) is not NoneType:
            names[name] = None
    return list(names), reasons


def _choices(kind: type[msgspec.Struct]) -> dict[str, list[str]]:
    """The values of fields that have a few, but for names that are used for more than one set of them."""
    found: dict[str, list[str]] = {}
    clashes = set()
    for name, hint in _hints(kind):
        if values := _literals(hint):
            clashes |= {name} if found.setdefault(name, values) != values else set()
    return {name: values for name, values in found.items() if name not in clashes}


def _literals(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    return [value for argument in get_args(hint) for value in _literals(argument)]


def _description(hint: Any) -> str | None:
    for meta in getattr(hint, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta):
            return meta.description
    return None


def _structs_within(kind: Any, seen: set[Any] | None = None) -> Iterable[type[msgspec.Struct]]:
    seen = set() if seen is None else seen
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind in seen:
            return
        seen.add(kind)
        yield kind
        for field in msgspec.structs.fields(kind):
            yield from _structs_within(field.type, seen)
    else:
        for argument in get_args(kind):
            yield from _structs_within(argument, seen)
