"""Files, folders, globs, gzip, zstd, xz, standard input -> batches of log records, in bounded memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import polars as pl

from enhanced_deeplog.errors import UsageError
from enhanced_deeplog.logs import timestamps
from enhanced_deeplog.logs.byte_streams import lines_of_list
from enhanced_deeplog.logs.foreign_text import printable, storable
from enhanced_deeplog.logs.formats import LogFormat, find_format, read_formats
from enhanced_deeplog.logs.inputs import Input, expand_path, input_at, service_of
from enhanced_deeplog.logs.session_keys import SessionKey, session_key_of
from enhanced_deeplog.logs.sources import (
    BATCH_RECORDS,
    MAX_LINE_BYTES,
    RECORD_SCHEMA,
    ReadOptions,
    Source,
    read_source,
    redact_records,
)
from enhanced_deeplog.redaction import Redactor

__all__ = [
    "MAX_LINE_BYTES",
    "RECORD_SCHEMA",
    "LogRecords",
    "Source",
    "merge_order",
    "read_records",
    "records_from",
    "redact_records",
]


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

    def __init__(self, inputs: Iterable[Input], options: ReadOptions, *, most_records: int = sys.maxsize) -> None:
        self._inputs, self._options, self._most_records = tuple(inputs), options, most_records
        self._sources = [Source(one.name, one.path, one.service) for one in self._inputs]

    @classmethod
    def from_lines(
        cls,
        lines: Iterable[str],
        *,
        format: str | LogFormat | None = None,
        formats: str | Path | None = None,
        fields: Mapping[str, str] | None = None,
        session_key: str | SessionKey | None = None,
        source_name: str = "",
        service: str | None = None,
        time_zone: str = timestamps.UTC,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        evidence: Literal["redacted", "full"] = "redacted",
        batch_size: int = BATCH_RECORDS,
    ) -> LogRecords:
        """Read lines that are already in memory as if they stood in a file; the arguments of `read_records`.

        A line may hold newlines of its own; it stays one record.
        """
        raw = [line.removesuffix("\n").encode("utf-8", "surrogatepass") for line in lines]
        options = _options(
            format,
            formats=formats,
            fields=fields,
            session_key=session_key,
            service=service,
            time_zone=time_zone,
            since=since,
            until=until,
            evidence=evidence,
            batch_size=batch_size,
        )
        name = storable(source_name)
        one = Input(name, name or "<lines>", lambda _, max_line_bytes: lines_of_list(raw, max_line_bytes))
        return cls([one], options)

    @property
    def sources(self) -> tuple[Source, ...]:
        """What was read so far, source by source, by the latest iteration."""
        return tuple(self._sources)

    @property
    def session_key(self) -> SessionKey | None:
        """The session key asked for; None if the key is that of the format, or has yet to be found."""
        return self._options.session_key

    def apart(self) -> list[LogRecords]:
        """Each source by itself."""
        return [LogRecords([one], self._options, most_records=self._most_records) for one in self._inputs]

    def with_session_key(self, session_key: str | SessionKey | None) -> LogRecords:
        """The same records under another session key; `sources` of both tell what either of them read."""
        key = None if session_key is None else session_key_of(session_key)
        again = LogRecords(self._inputs, replace(self._options, session_key=key), most_records=self._most_records)
        again._sources = self._sources
        return again

    def with_redactor(self, redactor: Redactor) -> LogRecords:
        """The same records without other secrets; `sources` of both tell what either of them read."""
        again = LogRecords(self._inputs, replace(self._options, redactor=redactor), most_records=self._most_records)
        again._sources = self._sources
        return again

    def first(self, n_records: int) -> LogRecords:
        """The same input, of which no more than the first records are read; `sources` of both tell what was read."""
        some = LogRecords(self._inputs, self._options, most_records=n_records)
        some._sources = self._sources
        return some

    def head(self, n_records: int) -> pl.DataFrame:
        """The first records, columns of `RECORD_SCHEMA`."""
        batches: list[pl.DataFrame] = [pl.DataFrame(schema=RECORD_SCHEMA), *self.first(n_records)]
        return pl.concat(batches)

    def beginnings(self, n_records: int) -> pl.DataFrame:
        """The first records of all sources, in the order of time, as far as each of them was looked at.

        Args:
            n_records: No more than so many.
        """
        if len(self._inputs) == 1:
            return self.head(n_records)
        n_each = max(n_records // len(self._inputs), 1)
        frames = [source.head(n_each) for source in self.apart()[:n_records]]
        until = min(
            (last for frame in frames if len(frame) == n_each and (last := frame["timestamp"].max())), default=None
        )
        known = pl.lit(True) if until is None else pl.col("timestamp").fill_null(until) <= until
        return merge_order(pl.concat(frame.filter(known) for frame in frames))

    def __iter__(self) -> Iterator[pl.DataFrame]:
        left = self._most_records
        for i, one in enumerate(self._inputs):
            self._sources[i] = Source(one.name, one.path, one.service)
            for batch in read_source(one, self._sources[i], self._options):
                yield batch if len(batch) <= left else batch.head(left)
                left -= len(batch)
                if left <= 0:
                    return


def read_records(
    *paths: str | Path,
    format: str | LogFormat | None = None,
    formats: str | Path | None = None,
    fields: Mapping[str, str] | None = None,
    session_key: str | SessionKey | None = None,
    source_name: str | None = None,
    service: str | None = None,
    time_zone: str = timestamps.UTC,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
    evidence: Literal["redacted", "full"] = "redacted",
    batch_size: int = BATCH_RECORDS,
) -> LogRecords:
    """Read log files as records. Nothing is opened before the first batch is asked for.

    Args:
        paths: Files or globs; `-` is standard input. Each file is read once, however often it is named.
        format: One of `FORMATS` or a format string; by default it is found out for each file.
        formats: TOML file with formats of one's own, see `logs.formats.read_formats`; they are looked for first.
        fields: For JSON lines and logfmt, our field -> theirs: `{"body": "msg", "timestamp:ms": "t"}`.
        session_key: One of `CANDIDATE_KEYS`, the name before a key, a shape, or a regex searched in the whole line.
        source_name: What `source` says instead of the path.
        service: What `service` says where a record names none.
        time_zone: Of timestamps that name none, "Europe/Berlin".
        since: First time to keep; a text in ISO 8601 or a datetime, in `time_zone` unless it has a zone. A record
            without a timestamp has that of the record before.
        until: First time not to keep.
        evidence: "full" leaves secrets in `text`, so that findings show lines as they are; they are nowhere else.
        batch_size: Records of a batch, at most (a single line of `sequences` may have more).

    Raises:
        InputError: If a file is missing or a glob matches nothing; while iterating, if a file can't be read,
            breaks off, is no text, or mostly doesn't fit the format that was given.
        UsageError: If an argument can't be used.
    """
    if not paths:
        raise UsageError("read_records: expected at least one path; got none. Give files, globs, or - for stdin.")
    options = _options(
        format,
        formats=formats,
        fields=fields,
        session_key=session_key,
        service=service,
        time_zone=time_zone,
        since=since,
        until=until,
        evidence=evidence,
        batch_size=batch_size,
    )
    found: dict[str, str] = {}
    for given in map(str, paths):
        in_folder = given != "-" and Path(given).is_dir()
        for path in expand_path(given):
            found[path] = service_of(path) if in_folder else found.get(path, "")
    return LogRecords((input_at(path, source_name, found[path]) for path in sorted(found)), options)


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
    *,
    formats: str | Path | None,
    fields: Mapping[str, str] | None,
    session_key: str | SessionKey | None,
    service: str | None,
    time_zone: str,
    since: str | datetime | None,
    until: str | datetime | None,
    evidence: Literal["redacted", "full"],
    batch_size: int,
) -> ReadOptions:
    """The arguments of `read_records`, checked and made into what the reading needs."""
    if evidence not in ("redacted", "full"):
        raise UsageError(f"evidence: expected 'redacted' or 'full', got {evidence!r}.")
    if batch_size < 1:
        raise UsageError(f"batch_size: expected at least 1 record, got {batch_size}.")
    or_format: str | None = None
    if format is None and fields:
        format, or_format = "jsonl", "logfmt"  # only these have fields to name
    own = {} if formats is None else read_formats(Path(formats))
    return ReadOptions(
        format=None if format is None else find_format(format, fields, own),
        or_format=None if or_format is None else find_format(or_format, fields),
        own_formats=tuple(own.values()),
        session_key=None if session_key is None else session_key_of(session_key),
        service=None if service is None else storable(service),
        time_zone=timestamps.check_time_zone(time_zone),
        since=_moment("since", since, time_zone),
        until=_moment("until", until, time_zone),
        keep_text=evidence == "full",
        batch_size=batch_size,
    )


def _moment(name: str, given: str | datetime | None, zone: str) -> datetime | None:
    """A time as it stands in `timestamp`: UTC, without a zone."""
    if isinstance(given, str):
        written = given
        try:
            given = datetime.fromisoformat(written)
        except ValueError:
            raise UsageError(
                f"{name}: expected a time such as 2024-03-01T08:00:00Z, got '{printable(written)}'. "
                f"Without a zone it is in {zone}."
            ) from None
    if given is None:
        return None
    if given.tzinfo is None:
        given = given.replace(tzinfo=UTC if zone == timestamps.UTC else ZoneInfo(zone))
    return given.astimezone(UTC).replace(tzinfo=None)


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
