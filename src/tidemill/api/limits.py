"""What a key may ask for, as its line in the key file says: the most urgent priority, the shortest objectives."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tidemill.core.errors import ConfigurationError

_MAX_MILLISECONDS = 86_400_000.0
_MAX_PRIORITY = 2**31


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Bounds of what requests of one key may ask for; None leaves it to the server's own bound, if there is one."""

    most_urgent_priority: int | None = None
    min_ttft_seconds: float | None = None
    min_tpot_seconds: float | None = None
    min_deadline_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What stands behind a key in the key file. `name` is shown in logs in the place of a hash.

    `reads_metrics` is None where the line does not say.
    """

    name: str | None = None
    reads_metrics: bool | None = None
    limits: KeyLimits = field(default_factory=KeyLimits)


def parse_options(words: Sequence[str], where: str) -> KeyOptions:
    """The options that `_OPTIONS` names, each at most once.

    Raises `ConfigurationError` that says `where`.
    """
    values: dict[str, str] = {}
    for word in words:
        option, equals, value = word.partition("=")
        if option not in _OPTIONS or not equals or not value:
            raise ConfigurationError(
                f"{where} has '{word:.40}' behind a key.", next_step=f"Possible are {', '.join(_OPTIONS)}, each with =."
            )
        if option in values:
            raise ConfigurationError(f"{where} has '{option}' twice behind one key.")
        values[option] = value
    try:
        limits = KeyLimits(
            most_urgent_priority=_priority(values.get("max-priority")),
            min_ttft_seconds=_seconds(values.get("min-ttft-ms")),
            min_tpot_seconds=_seconds(values.get("min-tpot-ms")),
            min_deadline_seconds=_seconds(values.get("min-deadline-ms")),
        )
        reads_metrics = _yes_or_no(values.get("metrics"))
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}.") from error
    return KeyOptions(_name(values.get("name"), where), reads_metrics, limits)


_OPTIONS = ("name", "metrics", "max-priority", "min-ttft-ms", "min-tpot-ms", "min-deadline-ms")


def _priority(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.removeprefix("-").isdecimal():
        raise ValueError("max-priority must be a whole number")
    number = int(text) if len(text) <= 11 else _MAX_PRIORITY
    if not -_MAX_PRIORITY <= number < _MAX_PRIORITY:
        raise ValueError("max-priority must be within 32 bits")
    return number


def _seconds(text: str | None) -> float | None:
    return None if text is None else parse_milliseconds(text)


def _yes_or_no(text: str | None) -> bool | None:
    if text not in (None, "yes", "no"):
        raise ValueError("metrics must be yes or no")
    return None if text is None else text == "yes"


def _name(text: str | None, where: str) -> str | None:
    if text is not None and not (len(text) <= 64 and all(c.isalnum() or c in "._-" for c in text) and text.isascii()):
        raise ConfigurationError(f"{where}: a name has at most 64 letters, digits, dots, dashes and underscores.")
    return text


def parse_milliseconds(text: str) -> float:
    """The seconds in a positive number of milliseconds of at most a day. Raises `ValueError`."""
    if len(text) > 16 or not text.replace(".", "", 1).isdigit() or not text.isascii():
        raise ValueError("expected a number of milliseconds")
    milliseconds = float(text)
    if not 0.0 < milliseconds <= _MAX_MILLISECONDS:
        raise ValueError(f"expected more than 0 and at most {_MAX_MILLISECONDS:.0f} milliseconds")
    return milliseconds / 1000.0
