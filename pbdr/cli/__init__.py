"""The command ``pbdr``: every module of this package that has a ``register`` function adds its commands."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import sys
from typing import Annotated

import typer

from ..errors import InputError, NonFiniteError, unwrapped
from ..messages import first_sentence

EXIT_BAD_INPUT = 2
EXIT_NON_FINITE = 3
EXIT_INTERRUPTED = 130


def _print_version(is_asked: bool) -> None:
    """Answer ``--version`` and leave."""
    if is_asked:
        from .. import __version__

        print(f"pbdr {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Physically based differentiable rendering: render, differentiate, optimize."""


def build_app() -> typer.Typer:
    """The command-line application, with the commands of all modules of this package.

    A command module defines ``register(app: typer.Typer) -> None``; nothing else names it.
    """
    app = typer.Typer(
        name="pbdr",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name):
        if not module.name.startswith("_"):
            loaded = importlib.import_module(f"{__name__}.{module.name}")
            if register := getattr(loaded, "register", None):
                register(app)
    for command in app.registered_commands:
        # Lines of a docstring are no lines of a terminal
        paragraphs = inspect.cleandoc(command.callback.__doc__).split("\n\n")
        command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return app


app = build_app()


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors that a user can cause become one sentence and an exit code.

    Exit codes: 2 for bad input, 3 when a loss or gradient stayed non-finite, 130 after Ctrl-C. With ``PBDR_DEBUG=1``
    in the environment the Python traceback is shown as well.
    """
    try:
        with unwrapped():
            app(arguments)
    except InputError as error:
        _fail(error, EXIT_BAD_INPUT)
    except NonFiniteError as error:
        _fail(error, EXIT_NON_FINITE)
    except OSError as error:
        place = f"'{error.filename}'" if error.filename else "a file cannot be read or written"
        _fail(InputError(f"{place}: {error.strerror or error}"), EXIT_BAD_INPUT)
    except RuntimeError as error:
        # Mitsuba's way to say that a disk is full
        if "I/O error" not in str(error):
            raise
        _fail(InputError(first_sentence(str(error))), EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _fail(error: Exception, code: int) -> None:
    """Print one sentence on stderr and leave."""
    if os.environ.get("PBDR_DEBUG") == "1":
        raise error
    print(f"error: {error}", file=sys.stderr)
    sys.exit(code)
