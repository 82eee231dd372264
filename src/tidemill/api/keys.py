"""API keys: read once from a file, compared in constant time, each with its own salt for the prefix cache."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tidemill.api.limits import KeyLimits, KeyOptions, parse_options
from tidemill.core.errors import AuthenticationError, ConfigurationError

_MIN_KEY_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request. `label` names the key in logs without giving it away; None where no keys are set.

    `tenant` tells keys apart where they share something; `limits` are what this key may ask for.
    """

    label: str | None
    cache_salt: str
    tenant: str = ""
    reads_metrics: bool = True
    limits: KeyLimits = field(default_factory=KeyLimits)


ANYONE = Caller(label=None, cache_salt="")


class ApiKeys:
    """The keys that may call. With none, everyone may."""

    def __init__(self, keys: tuple[str, ...] = (), options: Mapping[str, KeyOptions] | None = None) -> None:
        """`options` are those of some of the `keys`."""
        known = options or {}
        # Once a line says who reads metrics, nobody else does.
        default = not any(each.reads_metrics for each in known.values())
        self._callers = tuple((_digest(key), _caller(key, known.get(key, KeyOptions()), default)) for key in keys)

    @classmethod
    def load(cls, path: Path) -> "ApiKeys":
        """Keys of a file, one a line, '#' starting a comment; options may follow a key. Raises `ConfigurationError`."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"The API key file {path} cannot be read: {error}.") from error
        options: dict[str, KeyOptions] = {}
        named: dict[str, str] = {}
        for number, line in enumerate(lines, start=1):
            key, *words = line.partition("#")[0].split() or [""]
            if not key:
                continue
            if len(key) < _MIN_KEY_LENGTH or not key.isascii():
                raise ConfigurationError(
                    f"A key in {path} is shorter than {_MIN_KEY_LENGTH} characters, or not plain ASCII without spaces."
                )
            where = f"Line {number} of {path}"
            if options.setdefault(key, found := parse_options(words, where)) != found:
                raise ConfigurationError(
                    f"{where} gives a key other options than a line before.", next_step="Keep one line for each key."
                )
            if found.name is not None and named.setdefault(found.name, key) != key:
                raise ConfigurationError(
                    f"{where} gives the name {found.name} to a second key.",
                    next_step="Give each its own: books, logs and metrics tell keys apart by their names.",
                )
        if not options:
            raise ConfigurationError(f"The API key file {path} has no key.", next_step="Write one key a line.")
        return cls(tuple(options), options)

    @property
    def required(self) -> bool:
        """Whether a request needs a key."""
        return bool(self._callers)

    @property
    def labels(self) -> dict[str, str]:
        """What each tenant is called, for whoever keeps books."""
        return {caller.tenant: caller.label for _, caller in self._callers if caller.label is not None}

    def authenticate(self, authorization: str | None) -> Caller:
        """The caller behind an Authorization header. Raises `AuthenticationError`.

        Digests of equal length are compared, all of them every time, so that the time taken says nothing.
        """
        if not self._callers:
            return ANYONE
        scheme, _, key = (authorization or "").partition(" ")
        given = _digest(key.strip())
        found: Caller | None = None
        for digest, caller in self._callers:
            if hmac.compare_digest(digest, given):
                found = caller
        if found is None or scheme.lower() != "bearer":
            reason = "The API key is not valid." if authorization else "This server needs an API key."
            raise AuthenticationError(reason, next_step="Send it as 'Authorization: Bearer <key>'.")
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _caller(key: str, options: KeyOptions, reads_metrics: bool) -> Caller:
    label = hashlib.sha256(b"tidemill key label\0" + key.encode()).hexdigest()[:8]
    salt = hashlib.sha256(b"tidemill cache salt\0" + key.encode()).hexdigest()
    tenant = hashlib.sha256(b"tidemill tenant\0" + key.encode()).hexdigest()[:16]
    return Caller(
        label=options.name or label,
        cache_salt=salt,
        tenant=tenant,
        reads_metrics=reads_metrics if options.reads_metrics is None else options.reads_metrics,
        limits=options.limits,
    )
