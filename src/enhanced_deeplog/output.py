"""Findings and records to files: JSON lines, CSV and Parquet; written beside, then renamed.

The text of logs comes from strangers. In JSON, whatever a terminal, a script or a web page could take for
more than text is escaped; in CSV, a cell that a spreadsheet would take for a formula gets an apostrophe.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import polars as pl
from pydantic_core import PydanticSerializationError, to_json

from enhanced_deeplog.errors import OutputError, UsageError
from enhanced_deeplog.findings import Finding
from enhanced_deeplog.output_schema import columns_of

__all__ = [
    "RECORD_COLUMNS",
    "SUFFIXES",
    "check_directory",
    "check_file",
    "check_output",
    "finding_line",
    "record_lines",
    "write_findings",
    "write_findings_by_place",
    "write_records",
    "write_text",
]

SUFFIXES = (".jsonl", ".parquet", ".csv")
_TIME = pl.Datetime("ns", "UTC")
_ISO = "%Y-%m-%dT%H:%M:%S%.fZ"  # as many digits of a second as it needs

RECORD_COLUMNS: dict[str, pl.DataType] = {
    **{"source": pl.String(), "service": pl.String(), "line": pl.Int64(), "byte_offset": pl.Int64()},
    **{"timestamp": _TIME, "severity": pl.String(), "component": pl.String(), "session_key": pl.String()},
    **{"event_id": pl.Int64(), "template_id": pl.String(), "template": pl.String()},
    "parameters": pl.List(pl.String()),
}

_ROWS = 20_000  # findings turned into columns at once
_LINES = 1_000  # of findings that wait on disk, read at once
_FORMULA = "^[=+@\t\r-]"  # how a cell begins that a spreadsheet computes
# What JSON allows and is more than text to somebody: C1 controls; marks that hide text or turn it round; line
# separators, which end a line of JavaScript.
_ACTIVE = "[\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
_HALF = "[\ud800-\udfff]"  # half of a character, which no UTF-8 file can hold


# --- Where to -----------------------------------------------------------------------------------------------


def check_output(path: Path) -> None:
    """Make sure that results can be written, before the work that makes them begins.

    Raises:
        UsageError: If the suffix is none of `SUFFIXES`.
        OutputError: If no file can be made there.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"--output {_shown(path)}: expected a name that ends in {', '.join(SUFFIXES[:-1])} or "
            f"{SUFFIXES[-1]}: the ending says what to write. Give it one of these."
        )
    check_file(path)


def check_file(path: Path) -> None:
    """Make sure that a file can be written there.

    Raises:
        OutputError: If not.
    """
    target = _target(path)
    if target.exists() and not target.is_file():
        raise OutputError(f"{_shown(path)}: expected a file to write to; this is a directory or a device.")
    with _telling(path), tempfile.TemporaryFile(dir=target.parent):
        pass


def check_directory(path: Path) -> None:
    """Make a directory, if it isn't there, and make sure that files can be written in it.

    Raises:
        OutputError: If not.
    """
    with _telling(path):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path))  # renaming would replace a symbolic link instead of what it points to


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Say where writing failed, and why."""
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:  # Polars hides a full disk in a ComputeError
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"{_shown(path)}: expected to be able to write there, but: {reason}. "
            f"Choose another place, or mend this one."
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


def _shown(path: Path) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


# --- Findings and records -----------------------------------------------------------------------------------


def finding_line(finding: Finding) -> str:
    """One line of JSON, without its end: valid, inert, and the same finding when it is read again."""
    data = finding.to_json()
    try:
        line = to_json(data).decode()  # by Pydantic, for it takes a third of the time of Python's
    except PydanticSerializationError:  # half of a character
        line = ""
    if not line or "NaN" in line or "Infinity" in line:  # texts, or numbers that JSON has no form for: it can tell
        line = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _inert(line)


def record_lines(frame: pl.DataFrame) -> list[str]:
    """Parsed records as lines of JSON, without their ends; times in ISO 8601 UTC."""
    return _json_lines(_record_frame(frame).with_columns(_as_iso(pl.selectors.datetime())))


def write_findings_by_place(parts: Iterable[Sequence[tuple[Any, Finding]]], path: Path) -> tuple[int, int]:
    """Write findings that come in any order as lines of JSON in the right one; memory holds only where each stands.

    Args:
        parts: Findings, each with what they are to be sorted by.
        path: Where to, see `write_findings`.

    Returns:
        How many there are, and how many of them are anomalies.

    Raises:
        OutputError: If the file can't be written.
    """
    check_output(path)
    lines: list[tuple[Any, int, int]] = []  # place, where the line begins in the spool, its length
    n_abnormal = 0
    with contextlib.ExitStack() as stack:
        with _telling(path):
            spool = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115  # closed below; mode 0600, without a name
        stack.callback(_close, spool)
        begin = 0
        for part in parts:
            encoded = [(place, finding_line(finding).encode()) for place, finding in part]
            n_abnormal += sum(finding.is_anomaly for _, finding in part)
            with _telling(path):
                spool.writelines(line for _, line in encoded)
            for place, line in encoded:
                lines.append((place, begin, len(line)))
                begin += len(line)
        lines.sort(key=lambda one: one[0])

        def line_at(begin: int, n_bytes: int) -> str:
            spool.seek(begin)
            return spool.read(n_bytes).decode()

        def in_order() -> Iterator[list[str]]:
            for first in range(0, len(lines), _LINES):
                with _telling(path):
                    some = [line_at(begin, n_bytes) for _, begin, n_bytes in lines[first : first + _LINES]]
                yield some

        _write_lines(in_order(), path)
    return len(lines), n_abnormal


def write_findings(findings: Iterable[Finding], path: Path) -> None:
    """Write findings to a file whose suffix says how.

    Args:
        findings: One row each; columns are `FINDING_COLUMNS`, nested ones as JSON text in CSV.
        path: Where to. A file that is there stays as it is until the new one is complete.

    Raises:
        UsageError: If the suffix is none of `SUFFIXES`.
        OutputError: If the file can't be written.
    """
    if path.suffix == ".jsonl":
        check_output(path)
        _write_lines(([finding_line(finding)] for finding in findings), path)
    else:
        _write_frames(_finding_frames(findings, as_text=path.suffix == ".csv"), path)


def write_records(frames: Iterable[pl.DataFrame], path: Path) -> int:
    """Write parsed records to a file whose suffix says how, a batch at a time.

    Args:
        frames: Batches of records; columns are `RECORD_COLUMNS`, `parameters` as JSON text in CSV.
        path: As for `write_findings`.

    Returns:
        Number of records.

    Raises:
        UsageError: If the suffix is none of `SUFFIXES`.
        OutputError: If the file can't be written.
    """
    n_records = 0

    def counted() -> Iterator[pl.DataFrame]:
        nonlocal n_records
        yield pl.DataFrame(schema=RECORD_COLUMNS)  # so that a file without records has its columns
        for frame in frames:
            n_records += frame.height
            yield _record_frame(frame)

    if path.suffix == ".jsonl":
        check_output(path)
        _write_lines((record_lines(frame) for frame in counted()), path)
    else:
        _write_frames(counted(), path)
    return n_records


def write_text(text: str, path: Path) -> None:
    """Write a small text file, whole or not at all.

    Raises:
        OutputError: If the file can't be written.
    """
    with _beside(path) as part, _telling(path):
        part.write_text(text, encoding="utf-8", newline="\n")


def _record_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Exactly the columns of the contract; times that name no zone are UTC."""
    naive = pl.selectors.datetime(time_zone=None)
    return frame.select(*RECORD_COLUMNS).with_columns(naive.dt.replace_time_zone("UTC")).cast(RECORD_COLUMNS)  # type: ignore[arg-type]  # a dict of types is one


def _finding_frames(findings: Iterable[Finding], *, as_text: bool) -> Iterator[pl.DataFrame]:
    """Findings as columns, some at a time; the first frame is empty, so that every file has the columns."""
    schema = columns_of(Finding)
    # The classes differ from fit to fit, the columns must not.
    nested = [name for name, dtype in schema.items() if as_text and dtype.is_nested()]
    texts = [*nested, "class_probabilities"]
    schema |= dict.fromkeys(texts, pl.String())
    remaining, some = iter(findings), list[Finding]()
    while True:
        rows = [json.loads(finding_line(finding)) for finding in some]
        for row in rows:
            row |= {name: _inert(json.dumps(row[name], ensure_ascii=False)) for name in texts}
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        yield frame if as_text else frame.with_columns(*_as_times())
        some = list(itertools.islice(remaining, _ROWS))
        if not some:
            return


def _as_times() -> Iterator[pl.Expr]:
    """Texts to times; by Polars, for Python's times have no nanoseconds."""

    def time(text: pl.Expr) -> pl.Expr:
        return text.str.to_datetime(_ISO, time_unit="ns", time_zone="UTC")

    yield time(pl.col("first_timestamp", "last_timestamp"))
    yield pl.col("evidence").list.eval(pl.element().struct.with_fields(time(pl.field("timestamp"))))


def _as_iso(times: pl.Expr) -> pl.Expr:
    return times.dt.strftime(_ISO)


# --- Formats ------------------------------------------------------------------------------------------------


def _inert(json_text: str) -> str:
    r"""Escape in JSON what is more than text to somebody; halves of characters become U+FFFD."""
    if json_text.isascii() and "\x7f" not in json_text:  # most texts
        return json_text
    mended = re.sub(_HALF, "\ufffd", json_text)
    return re.sub(_ACTIVE, lambda found: json.dumps(found[0])[1:-1], mended)


def _json_lines(frame: pl.DataFrame) -> list[str]:
    return _inert_column(frame.select(pl.struct(pl.all()).struct.json_encode()).to_series()).to_list()


def _inert_column(json_texts: pl.Series) -> pl.Series:
    active = json_texts.str.contains(_ACTIVE)
    if not active.any():
        return json_texts
    mended = [_inert(text) if bad else text for text, bad in zip(json_texts, active, strict=True)]
    return pl.Series(json_texts.name, mended, pl.String)


def _write_lines(batches: Iterable[list[str]], path: Path) -> None:
    with _beside(path) as part:
        with _telling(path):
            file = part.open("xb")
        try:
            for lines in batches:
                with _telling(path):
                    file.write("".join(f"{line}\n" for line in lines).encode())
            with _telling(path):
                file.flush()
        finally:
            _close(file)


def _close(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # what it could not write has been told of
        file.close()


def _write_frames(frames: Iterable[pl.DataFrame], path: Path) -> None:
    check_output(path)
    write = {".csv": _write_csv, ".parquet": _write_parquet}[path.suffix]
    with _beside(path) as part:
        write(frames, part, path)


def _write_csv(frames: Iterable[pl.DataFrame], part: Path, path: Path) -> None:
    for i, frame in enumerate(frames):
        cells = _cells(frame)
        with _telling(path), part.open("ab") as file:
            cells.write_csv(file, include_header=i == 0)


def _cells(frame: pl.DataFrame) -> pl.DataFrame:
    """What CSV can hold: times and nested columns as text, and no text that computes."""
    for name, dtype in frame.schema.items():
        if dtype.is_nested():
            of_name = frame.select(pl.struct(name).struct.json_encode().alias(name)).to_series()
            value = of_name.str.slice(len(f'{{"{name}":')).str.head(-1)  # the JSON text is {"name":value}
            frame = frame.with_columns(_inert_column(value))
    frame = frame.with_columns(_inert_column(column) for column in frame if column.dtype == pl.String)
    texts = pl.selectors.string()
    harmless = pl.when(texts.str.contains(_FORMULA)).then(pl.lit("'") + texts).otherwise(texts)
    return frame.with_columns(_as_iso(pl.selectors.datetime())).with_columns(harmless.name.keep())


def _write_parquet(frames: Iterable[pl.DataFrame], part: Path, path: Path) -> None:
    """Batches to files of their own, then all of them to one: memory holds a batch."""
    with contextlib.ExitStack() as stack:
        with _telling(path):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=part.parent, prefix=part.name)))
        for i, frame in enumerate(frames):
            with _telling(path):
                frame.write_parquet(folder / f"{i:09}.parquet")
        with _telling(path):
            pl.scan_parquet(folder / "*.parquet").sink_parquet(part)
