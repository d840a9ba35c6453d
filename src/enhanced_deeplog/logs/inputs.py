"""What can be named as input: files, globs, pipes, standard input; each can be read again and again."""

from __future__ import annotations

import contextlib
import glob
import lzma
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from enhanced_deeplog.errors import InputError
from enhanced_deeplog.logs.byte_streams import Spool, TextLines, lines_of_stream, open_stream
from enhanced_deeplog.logs.foreign_text import printable, storable

__all__ = ["STDIN_NAME", "Input", "expand_path", "input_at", "service_of"]

STDIN_NAME = "<stdin>"


@dataclass(frozen=True)
class Input:
    """Something to read lines from, again and again."""

    name: str
    path: str
    lines: Callable[[int, int], Iterator[TextLines]]  # of (block_bytes, max_line_bytes)
    latest: datetime | None = None  # when it was written last, UTC; None: now
    service: str = ""  # what its records belong to if they don't say


def expand_path(path: str) -> list[str]:
    """The files that a path, a folder or a glob means; a path that isn't there stands for itself, as does `-`.

    Of a folder, all files in it and below that hold text, compressed or not; but no hidden ones.

    Raises:
        InputError: If a glob matches no file, or a folder holds no text.
    """
    if path != "-" and Path(path).is_dir():
        return _files_in(path)
    if path == "-" or Path(path).exists() or not glob.has_magic(path):
        return [path]
    found = [match for match in _matches(path) if not Path(match).is_dir()]
    if not found:
        raise InputError(f"{printable(path)}: expected files that match; there are none. Check the pattern.")
    return found


def _files_in(folder: str) -> list[str]:
    paths = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    found = [str(path) for path in paths if not _is_hidden(path.relative_to(folder)) and _holds_text(path)]
    if not found:
        raise InputError(f"{printable(folder)}: expected log files in this folder; it holds no text. Check the path.")
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _holds_text(path: Path) -> bool:
    try:
        with path.open("rb", buffering=0) as raw, open_stream(raw, str(path)) as stream:
            return bool(stream.peek(1))
    except InputError:  # an image, an archive; a log that can't be read is told of when it is read
        return path.suffix == ".zst" or ".log" in path.suffixes
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return True


def service_of(path: str) -> str:
    """The service whose log lies there, by the names of file and folder.

    Example:
        >>> service_of("logs/orders-2024-03-01.log.gz"), service_of("logs/payments/0.log")
        ('orders', 'payments')
        >>> service_of("containers/gate-77_default_nginx-0123456789abcdef.log")  # Kubernetes
        'nginx'
        >>> service_of("pods/shop_orders-5d9c7f6b8d-x2x9p_0a1b/app/0.log"), service_of("nginx/access.log")
        ('orders', 'nginx')
    """
    name, folder = Path(path).name, Path(path).parent
    if container := re.match(r"([^_]+)_[^_]+_(.+)-[0-9a-f]{12,64}\.log", name):
        return storable(_service_of_container(container[2], pod=container[1]))
    if pod := re.match(r"[^_]+_([^_]+)_[0-9a-f-]+$", folder.parent.name):
        return storable(_service_of_container(folder.name, pod=pod[1]))
    stem = re.sub(r"(?:(?:^|[-_])(?:[0-9]{4}[-_]?[0-9]{2}[-_]?[0-9]{2}|[0-9]+))?$", "", name.split(".")[0])
    says_nothing = not stem or stem in _NO_SERVICES or re.match(rf"{re.escape(folder.name)}-[0-9]", stem)
    return storable(folder.name if says_nothing and folder.name else stem)


# Of files that several services have, and of containers: it is the folder, or the deployment, that tells them apart.
_NO_SERVICES = frozenset(("access", "error", "stdout", "stderr", "out", "output", "console", "current"))
_NO_CONTAINERS = frozenset(("app", "application", "main", "manager", "server", "service", "container"))


def _service_of_container(container: str, pod: str) -> str:
    if container not in _NO_CONTAINERS:
        return container
    return re.sub(r"(?:-[0-9a-f]{6,10})?-[a-z0-9]{5}$|-[0-9]+$", "", pod)


def _matches(pattern: str) -> list[str]:
    return glob.glob(pattern, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute patterns


def input_at(path: str, source_name: str | None, service: str = "") -> Input:
    """The input at a path; what comes only once (a pipe, standard input) is spooled when it is first read.

    Args:
        path: A path of `expand_path`, or `-` for standard input.
        source_name: What to call it instead of its path.
        service: What its records belong to if they don't say.

    Raises:
        InputError: If there is no file.
    """
    if path == "-":
        lines = partial(_lines_of_file, Spool(_stdin).open, STDIN_NAME)
        return Input(storable(source_name or STDIN_NAME), STDIN_NAME, lines)
    shown = printable(path, limit=1000) or "''"
    if not Path(path).exists():
        raise InputError(f"{shown}: expected a log file, there is none. Check the path.")
    opener: Callable[[], Any] = partial(open, path, "rb", buffering=0)
    latest = None
    if Path(path).is_file():
        written = min(Path(path).stat().st_mtime, time.time())  # the future is a clock that is wrong
        latest = datetime.fromtimestamp(written, UTC).replace(tzinfo=None)
    else:  # a pipe: <(zcat a.log) of a shell can be read only once
        opener = Spool(opener).open
    name = path if source_name is None else source_name
    return Input(storable(name), path, partial(_lines_of_file, opener, shown), latest, service)


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
    except FileNotFoundError:
        raise InputError(
            f"{shown}: expected a log file, there is none any more: it was removed or renamed. Read a copy."
        ) from None
    except EOFError:
        raise InputError(
            f"{shown}: expected a complete compressed file; it breaks off after line {n_lines:,}. "
            f"Copy it again, or decompress what there is into a file of its own and read that."
        ) from None
    except (OSError, zlib.error, lzma.LZMAError) as error:
        why = printable(str(error))
        raise InputError(f"{shown}: reading failed after line {n_lines:,}: {why}.") from error
