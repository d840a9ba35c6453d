"""What reaches the terminal: data and screens to stdout, messages and progress to stderr.

Text of a log, of a file name or of an error may come from a stranger. It is shown with everything escaped
that is not plainly visible, and Rich never looks for markup in it.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING

from enhanced_deeplog.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from enhanced_deeplog.logs.records import LogRecords
    from enhanced_deeplog.logs.template_changes import TemplateChange

__all__ = [
    "Progress",
    "be_quiet",
    "let_ctrl_c_end_reading",
    "message",
    "progress",
    "shown",
    "tell_of_changes",
    "tell_of_misread",
    "visible",
    "write_lines",
    "write_screen",
]

Progress = Callable[[str, float | None], None]  # what is being done, and which share of it is; None: unknown

_MOST_CHANGES = 10  # told of one by one
_OF_A_TEMPLATE = 200  # characters shown
_WIDTH = 110  # of what goes to a file or a pipe
_BEFORE_PROGRESS_S = 1.0  # what takes no longer needs no bar


def visible(text: str) -> str:
    r"""Escape what doesn't simply show: control characters, marks that turn text round, halves of letters.

    Example:
        >>> visible("red \x1b[31m" + chr(0x202E) + "txt")
        'red \\x1b[31m\\u202etxt'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(text: str, style: str = "", *, limit: int = 0) -> Text:
    """Text for a screen: visible, without markup, cut to `limit` characters if that isn't 0."""
    from rich.text import Text

    cut = text if not limit or len(text) <= limit else text[: limit - 1] + "…"
    return Text(visible(cut), style=style)


def message(text: str) -> None:
    """Say something on stderr; newlines in it stay."""
    lines = (visible(line) for line in text.split("\n"))
    with contextlib.suppress(OSError, ValueError):  # nobody listens: there is nobody to tell, either
        print("\n".join(lines), file=sys.stderr, flush=True)


def tell_of_misread(records: LogRecords) -> None:
    """Say on stderr which sources have lines that were not read as they should be."""
    for source in records.sources:
        may_have_timestamps = source.has_timestamps or source.format in ("jsonl", "logfmt")
        problems = {
            f"that don't fit the format {source.format} (part of the record before, if there is one)": (
                source.n_unfit_lines
            ),
            "with bytes that are no UTF-8 (those became U+FFFD)": source.n_invalid_utf8,
            "cut, being too long": source.n_overlong,
            "without a timestamp that can be read": source.n_without_timestamp if may_have_timestamps else 0,
        }
        said = [f"{n:,} {what}" for what, n in problems.items() if n]
        if said:
            message(
                f"{source.path}: of {source.n_lines:,} lines, {'; '.join(said)}. 'enhanced-deeplog inspect' shows some."
            )


def tell_of_changes(changes: Sequence[TemplateChange]) -> None:
    """Say on stderr which templates a deploy seems to have changed; they are no findings after the first session."""
    for one in changes[:_MOST_CHANGES]:
        what = "a new step" if one.replaces is None else f"in place of {one.replaces[:_OF_A_TEMPLATE]!r}"
        message(
            f"New since fit, and usual by now: {one.template[:_OF_A_TEMPLATE]!r}, {what}; in {one.n_sessions:,} "
            f"sessions, first in {one.session_key[:_OF_A_TEMPLATE]!r} ({one.source!r}, line {one.line:,})."
        )
    if changes:
        how_many = "1 template has" if len(changes) == 1 else f"{len(changes):,} templates have"
        message(f"{how_many} changed in the midst of these logs: a new fit should learn that.")


def write_lines(lines: Iterable[str]) -> None:
    """Write data to stdout: UTF-8 whatever the terminal's encoding."""
    buffer = sys.stdout.buffer
    for line in lines:
        _to_stdout(buffer, f"{line}\n".encode())
    _to_stdout(buffer, b"")


def _to_stdout(buffer: IO[bytes], data: bytes) -> None:
    """Write, or flush where there is nothing to write; a full disk is no fault of ours."""
    try:
        buffer.write(data) if data else buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        be_quiet()
        raise OutputError(f"Expected to be able to write to standard output, but: {error.strerror}.") from None


def write_screen(*parts: RenderableType, to_stderr: bool = False) -> None:
    """Write tables and texts to stdout (what is provisional: to stderr), in colour on a terminal that wants it."""
    file = sys.stderr if to_stderr else sys.stdout
    console = _console(file)
    with console.capture() as captured:  # Rich would end the program itself when a pipe breaks
        for part in parts:
            # Printing joins texts into one that has forgotten how to wrap; so it is told again.
            console.print(part, no_wrap=getattr(part, "no_wrap", None), overflow=getattr(part, "overflow", None))
    file.write(captured.get())
    file.flush()


def _console(file: IO[str]) -> Console:
    from rich.console import Console

    width = None if file.isatty() or "COLUMNS" in os.environ else _WIDTH
    return Console(file=file, width=width, markup=False, highlight=False, emoji=False)


def be_quiet() -> None:
    """Whoever read stdout has gone: let what is still buffered, and what comes, go nowhere."""
    with contextlib.suppress(OSError, ValueError, io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def let_ctrl_c_end_reading() -> None:
    """Polars, once loaded, catches Ctrl-C so that a read from a silent pipe goes on; let it end the read."""
    if hasattr(signal, "siginterrupt"):  # not on Windows
        signal.siginterrupt(signal.SIGINT, True)


def _ignore(_stage: str, _share: float | None) -> None:
    pass


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Show what is being done on stderr, if that is a terminal and it takes a while.

    Yields:
        To be told the stage and the share of it that is done.
    """
    if not sys.stderr.isatty():
        yield _ignore
        return
    from rich import progress as bars

    bar = bars.Progress(
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(bar_width=30),
        bars.TaskProgressColumn(),
        bars.TimeElapsedColumn(),
        console=_console(sys.stderr),
        transient=True,
    )
    task = bar.add_task("", total=None)
    start = threading.Timer(_BEFORE_PROGRESS_S, bar.start)
    start.daemon = True

    def report(stage: str, share: float | None) -> None:
        bar.update(task, description=stage, total=None if share is None else 1.0, completed=share or 0.0)

    try:
        start.start()
        yield report
    finally:
        start.cancel()
        start.join()
        bar.stop()
