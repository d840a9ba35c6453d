"""What can be named as input: files, globs, pipes, standard input; each can be read again and again."""

from __future__ import annotations

import contextlib
import glob
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from enhanced_deeplog.errors import InputError
from enhanced_deeplog.logs.byte_streams import Spool, TextLines, lines_of_stream, open_stream
from enhanced_deeplog.logs.foreign_text import printable, storable

__all__ = ["STDIN_NAME", "Input", "expand_path", "input_at"]

STDIN_NAME = "<stdin>"


@dataclass(frozen=True)
class Input:
    """Something to read lines from, again and again."""

    name: str
    path: str
    lines: Callable[[int, int], Iterator[TextLines]]  # of (block_bytes, max_line_bytes)


def expand_path(path: str) -> list[str]:
    """The files that a path or a glob means; a path that isn't there stands for itself, as does `-`.

    Raises:
        InputError: If a glob matches no file.
    """
    if path == "-" or Path(path).exists() or not glob.has_magic(path):
        return [path]
    found = [match for match in _matches(path) if not Path(match).is_dir()]
    if not found:
        raise InputError(f"{printable(path)}: expected files that match; there are none. Check the pattern.")
    return found


def _matches(pattern: str) -> list[str]:
    return glob.glob(pattern, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute patterns


def input_at(path: str, source_name: str | None) -> Input:
    """The input at a path; what comes only once (a pipe, standard input) is spooled when it is first read.

    Args:
        path: A path, or `-` for standard input.
        source_name: What to call it instead of its path.

    Raises:
        InputError: If there is no file.
    """
    if path == "-":
        lines = partial(_lines_of_file, Spool(_stdin).open, STDIN_NAME)
        return Input(storable(source_name or STDIN_NAME), STDIN_NAME, lines)
    shown = printable(path, limit=1000) or "''"
    if Path(path).is_dir():
        raise InputError(f"{shown}: expected a file, this is a directory. Name its files: {shown}/*.log")
    if not Path(path).exists():
        raise InputError(f"{shown}: expected a log file, there is none. Check the path.")
    opener: Callable[[], Any] = partial(open, path, "rb", buffering=0)
    if not Path(path).is_file():  # a pipe: <(zcat a.log) of a shell can be read only once
        opener = Spool(opener).open
    name = path if source_name is None else source_name
    return Input(storable(name), path, partial(_lines_of_file, opener, shown))


def _stdin() -> Any:
    return contextlib.nullcontext(sys.stdin.buffer)  # left open: it isn't ours


def _lines_of_file(opener: Callable[[], Any], shown: str, block_bytes: int, max_line_bytes: int) -> Iterator[TextLines]:
    """Lines of a file; whatever goes wrong on the way says in which file and behind which line."""
    n_lines = 0
    try:
        with opener() as raw, open_stream(raw, shown) as stream:
            for lines in lines_of_stream(stream, block_bytes, max_line_bytes):
                n_lines += len(lines.frame)
                yield lines
    except PermissionError:
        raise InputError(f"{shown}: expected to be allowed to read it; permission was denied.") from None
    except EOFError:
        raise InputError(
            f"{shown}: expected a complete compressed file; it breaks off after line {n_lines:,}. "
            f"Copy it again, or decompress what there is into a file of its own and read that."
        ) from None
    except (OSError, zlib.error) as error:
        why = printable(str(error))
        raise InputError(f"{shown}: reading failed after line {n_lines:,}: {why}.") from error
