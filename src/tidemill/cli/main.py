"""The `tidemill` command: its subcommands and how errors reach the user. What a command does is in its own file."""

import sys
from typing import Annotated

import typer

from tidemill import __version__
from tidemill.cli import bench, chat, doctor, ledger, models, run, serve
from tidemill.core.errors import ConfigurationError, RequestError, TidemillError
from tidemill.core.printable import printable

app = typer.Typer(
    name="tidemill",
    help="Tidemill hosts large language models as a service on hardware you own.",
    epilog="Start with: tidemill serve",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"tidemill {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Tidemill hosts large language models as a service on hardware you own."""
    del version, debug  # the one acted in its callback; the other is read by `main`, which outlives the parser


for module, command in (
    (serve, serve.serve),
    (run, run.run),
    (chat, chat.chat),
    (bench, bench.bench),
    (ledger, ledger.ledger),
    (models, models.models),
    (doctor, doctor.doctor),
):
    app.command(help=module.HELP)(command)


def main() -> None:
    """Run the command line; exits 0, 1 for an error, 2 for a wrong command line or setting, 130 for Ctrl-C."""
    arguments = sys.argv[1:]
    try:
        app(arguments, prog_name="tidemill")
    except TidemillError as error:
        if _debug(arguments):
            raise
        _say(f"Error: {error}")
        sys.exit(2 if isinstance(error, ConfigurationError | RequestError) else 1)
    except BrokenPipeError:
        # The reader of our output has gone (`tidemill run ... | head`); there is nobody to tell.
        sys.stdout = None
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if _debug(arguments):
            raise
        _say(f"Error: something unexpected went wrong: {type(error).__name__}: {str(error)[:300]}")
        _say("Run `tidemill --debug ...` to see where, and report it.")
        sys.exit(1)


def _debug(arguments: list[str]) -> bool:
    """Whether `--debug` stands before the subcommand."""
    return "--debug" in arguments[: next((i for i, word in enumerate(arguments) if not word.startswith("-")), 0)]


def _say(text: str) -> None:
    # What a server or a file says may be part of it, and is not to steer the terminal.
    print("\n".join(printable(line) for line in text.split("\n")), file=sys.stderr)
