"""`tidemill doctor`: shows what this machine has, and what Tidemill would choose on it."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from tidemill import __version__
from tidemill.cli.flags import GivenFlags, with_settings
from tidemill.cli.machine import Machine, read_machine
from tidemill.cli.outlook import Outlook, look_out
from tidemill.config.sizes import format_size

HELP = """
Show what this machine has and what Tidemill would choose on it.

[bold]Examples[/bold]

  tidemill doctor

  tidemill doctor ./my-model --precision bf16

  tidemill doctor --json
"""


@with_settings(("model", "cache"), without=("served_model_name",))
def doctor(
    given: GivenFlags,
    model: Annotated[str | None, typer.Argument(help="A local folder, a hub id, or 'minnow'.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Show what this machine has and what Tidemill would choose on it."""
    settings = given.settings(model)
    machine, outlook = read_machine(), look_out(settings)
    if as_json:
        print(json.dumps({"tidemill": __version__, "machine": asdict(machine), "choice": asdict(outlook)}, indent=2))
    else:
        _show("This machine", _machine_rows(machine))
        _show(f"What the model {outlook.model} would be given here", _outlook_rows(outlook))
    if outlook.problem is not None:
        raise typer.Exit(1)


def _machine_rows(machine: Machine) -> dict[str, str]:
    memory, quota = machine.available_memory_bytes, machine.quota_cores
    limit = "" if quota is None else f", limited to the time of {quota:g}"
    return {
        "System": f"{machine.system}, Python {machine.python}",
        "Processor": machine.cpu,
        "Instructions": ", ".join(machine.instructions) or "none that matter here",
        "Cores": f"{machine.num_usable_cores} usable of {machine.num_cores}{limit}",
        "Memory": "unknown" if memory is None else f"{format_size(memory)} available",
        "GPU": "; ".join(machine.gpus) or "none that PyTorch can use",
        "Packages": ", ".join(f"{name} {version}" for name, version in machine.packages.items()),
    }


def _outlook_rows(outlook: Outlook) -> dict[str, str]:
    if outlook.problem is not None:
        return {"Problem": outlook.problem}
    rows = {
        "Device": outlook.device,
        "Precision": outlook.precision
        if outlook.precision_note is None
        else f"{outlook.precision} ({outlook.precision_note})",
        "Threads": outlook.num_threads,
        "Context": None if outlook.max_model_len is None else f"{outlook.max_model_len} tokens",
        "Weights": None if outlook.weight_bytes is None else format_size(outlook.weight_bytes),
        "KV cache": None if outlook.kv_cache_bytes is None else f"about {format_size(outlook.kv_cache_bytes)}",
    }
    return {name: str(value) for name, value in rows.items() if value is not None}


def _show(title: str, rows: dict[str, str]) -> None:
    print(title)
    for name, value in rows.items():
        print(f"  {name:<13} {value}")
