"""`tidemill models`: what can be served without a download: the bundled model and what is in the hub's cache."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from tidemill.config.sizes import format_size
from tidemill.core.errors import ModelLoadError

HELP = """
List the models on this machine.

These are the one that ships with Tidemill, and those in the hub's cache.

[bold]Examples[/bold]

  tidemill models

  tidemill models --json
"""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on this machine. `reason` says why it is not supported."""

    name: str
    source: str
    path: str
    size_bytes: int
    family: str | None
    num_parameters: int | None
    supported: bool
    reason: str | None


def models(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False) -> None:
    """List the models on this machine."""
    found = [*_bundled(), *_cached()]
    if as_json:
        print(json.dumps([asdict(model) for model in found], indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("Model", "Where", "Size", "Family", "Parameters", "Supported"):
        table.add_column(column, justify="right" if column in ("Size", "Parameters") else "left")
    for model in found:
        size = "-" if model.num_parameters is None else f"{model.num_parameters / 1e6:,.0f}M"
        supported = "yes" if model.supported else f"no: {model.reason}"
        cells = (model.name, model.source, format_size(model.size_bytes), model.family or "-", size, supported)
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)


def describe(name: str, source: str, folder: Path, size_bytes: int) -> LocalModel:
    """What a model folder holds, judged by its files."""
    from tidemill.models.spec import load_spec

    try:
        spec = load_spec(folder)
        if not any(folder.glob("*.safetensors")):
            raise ModelLoadError("It has no weights in safetensors.")
        if not (folder / "tokenizer.json").is_file():
            raise ModelLoadError("It has no tokenizer.json.")
    except ModelLoadError as error:
        return LocalModel(name, source, str(folder), size_bytes, None, None, False, error.message)  # noqa: FBT003
    return LocalModel(name, source, str(folder), size_bytes, spec.family, spec.num_parameters, True, None)  # noqa: FBT003


def _bundled() -> Iterator[LocalModel]:
    from tidemill.models.weights.hub import BUNDLED, resolve_model

    try:
        folder = resolve_model(BUNDLED)
    except ModelLoadError as error:
        yield LocalModel(BUNDLED, "bundled", "", 0, None, None, False, error.message)  # noqa: FBT003
        return
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    yield describe(BUNDLED, "bundled", folder, size)


def _cached() -> Iterator[LocalModel]:
    """One row a repository of the hub's cache, of its newest revision that has a configuration."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return
    for repository in sorted(cache.repos, key=lambda repo: repo.repo_id):
        if repository.repo_type != "model":
            continue
        revisions = sorted(repository.revisions, key=lambda revision: revision.last_modified, reverse=True)
        if revisions:
            yield describe(repository.repo_id, "hub cache", revisions[0].snapshot_path, repository.size_on_disk)
