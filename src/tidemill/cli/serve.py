"""`tidemill serve`: hand the settings to the service."""

from typing import Annotated

import typer

from tidemill.cli.flags import GivenFlags, with_settings

HELP = """
Serve a model over HTTP, with the OpenAI and the Ollama interfaces.

The model may be the bundled one (the default), a local folder, or a hub id. On port 11434 under a familiar name
Tidemill stands in for a running Ollama. The simulated engine computes nothing: it is for load tests.

[bold]Examples[/bold]

  tidemill serve

  tidemill serve ./my-model --port 18080

  tidemill serve Qwen/Qwen3-0.6B --max-model-len 4096

  tidemill serve --port 11434 --served-model-name llama2

  tidemill serve --engine simulated

Every flag is also a TIDEMILL_* variable and a key in tidemill.toml.
"""


@with_settings(("model", "cache", "scheduler", "slo", "server", "engine", "simulation", "ledger", "log"))
def serve(
    given: GivenFlags,
    model: Annotated[
        str | None, typer.Argument(help="A local folder, a hub id, or 'minnow', which ships with Tidemill.")
    ] = None,
) -> None:
    """Serve a model over HTTP."""
    settings = given.settings(model)
    from tidemill.runtime.service import serve as serve_settings

    raise typer.Exit(serve_settings(settings))
