"""Files, globs, gzip, zstd, standard input -> batches of log records, in bounded memory.

Bytes become blocks of whole lines, blocks become columns, columns become records. Nothing is done line by
line that can be done for a column at once, and never more than a few blocks are held.
"""

from __future__ import annotations

import codecs
import contextlib
import glob
import gzip
import importlib
import io
import itertools
import json
import os
import shutil
import sys
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias

import polars as pl

from enhanced_deeplog.errors import InputError, UsageError
from enhanced_deeplog.logs.formats import (
    Detection,
    LineParser,
    LogFormat,
    detect_format,
    find_format,
    printable,
)
from enhanced_deeplog.logs.session_keys import SessionKey, session_key_of

__all__ = [
    "MAX_LINE_BYTES",
    "RECORD_SCHEMA",
    "LogRecords",
    "Source",
    "merge_order",
    "read_records",
    "records_from",
]

MAX_LINE_BYTES = 1 << 20  # what is longer is cut to this
STDIN_NAME = "<stdin>"

RECORD_SCHEMA: dict[str, pl.DataType] = {
    "source": pl.String(),
    "service": pl.String(),  # "" if unknown
    "line": pl.Int64(),  # from 1
    "byte_offset": pl.Int64(),  # of the line's first byte, in the decompressed stream
    "timestamp": pl.Datetime("ns"),  # UTC
    "severity": pl.String(),
    "component": pl.String(),
    "host": pl.String(),
    "process": pl.String(),  # process or thread
    "session_key": pl.String(),
    "ends_session": pl.Boolean(),  # true on the last record of a line of `sequences`
    "template": pl.String(),  # given by `sequences`; null where it is still to be mined
    "body": pl.String(),
    "text": pl.String(),  # the raw line
}

_BLOCK_BYTES = 8 << 20  # some 60,000 HDFS lines
_BATCH_RECORDS = 100_000
_HEAD_BYTES = 8192  # enough to know a binary file
_SAMPLE_LINES, _SAMPLE_BYTES = 10_000, 4 << 20  # what decides the format of a source
_N_EXAMPLES = 3


@dataclass
class Source:
    """What was read from one file so far; complete once its last batch has been taken.

    Attributes:
        name: What `source` says in its records.
        path: Where it was read from.
        format: Name of its format; empty until the first lines have been read.
        detection: How the format was found; None if it was given.
        n_lines: Lines, empty ones included.
        n_records: Records; one for each line that isn't empty, in `sequences` one for each event.
        n_empty_lines: Lines of nothing but blanks; they make no record.
        n_unfit_lines: Lines that don't fit the format, such as stack traces; their whole text is the body.
        unfit_examples: The first of them: line number and text, cut and made printable.
        n_invalid_utf8: Lines with bytes that are no UTF-8; those became U+FFFD.
        n_overlong: Lines cut to `MAX_LINE_BYTES`.
        n_without_timestamp: Records of lines that fit, yet have no timestamp that can be read.
        n_out_of_time: Records left out by `since` and `until`.
        has_timestamps: Whether any record has one.
    """

    name: str
    path: str
    format: str = ""
    detection: Detection | None = None
    n_lines: int = 0
    n_records: int = 0
    n_empty_lines: int = 0
    n_unfit_lines: int = 0
    unfit_examples: list[tuple[int, str]] = field(default_factory=list)
    n_invalid_utf8: int = 0
    n_overlong: int = 0
    n_without_timestamp: int = 0
    n_out_of_time: int = 0
    has_timestamps: bool = False


# --- Bytes --------------------------------------------------------------------------------------------------

_Stream: TypeAlias = "io.BufferedReader[Any] | gzip.GzipFile"  # has peek() and read1()

_BINARIES = {
    b"\x7fELF": "a program (ELF)", b"MZ\x90\x00": "a program (Windows)", b"PK\x03\x04": "a zip archive",
    b"BZh": "compressed by bzip2", b"\xfd7zXZ\x00": "compressed by xz", b"7z\xbc\xaf": "a 7z archive",
    b"\x89PNG": "an image (PNG)", b"\xff\xd8\xff": "an image (JPEG)", b"GIF8": "an image (GIF)",
    b"%PDF-": "a PDF", b"PAR1": "a Parquet file", b"SQLite format 3\x00": "an SQLite database",
    b"\xff\xfe": "text in UTF-16", b"\xfe\xff": "text in UTF-16",
}  # fmt: skip


def _open_stream(raw: Any, shown: str) -> _Stream:
    """Decompress, by magic bytes and not by name, and refuse what is no text."""
    packed: io.BufferedReader[Any] = io.BufferedReader(raw, _HEAD_BYTES)
    stream: _Stream = packed
    magic = packed.peek(4)[:4]
    if magic.startswith(b"\x1f\x8b"):
        stream = gzip.GzipFile(fileobj=packed)
    elif magic == b"\x28\xb5\x2f\xfd":
        stream = io.BufferedReader(_ZstdStream(packed, shown), _HEAD_BYTES)
    _refuse_binary(stream.peek(_HEAD_BYTES)[:_HEAD_BYTES], shown)
    return stream


def _refuse_binary(head: bytes, shown: str) -> None:
    what = next((kind for magic, kind in _BINARIES.items() if head.startswith(magic)), None)
    if what is None and head.count(0) * 100 > len(head):
        what = "binary (it holds many NUL bytes)"
    if what is not None:
        raise InputError(
            f"{shown}: expected a text log in UTF-8, plain, gzip or zstd; this is {what}. "
            f"Unpack or convert it."
        )


class _ZstdStream(io.RawIOBase):
    """A zstd stream that knows when it is cut off: the reader of `zstandard` ends quietly then."""

    _INPUT_BYTES = (
        4096  # a hostile frame grows up to 32,000-fold; what this much can become still fits memory
    )

    def __init__(self, compressed: io.BufferedReader[Any], shown: str) -> None:
        try:
            self._zstandard: Any = importlib.import_module("zstandard")
        except ImportError:
            raise InputError(
                f"{shown}: it is compressed by zstd, and Python's package zstandard is not installed. "
                f"Install it (pip install zstandard), or decompress the file: zstd -d {shown}"
            ) from None
        self._compressed, self._ready = compressed, b""
        self._frame: Any = None  # decompressor of a frame that has begun and not ended

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._ready and (data := self._compressed.read(self._INPUT_BYTES)):
            self._ready = self._decompress(data)
        if not self._ready and self._frame is not None:
            raise EOFError("the last zstd frame is not complete")
        n = min(len(target), len(self._ready))
        target[:n], self._ready = self._ready[:n], self._ready[n:]
        return n

    def _decompress(self, data: bytes) -> bytes:
        pieces = []
        while data:
            self._frame = self._frame or self._zstandard.ZstdDecompressor().decompressobj()
            try:
                pieces.append(self._frame.decompress(data))
            except self._zstandard.ZstdError as error:
                raise OSError(str(error)) from error
            data = b""
            if self._frame.eof:
                data, self._frame = self._frame.unused_data, None
        return b"".join(pieces)


class _SpooledStream(io.RawIOBase):
    """One reader of a spooled file: several can read it at once, each at its own place."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._place = file, 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        data = os.pread(self._file.fileno(), len(target), self._place)
        target[: len(data)] = data
        self._place += len(data)
        return len(data)


class _Spool:
    """Input that comes only once, kept in an unlinked file (mode 0600) so that it can be read again."""

    def __init__(self, open_once: Callable[[], Any]) -> None:
        self._open_once = open_once
        self._spool: IO[bytes] | None = None

    def open(self) -> io.RawIOBase:
        if self._spool is None:
            self._spool = tempfile.TemporaryFile(prefix="enhanced-deeplog-")  # noqa: SIM115  # kept for later reads
            weakref.finalize(self, self._spool.close)
            with self._open_once() as source:
                shutil.copyfileobj(source, self._spool, _BLOCK_BYTES)
            self._spool.flush()
        return _SpooledStream(self._spool)


def _chunks(stream: _Stream, n_bytes: int) -> Iterator[bytes]:
    """Pieces of at least `n_bytes`, but the last. What came before a stream breaks off still comes."""
    pieces: list[bytes] = []
    n = 0
    try:
        while piece := stream.read1(n_bytes):
            pieces.append(piece)
            n += len(piece)
            if n >= n_bytes:
                yield b"".join(pieces)
                pieces, n = [], 0
    except (EOFError, OSError, zlib.error):
        yield b"".join(pieces)
        raise
    yield b"".join(pieces)


def _blocks(stream: _Stream, block_bytes: int, max_line_bytes: int) -> Iterator[tuple[int, bytes]]:
    r"""Cut a stream behind newlines: each block comes with the offset of its first byte.

    A line that is too long comes alone, as much of it as shows that it is too long (two bytes more than
    allowed: one may be the \r of a line that is just not too long); the rest of it is skipped, never held.
    """
    offset, rest, skipping = 0, b"", False
    for chunk in _chunks(stream, block_bytes):
        if skipping:
            newline = chunk.find(b"\n")
            offset += len(chunk) if newline < 0 else newline + 1
            if newline < 0:
                continue
            chunk, skipping = chunk[newline + 1 :], False
        rest += chunk
        end = rest.rfind(b"\n") + 1
        if end:
            yield offset, rest[:end]
            offset, rest = offset + end, rest[end:]
        if len(rest) > max_line_bytes + 1:
            yield offset, rest[: max_line_bytes + 2]
            offset, rest, skipping = offset + len(rest), b"", True
    if rest:
        yield offset, rest


# --- Lines --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lines:
    """Some lines in a row: a frame of `line`, `byte_offset`, `text`, and how many of them were mended."""

    frame: pl.DataFrame
    n_invalid_utf8: int
    n_overlong: int


def _lines_of_stream(stream: _Stream, block_bytes: int, max_line_bytes: int) -> Iterator[_Lines]:
    n_lines = 0
    for offset, block in _blocks(stream, block_bytes, max_line_bytes):
        if offset == 0 and block.startswith(codecs.BOM_UTF8):
            offset, block = len(codecs.BOM_UTF8), block[len(codecs.BOM_UTF8) :]
            if not block:
                continue
        lines = _lines_of_block(block, offset, n_lines, max_line_bytes)
        n_lines += len(lines.frame)
        yield lines


def _lines_of_block(block: bytes, offset: int, n_before: int, max_line_bytes: int) -> _Lines:
    """Split a block at \\n only, all lines at once if it is clean UTF-8 without overlong lines."""
    block = block.removesuffix(b"\n")
    try:
        texts = pl.Series("text", [block.decode()]).str.split("\n").explode()
    except UnicodeDecodeError:
        return _mended_lines(block.split(b"\n"), offset, n_before, max_line_bytes)
    n_bytes = texts.str.len_bytes()
    texts = texts.str.strip_suffix("\r")
    if int(texts.str.len_bytes().max() or 0) > max_line_bytes:  # type: ignore[arg-type]
        return _mended_lines(block.split(b"\n"), offset, n_before, max_line_bytes)
    return _Lines(_line_frame(texts, n_bytes, offset, n_before), 0, 0)


def _mended_lines(raw_lines: list[bytes], offset: int, n_before: int, max_line_bytes: int) -> _Lines:
    """The same, line by line: bytes that are no UTF-8 become U+FFFD, what is too long is cut."""
    n_bytes = pl.Series([len(raw) for raw in raw_lines], dtype=pl.UInt32)
    texts: list[str] = []
    n_invalid = n_overlong = 0
    for raw in raw_lines:
        raw = raw.removesuffix(b"\r")
        overlong = len(raw) > max_line_bytes
        # An incremental decoder leaves away the half of a character that the cut may have left at the end.
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(
            raw[:max_line_bytes], final=not overlong
        )
        texts.append(text)
        n_overlong += overlong
        n_invalid += "\ufffd" in text and not _is_utf8(raw[:max_line_bytes], final=not overlong)
    frame = _line_frame(pl.Series("text", texts, pl.String), n_bytes, offset, n_before)
    return _Lines(frame, n_invalid, n_overlong)


def _is_utf8(raw: bytes, *, final: bool) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(raw, final=final)
    except UnicodeDecodeError:
        return False
    return True


def _line_frame(texts: pl.Series, n_bytes: pl.Series, offset: int, n_before: int) -> pl.DataFrame:
    ends = (n_bytes.cast(pl.Int64) + 1).cum_sum() + offset
    return pl.DataFrame(
        {
            "line": pl.int_range(n_before + 1, n_before + 1 + len(texts), dtype=pl.Int64, eager=True),
            "byte_offset": ends.shift(1, fill_value=offset),
            "text": texts,
        }
    )


def _lines_of_list(raw_lines: list[bytes], max_line_bytes: int) -> Iterator[_Lines]:
    offset = 0
    for start in range(0, len(raw_lines), _BATCH_RECORDS):
        some = raw_lines[start : start + _BATCH_RECORDS]
        yield _mended_lines(some, offset, start, max_line_bytes)
        offset += sum(map(len, some)) + len(some)


# --- Records ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Options:
    """How to read; the same for all sources of one call."""

    format: LogFormat | None = None  # None: find it out, source by source
    session_key: SessionKey | None = None  # None: what the format gives
    service: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    batch_size: int = _BATCH_RECORDS
    block_bytes: int = _BLOCK_BYTES
    max_line_bytes: int = MAX_LINE_BYTES


@dataclass(frozen=True)
class _Input:
    """Something to read lines from, again and again."""

    name: str
    path: str
    lines: Callable[[_Options], Iterator[_Lines]]


class LogRecords:
    """The records of some sources, in batches; can be iterated again and again.

    Batches come source by source, in the order of the sources' paths, and lines in the order of the file.
    Make one with `read_records`, `records_from` or `LogRecords.from_lines`.

    Example:
        >>> records = LogRecords.from_lines(["081109 203530 147 INFO dfs.DataNode: up"])
        >>> [batch["body"].to_list() for batch in records]
        [['up']]
        >>> records.sources[0].format
        'hdfs'
    """

    def __init__(self, inputs: Iterable[_Input], options: _Options) -> None:
        self._inputs, self._options = tuple(inputs), options
        self._sources = [Source(one.name, one.path) for one in self._inputs]

    @classmethod
    def from_lines(
        cls,
        lines: Iterable[str],
        *,
        format: str | LogFormat | None = None,
        fields: Mapping[str, str] | None = None,
        session_key: str | SessionKey | None = None,
        source_name: str = "",
        service: str | None = None,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        batch_size: int = _BATCH_RECORDS,
    ) -> LogRecords:
        """Read lines that are already in memory as if they stood in a file; the arguments of `read_records`.

        A line may hold newlines of its own; it stays one record.
        """
        raw = [line.removesuffix("\n").encode("utf-8", "surrogatepass") for line in lines]
        options = _options(format, fields, session_key, service, since, until, batch_size)
        name = _storable(source_name)
        return cls(
            [_Input(name, name or "<lines>", lambda given: _lines_of_list(raw, given.max_line_bytes))],
            options,
        )

    @property
    def sources(self) -> tuple[Source, ...]:
        """What was read so far, source by source, by the latest iteration."""
        return tuple(self._sources)

    def with_session_key(self, session_key: str | SessionKey | None) -> LogRecords:
        """The same records under another session key; standard input is not read again."""
        key = None if session_key is None else session_key_of(session_key)
        return LogRecords(self._inputs, replace(self._options, session_key=key))

    def head(self, n_records: int) -> pl.DataFrame:
        """The first records, columns of `RECORD_SCHEMA`."""
        batches, n = [pl.DataFrame(schema=RECORD_SCHEMA)], 0
        for batch in self:
            batches.append(batch)
            n += len(batch)
            if n >= n_records:
                break
        return pl.concat(batches).head(n_records)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for i, one in enumerate(self._inputs):
            self._sources[i] = Source(one.name, one.path)
            yield from _read_source(one, self._sources[i], self._options)


def read_records(
    *paths: str | Path,
    format: str | LogFormat | None = None,
    fields: Mapping[str, str] | None = None,
    session_key: str | SessionKey | None = None,
    source_name: str | None = None,
    service: str | None = None,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
    batch_size: int = _BATCH_RECORDS,
) -> LogRecords:
    """Read log files as records. Nothing is opened before the first batch is asked for.

    Args:
        paths: Files or globs; `-` is standard input. Each file is read once, however often it is named.
        format: One of `FORMATS` or a format string; by default it is found out for each file.
        fields: For JSON lines, our field -> theirs: `{"body": "msg", "timestamp:ms": "t"}`.
        session_key: One of `CANDIDATE_KEYS`, or a regex searched in the whole line.
        source_name: What `source` says instead of the path.
        service: What `service` says where a record names none.
        since: First time to keep; a text in ISO 8601 or a datetime, UTC unless it has a zone. A record
            without a timestamp has that of the record before.
        until: First time not to keep.
        batch_size: Records of a batch, at most (a single line of `sequences` may have more).

    Raises:
        InputError: If a file is missing or a glob matches nothing; while iterating, if a file can't be read,
            breaks off, is no text, or mostly doesn't fit the format that was given.
        UsageError: If an argument can't be used.
    """
    if not paths:
        raise UsageError(
            "read_records: expected at least one path; got none. Give files, globs, or - for stdin."
        )
    options = _options(format, fields, session_key, service, since, until, batch_size)
    found = sorted({path for given in paths for path in _expand(str(given))})
    return LogRecords((_input(path, source_name) for path in found), options)


def records_from(rows: Iterable[Mapping[str, Any]], **options: Any) -> LogRecords:
    """Read mappings, as a logging library holds them, as if each were a JSON line; options of `from_lines`.

    Example:
        >>> records_from([{"message": "up", "level": "warning"}]).head(1).select("severity", "body").row(0)
        ('WARN', 'up')
    """
    lines = [json.dumps(dict(row), default=str, ensure_ascii=False) for row in rows]
    return LogRecords.from_lines(lines, **{"format": "jsonl", **options})


def _options(
    format: str | LogFormat | None,
    fields: Mapping[str, str] | None,
    session_key: str | SessionKey | None,
    service: str | None,
    since: str | datetime | None,
    until: str | datetime | None,
    batch_size: int,
) -> _Options:
    if batch_size < 1:
        raise UsageError(f"batch_size: expected at least 1 record, got {batch_size}.")
    if format is None and fields:
        format = "jsonl"  # only JSON lines have fields to name
    return _Options(
        format=None if format is None else find_format(format, fields),
        session_key=None if session_key is None else session_key_of(session_key),
        service=None if service is None else _storable(service),
        since=_moment("since", since),
        until=_moment("until", until),
        batch_size=batch_size,
    )


def _moment(name: str, given: str | datetime | None) -> datetime | None:
    if isinstance(given, str):
        written = given
        try:
            given = datetime.fromisoformat(written)
        except ValueError:
            raise UsageError(
                f"{name}: expected a time such as 2024-03-01T08:00:00Z, got '{printable(written)}'. "
                f"Without a zone it is UTC."
            ) from None
    if given is None or given.tzinfo is None:
        return given
    return given.astimezone(UTC).replace(tzinfo=None)


def _storable(name: str) -> str:
    """A file's name may hold bytes that are no text; those become U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _expand(path: str) -> list[str]:
    if path == "-" or Path(path).exists() or not glob.has_magic(path):
        return [path]
    found = [match for match in _matches(path) if not Path(match).is_dir()]
    if not found:
        raise InputError(f"{printable(path)}: expected files that match; there are none. Check the pattern.")
    return found


def _stdin() -> Any:
    return contextlib.nullcontext(sys.stdin.buffer)  # left open: it isn't ours


def _matches(pattern: str) -> list[str]:
    return glob.glob(pattern, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute patterns


def _input(path: str, source_name: str | None) -> _Input:
    if path == "-":
        return _Input(
            _storable(source_name or STDIN_NAME),
            STDIN_NAME,
            partial(_lines_of, _Spool(_stdin).open, STDIN_NAME),
        )
    shown = printable(path, limit=1000) or "''"
    if Path(path).is_dir():
        raise InputError(f"{shown}: expected a file, this is a directory. Name its files: {shown}/*.log")
    if not Path(path).exists():
        raise InputError(f"{shown}: expected a log file, there is none. Check the path.")
    opener: Callable[[], Any] = partial(open, path, "rb", buffering=0)
    if not Path(path).is_file():  # a pipe: <(zcat a.log) of a shell can be read only once
        opener = _Spool(opener).open
    name = _storable(path) if source_name is None else _storable(source_name)
    return _Input(name, path, partial(_lines_of, opener, shown))


def _lines_of(opener: Callable[[], Any], shown: str, options: _Options) -> Iterator[_Lines]:
    """Lines of a file; whatever goes wrong on the way says in which file and behind which line."""
    n_lines = 0
    try:
        with opener() as raw, _open_stream(raw, shown) as stream:
            for lines in _lines_of_stream(stream, options.block_bytes, options.max_line_bytes):
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
        raise InputError(
            f"{shown}: reading failed after line {n_lines:,}: {printable(str(error))}."
        ) from error


def _read_source(one: _Input, source: Source, options: _Options) -> Iterator[pl.DataFrame]:
    batches = one.lines(options)
    sample, batches = _peek(batches)
    parser = _parser_of(sample, source, options)
    last_time: Any = None  # of the records so far: what a record without a timestamp is filtered by
    for lines in batches:
        source.n_lines += len(lines.frame)
        source.n_invalid_utf8 += lines.n_invalid_utf8
        source.n_overlong += lines.n_overlong
        for part in _slices(_not_blank(lines.frame, source), parser.format, options.batch_size):
            records = _records(part, parser, source, options)
            if options.since is not None or options.until is not None:
                records, last_time = _within(records, last_time, source, options)
            if len(records):
                yield records
    _check_fit(source, options, sample)
    _check_has_time(source, options)


def _peek(batches: Iterator[_Lines]) -> tuple[pl.Series, Iterator[_Lines]]:
    """The first lines that aren't empty, the same ones however the blocks fall; and all lines, unread."""
    taken: list[_Lines] = []
    n_lines = n_bytes = 0
    for lines in batches:
        taken.append(lines)
        n_lines += int((lines.frame["text"].str.strip_chars(" \t") != "").sum())
        n_bytes += int(lines.frame["text"].str.len_bytes().sum())
        if n_lines >= _SAMPLE_LINES or n_bytes >= _SAMPLE_BYTES:
            break
    texts = pl.concat([lines.frame["text"] for lines in taken]) if taken else pl.Series("text", [], pl.String)
    texts = texts.filter(texts.str.strip_chars(" \t") != "").head(_SAMPLE_LINES)
    n_before = texts.str.len_bytes().cast(pl.Int64).cum_sum().shift(1, fill_value=0)
    return texts.filter(n_before < _SAMPLE_BYTES), itertools.chain(taken, batches)


def _parser_of(sample: pl.Series, source: Source, options: _Options) -> LineParser:
    log_format = options.format
    if log_format is None:
        source.detection = detect_format(sample)
        log_format = source.detection.format
    source.format = log_format.name
    return log_format.parser(sample, source.path)


def _not_blank(lines: pl.DataFrame, source: Source) -> pl.DataFrame:
    kept = lines.filter(pl.col("text").str.strip_chars(" \t") != "")
    source.n_empty_lines += len(lines) - len(kept)
    return kept


def _slices(lines: pl.DataFrame, log_format: LogFormat, batch_size: int) -> Iterator[pl.DataFrame]:
    """Cut so that no slice makes more than `batch_size` records; a line of `sequences` makes many."""
    if log_format.name != "sequences":
        yield from lines.iter_slices(batch_size)
        return
    n_events = lines["text"].str.count_matches("[ \t]+").cast(pl.Int64) + 1
    for _, some in lines.group_by(n_events.cum_sum() // batch_size, maintain_order=True):
        yield some


def _records(lines: pl.DataFrame, parser: LineParser, source: Source, options: _Options) -> pl.DataFrame:
    """Lines -> records, columns of `RECORD_SCHEMA`; counted in `source`."""
    records = lines.hstack(parser.parse(lines["text"]))
    _note_unfit(records, source)
    records = records.with_columns(
        source=pl.lit(source.name),
        service=pl.col("service").fill_null(options.service or ""),
        ends_session=pl.lit(False),
        template=pl.lit(None, pl.String),
    )
    if options.session_key is not None:
        records = records.with_columns(options.session_key.extract(records))
    if parser.format.name == "sequences":
        records = _one_record_an_event(records)
    records = records.select(pl.col(name).cast(dtype) for name, dtype in RECORD_SCHEMA.items())
    source.n_records += len(records)
    source.has_timestamps = source.has_timestamps or records["timestamp"].null_count() < len(records)
    return records


def _note_unfit(records: pl.DataFrame, source: Source) -> None:
    unfit = records.filter(~pl.col("fits"))
    source.n_unfit_lines += len(unfit)
    source.n_without_timestamp += records["timestamp"].null_count() - len(unfit)
    for line, text in unfit.head(_N_EXAMPLES - len(source.unfit_examples)).select("line", "text").iter_rows():
        source.unfit_examples.append((line, printable(text)))


def _one_record_an_event(records: pl.DataFrame) -> pl.DataFrame:
    """Each id of a line of `sequences` is a record; a line without a key has its number for one."""
    ids = pl.when("fits").then(pl.col("body").str.extract_all(r"[^ \t]+")).otherwise(pl.concat_list("body"))
    events = records.with_columns(
        body=ids,
        session_key=pl.col("session_key").fill_null(pl.col("line").cast(pl.String)),
        ends_session=ids.list.len(),
    ).explode("body")
    return events.with_columns(
        template=pl.when("fits").then("body"),
        ends_session=pl.col("line") != pl.col("line").shift(-1, fill_value=0),
    )


def _within(
    records: pl.DataFrame, last_time: Any, source: Source, options: _Options
) -> tuple[pl.DataFrame, Any]:
    """Keep what lies between `since` and `until`; and the time of the last record, for those that follow."""
    times = pl.col("timestamp").forward_fill().fill_null(pl.lit(last_time, pl.Datetime("ns")))
    timed = records.with_columns(times.alias("time"))
    after = pl.lit(True) if options.since is None else pl.col("time") >= options.since
    before = pl.lit(True) if options.until is None else pl.col("time") < options.until
    kept = timed.filter(pl.col("time").is_not_null() & after & before).drop("time")
    source.n_out_of_time += len(records) - len(kept)
    return kept, timed["time"][-1]


def _check_fit(source: Source, options: _Options, sample: pl.Series) -> None:
    """Refuse a format that was given and fits less than half of the lines."""
    n_lines = source.n_lines - source.n_empty_lines
    if options.format is None or source.n_unfit_lines * 2 <= n_lines:
        return
    found = detect_format(sample).format.name
    hint = f"It looks like {found}: leave the format away" if found != "plain" else "Try --format plain"
    line, text = source.unfit_examples[0]
    raise InputError(
        f"{printable(source.path, 1000)}, line {line}: expected the format {printable(source.format)}; "
        f"{source.n_unfit_lines:,} of {n_lines:,} lines don't fit it, the first is: {text}\n{hint}."
    )


def _check_has_time(source: Source, options: _Options) -> None:
    asked = options.since is not None or options.until is not None
    if asked and source.n_records and not source.has_timestamps:
        raise InputError(
            f"{printable(source.path, 1000)}: expected timestamps for --since and --until; no line has one "
            f"that can be read in the format {printable(source.format)}. Leave them away, or give a format "
            f"string with <Timestamp>."
        )


def merge_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort the records of several sources by time; the lines of one source keep their order.

    A record's place is the latest time its source had reached by then: clocks step back, and records without
    a timestamp belong to the one before (at the beginning of a source, to the one after). Sources without any
    timestamp come first; equal times go by source.

    Args:
        frame: Records as they were read, columns of `RECORD_SCHEMA`. A single source stays as it is.
    """
    if frame["source"].n_unique() <= 1:
        return frame
    reached = pl.col("timestamp").cum_max().forward_fill().backward_fill().over("source")
    return (
        frame.with_columns(reached.alias("reached"))
        .sort("reached", "source", nulls_last=False, maintain_order=True)
        .drop("reached")
    )
