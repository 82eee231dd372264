"""Makes the `Settings` tree: defaults < tidemill.toml < TIDEMILL_* < flags. Owns the merge and the cross-field checks.

Nothing is ignored: an unknown key or variable, a value of the wrong type, and values that contradict each other are
`ConfigurationError`s that say where they came from.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tidemill.config.leaves import Leaf, leaves
from tidemill.config.settings import LedgerSettings, Settings
from tidemill.core.errors import ConfigurationError

DEFAULT_FILE = "tidemill.toml"
FILE_VARIABLE = "TIDEMILL_CONFIG"
PATH_VARIABLE = "TIDEMILL_INTEGER_PATH"
"""No setting: the CPU kernels read it themselves (`kernels.cpu.integer_probe`), which know no settings."""
_PREFIX = "TIDEMILL_"
_MAX_FILE_BYTES = 1024 * 1024


def load_settings(
    *,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    config_file: Path | None,
    working_directory: Path,
) -> Settings:
    """Merge all sources. `flags` holds only those given, by setting name.

    The file is `config_file`, else the one that TIDEMILL_CONFIG names, else tidemill.toml in `working_directory` if it
    is there. Raises `ConfigurationError`.
    """
    rows = {leaf.name: leaf for leaf in leaves()}
    if config_file is None and environ.get(FILE_VARIABLE):
        config_file = working_directory / environ[FILE_VARIABLE]
    values: dict[str, Any] = {}
    values |= _from_file(config_file, working_directory, rows)
    values |= _from_environment(environ, rows)
    for name, value in flags.items():
        values[name] = _checked(rows[name], value, rows[name].flag)
    settings = _tree(values, rows)
    _check_together(settings)
    return settings


def _from_file(path: Path | None, working_directory: Path, rows: Mapping[str, Leaf]) -> dict[str, Any]:
    if path is None:
        path = working_directory / DEFAULT_FILE
        if not path.is_file():
            return {}
    document = _read_toml(path)
    sections = {leaf.section for leaf in rows.values()}
    values: dict[str, Any] = {}
    for section, table in document.items():
        if section not in sections:
            raise _unknown(f"[{section}]" if isinstance(table, dict) else f"'{section}'", path, section, sections, rows)
        if not isinstance(table, dict):
            raise ConfigurationError(f"'{section}' in {path} must be a table, [{section}].")
        names = {leaf.name for leaf in rows.values() if leaf.section == section}
        for name, value in table.items():
            if name not in names:
                raise _unknown(f"'{name}' in [{section}]", path, name, names, rows)
            values[name] = _checked(rows[name], value, f"{path} [{section}]")
    return values


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigurationError(f"{path} has more than {_MAX_FILE_BYTES} bytes.")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(f"The configuration file {path} cannot be read: {reason}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"The configuration file {path} is not valid TOML: {error}.") from error


def _from_environment(environ: Mapping[str, str], rows: Mapping[str, Leaf]) -> dict[str, Any]:
    by_variable = {leaf.variable: leaf for leaf in rows.values()}
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith(_PREFIX) or variable in (FILE_VARIABLE, PATH_VARIABLE):
            continue
        leaf = by_variable.get(variable)
        if leaf is None:
            raise ConfigurationError(
                f"The environment variable {variable} is no setting of Tidemill.",
                next_step=_suggestion(variable, [*by_variable, FILE_VARIABLE], prefix=_PREFIX) or "Unset it.",
            )
        if text.strip():
            values[leaf.name] = _checked(leaf, text, variable, is_text=True)
    return values


def _checked(leaf: Leaf, value: Any, source: str, *, is_text: bool = False) -> Any:
    try:
        return leaf.check(leaf.parse(value) if is_text else value)
    except ValueError as error:
        expected = f"expected one of {', '.join(leaf.choices)}" if leaf.choices else str(error)
        if is_text and leaf.kind in ("whole", "number") and "expected" not in expected:
            expected = "expected a whole number" if leaf.kind == "whole" else "expected a number"
        raise ConfigurationError(
            f"{leaf.name} is {value!r:.80} (from {source}): {expected}.",
            next_step=f"It means: {leaf.description}",
        ) from error


def _tree(values: Mapping[str, Any], rows: Mapping[str, Leaf]) -> Settings:
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        sections.setdefault(rows[name].section, {})[name] = value
    return msgspec.convert(sections, Settings)


def _check_together(settings: Settings) -> None:
    """What no single value can get wrong alone."""
    engine, scheduler = settings.engine, settings.scheduler
    if not engine.heartbeat_seconds < engine.stalled_after_seconds < engine.dead_after_seconds:
        raise ConfigurationError(
            f"heartbeat_seconds ({engine.heartbeat_seconds:g}), stalled_after_seconds "
            f"({engine.stalled_after_seconds:g}) and dead_after_seconds ({engine.dead_after_seconds:g}) must rise so.",
            next_step="Raise dead_after_seconds, or lower the others.",
        )
    if scheduler.max_num_batched_tokens < scheduler.max_num_seqs:
        raise ConfigurationError(
            f"max_num_batched_tokens ({scheduler.max_num_batched_tokens}) is less than max_num_seqs "
            f"({scheduler.max_num_seqs}), but a step holds a token of each running sequence.",
            next_step="Raise max_num_batched_tokens, or lower max_num_seqs.",
        )
    _check_prices(settings.ledger)
    _check_power(settings.ledger)
    server = settings.server
    if server.max_arriving_bytes < server.max_body_bytes:
        raise ConfigurationError(
            f"max_arriving_bytes ({server.max_arriving_bytes}) is less than max_body_bytes ({server.max_body_bytes}).",
            next_step="Raise max_arriving_bytes, or lower max_body_bytes.",
        )
    names = settings.model.served_model_name
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise ConfigurationError("served_model_name has an empty name, or the same name twice.")
    if not settings.model.model.strip():
        raise ConfigurationError("model is empty.", next_step="Name a folder, a hub id, or 'minnow'.")
    if not settings.server.host.strip():
        raise ConfigurationError("host is empty.", next_step="Use 127.0.0.1 for this machine only.")


def _check_prices(ledger: LedgerSettings) -> None:
    itemized = [
        name for name in ("machine_purchase_price", "electricity_price_per_kwh") if getattr(ledger, name) is not None
    ]
    if ledger.machine_price_per_hour is not None and itemized:
        raise ConfigurationError(
            f"machine_price_per_hour is an all-in price, and {' and '.join(itemized)} would be counted twice.",
            next_step="Give either the all-in price, or purchase and electricity.",
        )


def _check_power(ledger: LedgerSettings) -> None:
    idle, full = ledger.power_idle_watts, ledger.power_full_watts
    if idle is not None and full is not None and idle > full:
        raise ConfigurationError(
            f"power_idle_watts ({idle:g}) is more than power_full_watts ({full:g}).",
            next_step="A machine draws no more at rest than at full load.",
        )


def _unknown(what: str, path: Path, name: str, known: Iterable[str], rows: Mapping[str, Leaf]) -> ConfigurationError:
    step = _suggestion(name, list(known))
    if name in rows:
        step = f"It belongs in the table [{rows[name].section}]."
    return ConfigurationError(
        f"{what} in {path} is no setting of Tidemill.",
        next_step=step or f"Choose from {', '.join(sorted(known))}.",
    )


def _suggestion(name: str, known: list[str], prefix: str = "") -> str | None:
    """The nearest known name, if one is near; a common `prefix` makes no two names alike."""
    close = difflib.get_close_matches(name.removeprefix(prefix), [other.removeprefix(prefix) for other in known], n=1)
    return f"Did you mean {prefix}{close[0]}?" if close else None
