"""Findings and records to files: JSON lines, CSV and Parquet; written beside, then renamed.

The text of logs comes from strangers. In JSON, whatever a terminal, a script or a web page could take for
more than text is escaped; in CSV, a cell that a spreadsheet would take for a formula gets an apostrophe.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import re
import shutil
import tempfile
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import polars as pl

from enhanced_deeplog.errors import OutputError, UsageError
from enhanced_deeplog.findings import FINDING_COLUMNS, Finding

__all__ = [
    "RECORD_COLUMNS",
    "SUFFIXES",
    "check_output",
    "finding_line",
    "record_lines",
    "write_findings",
    "write_records",
]

SUFFIXES = (".jsonl", ".parquet", ".csv")

RECORD_COLUMNS = (
    *("source", "service", "line", "byte_offset", "timestamp", "severity", "component"),
    *("session_key", "event_id", "template_id", "template", "parameters"),
)
REASONS = ("new_template", "sequence", "counts", "early_end", "timing")

_ROWS = 20_000  # findings turned into columns at once
_TIME = pl.Datetime("ns", "UTC")
_ISO = "%Y-%m-%dT%H:%M:%S%.fZ"  # as many digits of a second as it needs
_FORMULA = "^[=+@\t\r-]"  # how a cell begins that a spreadsheet computes
# What JSON allows and yet is more than text: C1 controls, marks that turn text round or hide it, line
# separators that end a line of JavaScript. And halves of characters, which no UTF-8 file can hold.
_ACTIVE = "[\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
_HALF = re.compile("[\ud800-\udfff]")


# --- Where to -----------------------------------------------------------------------------------------------


def check_output(path: Path) -> None:
    """Make sure that results can be written, before the work that makes them begins.

    Raises:
        UsageError: If the suffix is none of `SUFFIXES`.
        OutputError: If no file can be made there.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"--output {_shown(path)}: expected a name that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, "
            f"for that says what to write; it ends in {_shown(path.suffix) if path.suffix else 'none of them'}."
        )
    target = _target(path)
    if target.exists() and not target.is_file():
        raise OutputError(f"{_shown(path)}: expected a file to write to; this is a directory or a device.")
    with _telling(path), tempfile.TemporaryFile(dir=target.parent):
        pass


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path))  # through symbolic links, so that renaming doesn't replace the link


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Say where writing failed, and why."""
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:  # Polars hides a full disk in a ComputeError
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"{_shown(path)}: expected to be able to write there: {reason}. "
            f"Nothing was written; choose another place or mend this one."
        ) from None


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A name to write to; renamed to the real one at the end, removed if anything goes wrong."""
    target = _target(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        with _telling(path):
            if target.exists():
                shutil.copymode(target, part)
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _shown(path: Path | str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


# --- Findings -----------------------------------------------------------------------------------------------


def finding_line(finding: Finding) -> str:
    r"""One line of JSON, without its end; valid, inert, and the same finding when it is read again."""
    return _inert(json.dumps(finding.to_json(), ensure_ascii=False, allow_nan=False))


def write_findings(findings: Iterable[Finding], path: Path) -> int:
    """Write findings to a file whose suffix says how.

    Args:
        findings: One row each; columns are `FINDING_COLUMNS`, nested ones as JSON text in CSV.
        path: Where to. A file that is there stays as it is until the new one is complete.

    Returns:
        Number of findings.

    Raises:
        UsageError: If the suffix is none of `SUFFIXES`.
        OutputError: If the file can't be written.
    """
    frame_of = _columns_of if path.suffix == ".parquet" else _texts_of
    frames = (frame_of(some) for some in _batches(findings, _ROWS))
    return _write(frames, path, empty=frame_of([]), lines_of=lambda frame: frame["json"].to_list())


def _batches(findings: Iterable[Finding], n: int) -> Iterator[list[Finding]]:
    remaining = iter(findings)
    while some := list(itertools.islice(remaining, n)):
        yield some


def _texts_of(findings: list[Finding]) -> pl.DataFrame:
    """Columns of CSV, nested ones as JSON text; and `json`, the whole line."""
    lines = [finding_line(finding) for finding in findings]
    rows = [json.loads(line) for line in lines]
    columns = {
        name: pl.Series(
            [_cell(row[name]) for row in rows], dtype=dtype if dtype in _PLAIN else pl.String
        )
        for name, dtype in FINDING_SCHEMA.items()
    }
    return pl.DataFrame({**columns, "json": pl.Series(lines, dtype=pl.String)})


def _cell(value: Any) -> Any:
    return _inert(json.dumps(value, ensure_ascii=False)) if isinstance(value, dict | list) else value


def _columns_of(findings: list[Finding]) -> pl.DataFrame:
    """Columns of Parquet: times as times, evidence as a list of structs."""
    rows = [json.loads(finding_line(finding)) for finding in findings]
    for row in rows:
        row["class_probabilities"] = json.dumps(row["class_probabilities"])  # its keys differ from fit to fit
    written = {name: _dtype(hint, name, time=pl.String()) for name, hint in _hints(Finding).items()}
    frame = pl.DataFrame(rows, schema=written, orient="row")

    def time(column: pl.Expr) -> pl.Expr:
        return column.str.to_datetime(_ISO, time_unit="ns", time_zone="UTC")

    evidence = pl.element().struct.with_fields(time(pl.field("timestamp")).alias("timestamp"))
    return frame.with_columns(
        time(pl.col("first_timestamp", "last_timestamp")), pl.col("evidence").list.eval(evidence)
    ).cast(FINDING_SCHEMA)  # type: ignore[arg-type]  # a dict of columns is what it takes


def _hints(of: type) -> dict[str, Any]:
    return typing.get_type_hints(of)


_PLAIN: dict[Any, pl.DataType] = {int: pl.Int64(), float: pl.Float64(), bool: pl.Boolean(), str: pl.String()}
