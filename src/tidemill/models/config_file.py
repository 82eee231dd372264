"""A JSON settings file of a checkpoint, with typed access: a wrong type is an error that names file and key."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.core.errors import ModelLoadError

_MAX_BYTES = 16 * 1024 * 1024
_MAX_INTEGER = 2**31 - 1


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The object in one file, or one object inside it. A key that is absent and one that is null read alike."""

    name: str
    values: dict[str, Any]

    @staticmethod
    def read(path: Path) -> "ConfigFile":
        """Read `path`. Raises ModelLoadError when it is missing, too large, not JSON, or not an object."""
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise ModelLoadError(f"{path} is larger than {_MAX_BYTES} bytes.")
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ModelLoadError(
                f"{path.parent} has no {path.name}.", next_step="Give the folder of a checkpoint in the hub's layout."
            ) from error
        except OSError as error:
            raise ModelLoadError(f"{path} could not be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise ModelLoadError(f"{path} is not valid JSON: {error}.") from error
        if not isinstance(values, dict):
            raise ModelLoadError(f"{path} does not hold a JSON object.")
        return ConfigFile(str(path), values)

    def error(self, problem: str, *, next_step: str | None = None) -> ModelLoadError:
        """An error about this file."""
        return ModelLoadError(f"{self.name}: {problem}.", next_step=next_step)

    def get(self, key: str) -> Any:
        """The raw value, None when absent."""
        return self.values.get(key)

    def section(self, key: str) -> "ConfigFile | None":
        """The object under `key`."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.error(f"{key} is not an object")
        return ConfigFile(f"{self.name} ({key})", value)

    def integer(self, key: str, default: int | None = None, *, least: int = 1, most: int = _MAX_INTEGER) -> int:
        """An integer from `least` to `most`. Without a default the key must be there."""
        value = self.optional_integer(key, default, least=least, most=most)
        if value is None:
            raise self.error(f"{key} is missing")
        return value

    def optional_integer(
        self, key: str, default: int | None = None, *, least: int = 1, most: int = _MAX_INTEGER
    ) -> int | None:
        """An integer from `least` to `most`; `default` when the key is absent, None when it is null."""
        value = self.values.get(key, default)
        if value is None:
            return default if key not in self.values else None
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.error(f"{key} is {value!r}, but must be an integer of at least {least}")
        if value > most:
            raise self.error(f"{key} is {value}, but must be an integer of at most {most}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number. Without a default the key must be there."""
        value = self.optional_number(key)
        if value is None:
            value = default
        if value is None:
            raise self.error(f"{key} is missing")
        return value

    def optional_number(self, key: str) -> float | None:
        """A finite number, or None."""
        value = self.get(key)
        if value is None:
            return None
        # JSON has integers beyond every float.
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise self.error(f"{key} is {value!r}, but must be a finite number")
        return float(value)

    def boolean(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(f"{key} is {value!r}, but must be true or false")
        return value

    def string(self, key: str, default: str) -> str:
        """A string."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.error(f"{key} is {value!r}, but must be a string")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty when absent."""
        value = self.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(f"{key} must be a list of strings")
        return tuple(value)

    def integers(self, key: str) -> tuple[int, ...] | None:
        """A list of integers, or one integer alone; None when absent."""
        value = self.get(key)
        if value is None:
            return None
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in items):
            raise self.error(f"{key} must be an integer of at least 0, or a list of them")
        return tuple(items)
