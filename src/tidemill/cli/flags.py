"""The settings as command-line flags. Owns how a declared setting looks on the command line; parses nothing itself."""

import inspect
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import typer

from tidemill.config.leaves import Leaf, leaves
from tidemill.config.loader import load_settings
from tidemill.config.reference import shown_default
from tidemill.config.settings import Settings

_TYPES: dict[str, Any] = {"text": str, "size": str, "whole": int, "number": float, "switch": bool, "names": list[str]}
_PANELS = {
    "model": "Model",
    "cache": "KV cache",
    "scheduler": "Scheduler",
    "slo": "Promise",
    "server": "HTTP service",
    "engine": "Engine process",
    "simulation": "Simulated engine",
    "ledger": "Ledger",
    "log": "Logs",
}


class GivenFlags:
    """The settings given as flags to one command, and the file named with `--config`."""

    def __init__(self, values: dict[str, Any], config_file: Path | None) -> None:
        self._values = values
        self._config_file = config_file

    def settings(self, model: str | None) -> Settings:
        """All sources merged; `model` is the command's argument. Raises `ConfigurationError`."""
        values = {name: value for name, value in self._values.items() if value is not None}
        if model is not None:
            values["model"] = model
        return load_settings(
            flags=values, environ=os.environ, config_file=self._config_file, working_directory=Path.cwd()
        )


def with_settings(
    sections: Collection[str], *, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of `sections`; it receives them as its argument `given`, a `GivenFlags`."""
    rows = [leaf for leaf in leaves() if leaf.section in sections and leaf.name != "model" and leaf.name not in without]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def with_flags(**arguments: Any) -> None:
            values = {leaf.name: arguments.pop(leaf.name) for leaf in rows}
            given = GivenFlags(values, arguments.pop("config"))
            command(given=given, **arguments)

        own = [p for name, p in inspect.signature(command).parameters.items() if name != "given"]
        parameters = [*own, _config_parameter(), *(_parameter(leaf) for leaf in rows)]
        with_flags.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_flags.__annotations__ = {p.name: p.annotation for p in parameters}
        with_flags.__name__ = command.__name__
        with_flags.__doc__ = command.__doc__
        return with_flags

    return decorate


def _parameter(leaf: Leaf) -> inspect.Parameter:
    kind: Any = Literal[leaf.choices] if leaf.choices else _TYPES[leaf.kind]
    names = [leaf.flag] if leaf.kind != "switch" else [f"{leaf.flag}/--no-{leaf.flag[2:]}"]
    default = shown_default(leaf).strip("`")
    option = typer.Option(
        *names,
        help=leaf.description + ("" if default == "-" else f" (default: {default})"),
        rich_help_panel=_PANELS[leaf.section],
        show_default=False,
        metavar=_metavar(leaf),
    )
    annotation = Annotated[Optional[kind], option]  # noqa: UP045 - `kind` is a value here
    return inspect.Parameter(leaf.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _metavar(leaf: Leaf) -> str | None:
    if leaf.choices:
        return "|".join(leaf.choices)
    return {"size": "SIZE", "names": "NAME", "text": "TEXT", "whole": "N", "number": "X", "switch": None}[leaf.kind]


def _config_parameter() -> inspect.Parameter:
    option = typer.Option("--config", help="Settings file. Default: ./tidemill.toml if it is there.", metavar="FILE")
    annotation = Annotated[Optional[Path], option]  # noqa: UP045 - read at run time
    return inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
