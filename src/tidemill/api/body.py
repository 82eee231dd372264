"""From the bytes of a request to a typed struct: caps on size and nesting, and errors that name the field."""

import difflib
import re
from array import array
from collections.abc import Iterable
from itertools import accumulate
from types import NoneType
from typing import Any, Generic, NoReturn, TypeVar, get_args, get_type_hints

import msgspec
from starlette.requests import Request

from tidemill.core.errors import InvalidRequestError, RequestTooLargeError, UnsupportedFieldError

T = TypeVar("T", bound=msgspec.Struct)

_BRACKETS = b"[]{}"
_NOT_BRACKETS = bytes(b for b in range(256) if b not in _BRACKETS)
_SIGNS = bytes.maketrans(_BRACKETS, b"\x01\xff\x01\xff")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*?)`(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_LOCATION = re.compile(r"(?P<message>.*?) - at (?P<key>`key` in )?`\$\.?(?P<path>.*)`$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*?)`")
_PATIENCE = 3
"""How many times the cap is read and thrown away after it, so that the client gets to read the refusal."""
_REFUSED = "Expected `null`"


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises `RequestTooLargeError` if it is over `max_bytes`, of which no more is kept."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise InvalidRequestError("Compressed request bodies are not accepted.", param="Content-Encoding")
    declared = int(request.headers.get("content-length", "0")[:20])
    # A client that asks first (Expect: 100-continue), or means to send far too much, is told at once. To others the
    # server listens a while longer: an answer to a client that is still sending is often lost to it.
    budget = 0 if "expect" in request.headers else max_bytes * _PATIENCE
    if declared > max_bytes + budget:
        raise _too_large(max_bytes)
    body, num_bytes = bytearray(), 0
    async for piece in request.stream():
        num_bytes += len(piece)
        if num_bytes > max_bytes + budget:
            break
        if num_bytes <= max_bytes:
            body += piece
    if num_bytes > max_bytes:
        raise _too_large(max_bytes)
    return bytes(body)


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

    A field whose type is `None` is one of the dialect that is not honoured here: null is absent, anything else is
    refused by its name, with the field's description as the reason.
    """

    def __init__(self, kind: type[T], *, max_depth: int) -> None:
        self.kind = kind
        self._max_depth = max_depth
        self._decoder = msgspec.json.Decoder(kind)
        self._fields, self._reasons = _field_names(kind)

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
            name = found["name"][:100]
            near = difflib.get_close_matches(name, self._fields, n=1)
            where = f"{found['path']}.{name}" if found["path"] else name
            hint = f"Did you mean '{near[0]}'?" if near else None
            raise InvalidRequestError(f"The field '{where}' is not known.", param=where, next_step=hint)
        located = _LOCATION.match(message)
        path = located["path"][:200] if located else ""
        text = located["message"] if located else message
        if missing := _MISSING.match(text):
            where = f"{path}.{missing['name']}" if path else missing["name"]
            raise InvalidRequestError(f"The field '{where}' is required.", param=where)
        leaf = path.rpartition(".")[2]
        if text.startswith(_REFUSED) and leaf in self._reasons:
            raise UnsupportedFieldError(path, reason=self._reasons[leaf])
        if not path:
            raise InvalidRequestError(f"The body is not what this route takes: {text}.")
        key = "a key of " if located and located["key"] else ""
        raise InvalidRequestError(f"The value of {key}'{path}' is not valid: {text}.", param=path)


def _field_names(kind: type[msgspec.Struct]) -> tuple[list[str], dict[str, str | None]]:
    """Every field name of `kind` and of the structs within it, and the reasons of those that are refused."""
    names: dict[str, None] = {}
    reasons: dict[str, str | None] = {}
    for struct in _structs_within(kind):
        hints = get_type_hints(struct, include_extras=True)
        for field in msgspec.structs.fields(struct):
            hint = hints[field.name]
            if (get_args(hint)[0] if hasattr(hint, "__metadata__") else hint) is NoneType:
                reasons[field.encode_name] = _description(hint)
            else:
                names[field.encode_name] = None
    return list(names), reasons


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
