"""The command line. One file a family of commands: parse the options, call the method, print.

Nothing but Typer is imported before a command runs, so that `--help` is quick, and that reading, parsing and
classifying need neither torch nor scikit-learn.
"""

from __future__ import annotations

import functools
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from enhanced_deeplog.cli import backtest, classes, demo, evaluation, fitting, judging, reading
from enhanced_deeplog.cli.options import with_shared_options
from enhanced_deeplog.cli.terminal import be_quiet, message
from enhanced_deeplog.errors import EnhancedDeepLogError

__all__ = ["app", "main"]

FAULT_OF_OURS, INTERRUPTED = 1, 130
_ENDED_BY = 128  # plus the number of the signal, as shells say it

_DESCRIPTION = """Finds the abnormal sessions of a log, and what kind of abnormal each one is.

Exit codes: 0 fine; 1 a fault of this program; 2 wrong use; 3 findings, if --fail-on asks; 4 input can't be
read; 5 bundle refused; 130 interrupted; 143 or 129 ended by a signal."""

app = typer.Typer(
    name="enhanced-deeplog",
    help=_DESCRIPTION,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: quick, and the same in a terminal, a pipe and the documentation
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command that the arguments ask for, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 stops nothing
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # under nohup it is ignored
            signal.signal(number, _end)
    try:
        app(prog_name="enhanced-deeplog")
    except KeyboardInterrupt:  # before a command began, or after it
        sys.exit(INTERRUPTED)


def _end(number: int, _frame: object) -> None:
    """End as Ctrl-C does: temporary files go, what is half written is not left behind."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(_ENDED_BY + number)


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn whatever ends a command into one message and its exit code."""

    @functools.wraps(command)
    def run(**options: object) -> None:
        try:
            command(**options)
            sys.stdout.flush()
        except typer.Exit:
            raise
        except EnhancedDeepLogError as error:
            message(f"Error: {error}")
            code = error.exit_code
        except KeyboardInterrupt:
            message("Interrupted.")
            code = INTERRUPTED
        except BrokenPipeError:  # `| head` has seen enough
            be_quiet()
            code = 0
        except Exception as error:  # whatever it is, the user gets a sentence and an exit code
            _report_fault(error)
            code = FAULT_OF_OURS
        else:
            return
        raise typer.Exit(code)

    return run


def _report_fault(error: Exception) -> None:
    import traceback

    if os.environ.get("EDL_DEBUG") == "1":
        message("".join(traceback.format_exception(error)).rstrip("\n"))
    name = type(error).__name__
    text = str(error).split("\n")[0][:300]
    message(
        f"Error: this is a fault of enhanced-deeplog, not of your input: {name}{': ' if text else ''}{text}\n"
        "EDL_DEBUG=1 shows where it happened; please report it with that."
    )


def _say_version(wanted: bool) -> None:
    if wanted:
        from enhanced_deeplog import __version__

        typer.echo(f"enhanced-deeplog {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_say_version, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


for _command in (
    fitting.analyze, reading.inspect, reading.parse, fitting.fit, judging.classify, judging.explain,
    backtest.backtest, evaluation.evaluate, demo.demo,
):  # fmt: skip
    app.command(help=_command.__doc__)(guarded(with_shared_options(_command)))

_classes = typer.Typer(
    name="classes",
    help=classes.__doc__,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _about_classes in classes.COMMANDS.items():
    _classes.command(_name, help=_about_classes.__doc__)(guarded(with_shared_options(_about_classes)))
app.add_typer(_classes)
