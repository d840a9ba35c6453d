"""One source of records: its lines become columns, columns become records, and what was met is counted.

Nothing is done line by line that can be done for a column at once.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from enhanced_deeplog.errors import InputError
from enhanced_deeplog.logs import timestamps
from enhanced_deeplog.logs.byte_streams import TextLines
from enhanced_deeplog.logs.continuations import MAX_JOINED_BYTES, MAX_JOINED_LINES, join_continuations, looks_continued
from enhanced_deeplog.logs.envelopes import find_envelope
from enhanced_deeplog.logs.foreign_text import printable
from enhanced_deeplog.logs.formats import FORMATS, Detection, LineParser, LogFormat, detect_format
from enhanced_deeplog.logs.in_order import in_order
from enhanced_deeplog.logs.inputs import Input
from enhanced_deeplog.logs.session_keys import SessionKey
from enhanced_deeplog.logs.w3c import as_declared
from enhanced_deeplog.redaction import Redactor

__all__ = [
    "BATCH_RECORDS",
    "MAX_LINE_BYTES",
    "RECORD_SCHEMA",
    "ReadOptions",
    "Source",
    "read_source",
    "redact_records",
]

MAX_LINE_BYTES = 1 << 20  # what is longer is cut to this
BATCH_RECORDS = 100_000  # of a batch, unless the caller says otherwise

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
    "text": pl.String(),  # the line as it stands in the source, but for secrets
}
_WITH_SECRETS = ("service", "component", "host", "process", "body")  # besides the text and the session key

_BLOCK_BYTES = 8 << 20  # some 60,000 HDFS lines
_SAMPLE_LINES, _SAMPLE_BYTES = 10_000, 4 << 20  # what decides the format of a source
_LEAST_FIT = 0.5  # share of the lines that a format which was given must fit
# What begins with a time or a level is a record, and so are requests and what the runtime says.
_FALLBACKS = tuple(FORMATS[name] for name in ("dated", "access", "level_first", "jvm", "node"))
_CARRIERS = ("syslog", "syslog_iso", "syslog5424", "dated")  # of whatever a program writes, objects too
_CARRIED = (FORMATS["jsonl"], FORMATS["logfmt"])
_N_EXAMPLES = 3  # of lines that don't fit


@dataclass
class Source:
    """What was read from one file so far; complete once its last batch has been taken.

    Attributes:
        name: What `source` says in its records.
        path: Where it was read from.
        service: What its records belong to if they don't say; "" if that is unknown, too.
        format: Name of its format; empty until the first lines have been read.
        detection: How the format was found; None if it was given.
        n_lines: Lines, empty ones included.
        n_records: Records; one for each line that isn't empty and goes on with none, in `sequences` one for each event.
        n_empty_lines: Lines of nothing but blanks, and comments; they make no record.
        n_joined_lines: Lines that go on with the record before them, such as stack traces.
        n_fit_lines: Lines that fit the format.
        n_unfit_lines: Lines that neither fit nor look like a continuation: part of the record before, if there is one.
        n_unfit_records: Those of them that are records of their own.
        unfit_examples: The first of these: line number and text, cut and made printable.
        n_invalid_utf8: Lines with bytes that are no UTF-8; those became U+FFFD.
        n_overlong: Lines cut to `MAX_LINE_BYTES`.
        n_without_timestamp: Records of lines that fit, yet have no timestamp that can be read.
        n_out_of_time: Records left out by `since` and `until`.
        has_timestamps: Whether any record has one.
    """

    name: str
    path: str
    service: str = ""
    format: str = ""
    detection: Detection | None = None
    n_lines: int = 0
    n_records: int = 0
    n_empty_lines: int = 0
    n_joined_lines: int = 0
    n_fit_lines: int = 0
    n_unfit_lines: int = 0
    n_unfit_records: int = 0
    unfit_examples: list[tuple[int, str]] = field(default_factory=list)
    n_invalid_utf8: int = 0
    n_overlong: int = 0
    n_without_timestamp: int = 0
    n_out_of_time: int = 0
    has_timestamps: bool = False


@dataclass(frozen=True)
class ReadOptions:
    """How to read; the same for all sources of one call."""

    format: LogFormat | None = None  # None: find it out, source by source
    or_format: LogFormat | None = None  # read so a source of whose first lines it fits more
    own_formats: tuple[LogFormat, ...] = ()  # looked for before those that everybody knows
    session_key: SessionKey | None = None  # None: what the format gives
    service: str | None = None
    time_zone: str = timestamps.UTC  # of timestamps that name none
    redactor: Redactor = field(default_factory=Redactor)
    keep_text: bool = False  # leave secrets in `text`, and nowhere else
    since: datetime | None = None
    until: datetime | None = None
    batch_size: int = BATCH_RECORDS
    block_bytes: int = _BLOCK_BYTES
    max_line_bytes: int = MAX_LINE_BYTES


def read_source(one: Input, source: Source, options: ReadOptions) -> Iterator[pl.DataFrame]:
    """Read the records of one input, in batches with the columns of `RECORD_SCHEMA`.

    Args:
        one: Where the lines come from.
        source: Where to count what is met; fresh.
        options: How to read.

    Raises:
        InputError: If it can't be read, mostly doesn't fit the format that was given, or has no timestamps
            and is to be cut by time.
    """
    sample, batches = _peek(one.lines(options.block_bytes, options.max_line_bytes))
    parser = _parser_of(sample, source, options, one.latest)
    last_time: Any = None  # of the records so far: what a record without a timestamp is filtered by
    parts = _whole_records(_parts(batches, parser.format, options.batch_size), parser)
    for parsed in in_order(lambda lines: _parsed(lines, parser, source, options), parts):
        _count(parsed, source)
        records = parsed.records
        if options.since is not None or options.until is not None:
            records, last_time = _within(records, last_time, source, options)
        if len(records):
            yield records
    _check_fit(source, options, sample, parser)
    _check_has_time(source, options)


def _peek(batches: Iterator[TextLines]) -> tuple[pl.Series, Iterator[TextLines]]:
    """The first lines that aren't empty, the same ones however the blocks fall; and all lines, unread."""
    taken: list[TextLines] = []
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


def _parser_of(sample: pl.Series, source: Source, options: ReadOptions, latest: datetime | None) -> LineParser:
    log_format, others = options.format, tuple[LogFormat, ...]()
    latest = latest or datetime.now(UTC).replace(tzinfo=None)
    found = None
    if log_format is None or int(log_format.fits(sample).sum()) < _LEAST_FIT * len(sample):
        found = find_envelope(sample)
    envelope = found.reader(sample, source.path, latest) if found else None
    if envelope is not None:
        sample = envelope.open(sample)["content"]
    if log_format is not None:
        if options.or_format is not None and options.or_format.fits(sample).sum() > log_format.fits(sample).sum():
            log_format = options.or_format
        log_format = as_declared(log_format, sample)
    else:
        source.detection = detect_format(sample, options.own_formats)
        log_format, others = source.detection.format, source.detection.others
    parser = log_format.parser(sample, source.path, latest, options.time_zone)
    may_have_others = log_format.has_header or log_format.json_fields is not None
    if options.format is None and may_have_others and not log_format.body_follows:
        beside = [name for name in _FALLBACKS if name is not log_format and name not in others]
        parser = replace(parser, fallbacks=_parsers(beside, sample, source, latest, options.time_zone))
    parser = replace(parser, others=_parsers(others, sample, source, latest, options.time_zone), envelope=envelope)
    if log_format.name in _CARRIERS:
        bodies = parser.parse(sample)["body"]
        carried = [one for one in _CARRIED if one.fits(bodies).any()]
        parser = replace(parser, inside=_parsers(carried, bodies, source, latest, options.time_zone))
    if options.format is not None and log_format.pattern and log_format.json_fields is None:
        parser = replace(parser, asked=log_format.name not in ("plain", "sequences"))
    source.format = parser.name
    return parser


def _parsers(
    formats: Iterable[LogFormat], sample: pl.Series, source: Source, latest: datetime, zone: str
) -> tuple[LineParser, ...]:
    """Parsers for what is not most of a source; without those that its lines don't suffice for."""
    found = []
    for log_format in formats:
        with contextlib.suppress(InputError):  # JSON without a text, times of two units: such lines fit nothing, then
            found.append(log_format.parser(sample.filter(log_format.fits(sample)), source.path, latest, zone))
    return tuple(found)


def _slices(lines: pl.DataFrame, log_format: LogFormat, batch_size: int) -> Iterator[pl.DataFrame]:
    """Cut so that no slice makes more than `batch_size` records; a line of `sequences` makes many."""
    if log_format.name != "sequences":
        yield from lines.iter_slices(batch_size)
        return
    n_events = lines["text"].str.count_matches("[ \t]+").cast(pl.Int64) + 1
    for _, some in lines.group_by(n_events.cum_sum() // batch_size, maintain_order=True):
        yield some


@dataclass(frozen=True)
class _Lines:
    """Lines that make a batch of records, and what was met on the way to them."""

    frame: pl.DataFrame
    n_lines: int
    n_empty: int
    n_invalid_utf8: int
    n_overlong: int

    def of(self, frame: pl.DataFrame) -> _Lines:
        """Some of these lines, without what was met."""
        return _Lines(frame, 0, 0, 0, 0)

    def followed_by(self, other: _Lines) -> _Lines:
        """These lines, then the others; what was met on the way to either."""
        return _Lines(
            pl.concat([self.frame, other.frame]),
            self.n_lines + other.n_lines,
            self.n_empty + other.n_empty,
            self.n_invalid_utf8 + other.n_invalid_utf8,
            self.n_overlong + other.n_overlong,
        )


def _parts(batches: Iterator[TextLines], log_format: LogFormat, batch_size: int) -> Iterator[_Lines]:
    for lines in batches:
        says_something = pl.col("text").str.strip_chars(" \t") != ""
        if log_format.comment:
            says_something &= ~pl.col("text").str.starts_with(log_format.comment)
        kept = lines.frame.filter(says_something)
        met = (len(lines.frame), len(lines.frame) - len(kept), lines.n_invalid_utf8, lines.n_overlong)
        for part in _slices(kept, log_format, batch_size):
            yield _Lines(part, *met)
            met = (0, 0, 0, 0)  # told of once
        if met[0]:
            yield _Lines(kept, *met)  # all of them are empty


def _whole_records(parts: Iterator[_Lines], parser: LineParser) -> Iterator[_Lines]:
    """Move lines that go on with the last record of a part to that part, so that parts can be parsed side by side."""
    if parser.format.name == "sequences":
        yield from parts
        return
    before: _Lines | None = None
    n_following = n_bytes = 0  # of the lines in a row at the end of it that go on with its last record
    for part in parts:
        if before is None or before.frame.is_empty() or n_following > MAX_JOINED_LINES or n_bytes > MAX_JOINED_BYTES:
            n_moved = 0
        else:
            n_moved = _n_going_on(before.frame["text"].tail(1), part.frame["text"], parser)
        if before is None:
            before = part
        elif n_moved == len(part.frame):
            before, n_following = before.followed_by(part), n_following + n_moved
            n_bytes += int(part.frame["text"].str.len_bytes().sum())
        else:
            yield before.followed_by(part.of(part.frame.head(n_moved)))
            before, n_following, n_bytes = replace(part, frame=part.frame.slice(n_moved)), 0, 0
    if before is not None:
        yield before


def _n_going_on(last: pl.Series, texts: pl.Series, parser: LineParser) -> int:
    """How many of the first lines go on with the record of the last line before them."""
    for n in (1, MAX_JOINED_LINES):  # mostly the first doesn't
        goes_on = parser.parse(pl.concat([last, texts.head(n)]))["goes_on"][1:].to_numpy()
        if not goes_on.all():
            return int(goes_on.argmin())
    return len(goes_on)


@dataclass(frozen=True)
class _Parsed:
    """Records of some lines, and what is to be counted of them."""

    lines: _Lines
    records: pl.DataFrame
    n_joined: int
    n_fit: int
    n_unfit: int
    n_unfit_records: int
    unfit_examples: list[tuple[int, str]]
    n_without_timestamp: int


def _parsed(lines: _Lines, parser: LineParser, source: Source, options: ReadOptions) -> _Parsed:
    """Lines -> records, columns of `RECORD_SCHEMA`; changes nothing in `source`."""
    records = lines.frame.hstack(parser.parse(lines.frame["text"]))
    n_fit, n_joined, unfit = int(records["fits"].sum()), 0, records.clear()
    if n_fit < len(records):
        further_piece = pl.col("content") == ""  # of a line that a runtime has cut
        unfit = records.filter(~pl.col("fits") & ~further_piece & ~looks_continued(records["content"]))
        if parser.format.body_follows:
            unfit = unfit.filter(~pl.col("goes_on"))
    if parser.format.name != "sequences":
        records, n_joined = join_continuations(records)
    n_without_timestamp = records.filter("fits")["timestamp"].null_count()
    records = records.with_columns(
        source=pl.lit(source.name),
        service=pl.col("service").fill_null(options.service or source.service),
        ends_session=pl.lit(False),
        template=pl.lit(None, pl.String),
    )
    if options.session_key is not None:
        records = records.with_columns(options.session_key.extract(records))
    if parser.format.name == "sequences":
        records = _one_record_an_event(records)
    records = records.select(pl.col(name).cast(dtype) for name, dtype in RECORD_SCHEMA.items())
    records = redact_records(records, options.redactor, keep_text=options.keep_text)
    shown = unfit.select("line", "text").head(_N_EXAMPLES)
    examples = list(shown.with_columns(options.redactor.redact(shown["text"])).iter_rows())
    n_alone = len(unfit) - int(unfit["goes_on"].sum())
    return _Parsed(lines, records, n_joined, n_fit, len(unfit), n_alone, examples, n_without_timestamp)


def redact_records(
    records: pl.DataFrame,
    redactor: Redactor,
    *,
    keep_text: bool = False,
    by: Sequence[str] = ("text", "body"),  # JSON may write in the line as an escape what the body says
) -> pl.DataFrame:
    """The same records, columns of `RECORD_SCHEMA`, without secrets.

    Args:
        records: Records.
        redactor: What replaces secrets.
        keep_text: Leave them in `text`.
        by: Where none of these columns looks suspicious, no other does.
    """
    columns = _WITH_SECRETS if keep_text else (*_WITH_SECRETS, "text")
    return redactor.redact_columns(records, by=by, columns=columns, text="text", key="session_key")


def _count(parsed: _Parsed, source: Source) -> None:
    source.n_lines += parsed.lines.n_lines
    source.n_empty_lines += parsed.lines.n_empty
    source.n_invalid_utf8 += parsed.lines.n_invalid_utf8
    source.n_overlong += parsed.lines.n_overlong
    source.n_joined_lines += parsed.n_joined
    source.n_fit_lines += parsed.n_fit
    source.n_unfit_lines += parsed.n_unfit
    source.n_unfit_records += parsed.n_unfit_records
    source.n_without_timestamp += parsed.n_without_timestamp
    records = parsed.records
    source.n_records += len(records)
    source.has_timestamps = source.has_timestamps or records["timestamp"].null_count() < len(records)
    for line, text in parsed.unfit_examples[: _N_EXAMPLES - len(source.unfit_examples)]:
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


def _within(records: pl.DataFrame, last_time: Any, source: Source, options: ReadOptions) -> tuple[pl.DataFrame, Any]:
    """Keep what lies between `since` and `until`; and the time of the last record, for those that follow."""
    times = pl.col("timestamp").forward_fill().fill_null(pl.lit(last_time, pl.Datetime("ns")))
    timed = records.with_columns(times.alias("time"))
    after = pl.lit(True) if options.since is None else pl.col("time") >= options.since
    before = pl.lit(True) if options.until is None else pl.col("time") < options.until
    kept = timed.filter(pl.col("time").is_not_null() & after & before).drop("time")
    source.n_out_of_time += len(records) - len(kept)
    return kept, timed["time"][-1] if len(timed) else last_time


def _check_fit(source: Source, options: ReadOptions, sample: pl.Series, parser: LineParser) -> None:
    """Refuse a format that was given and fits less than half of the lines; if the first line fits, of the records."""
    if options.format is None:
        return
    first_fits = parser.parse(sample.head(1))["fits"].all()
    n_unfit = source.n_unfit_records if first_fits else source.n_unfit_lines
    n_lines = source.n_fit_lines + n_unfit  # but for those that look like a continuation
    if n_unfit * 2 <= n_lines:
        return
    found = detect_format(sample).format.name
    hint = f"It looks like {found}: leave the format away" if found != "plain" else "Try --format plain"
    line, text = source.unfit_examples[0]
    raise InputError(
        f"{printable(source.path, 1000)}, line {line}: expected the format {printable(source.format)}; "
        f"{n_unfit:,} of {n_lines:,} lines don't fit it, the first is: {text}\n{hint}."
    )


def _check_has_time(source: Source, options: ReadOptions) -> None:
    asked = options.since is not None or options.until is not None
    if asked and source.n_records and not source.has_timestamps:
        raise InputError(
            f"{printable(source.path, 1000)}: expected timestamps for --since and --until; no line has one "
            f"that can be read in the format {printable(source.format)}. Leave them away, or give a format "
            f"string with <Timestamp>."
        )
