"""Named log formats, format strings, and which of them a file is written in.

A format takes lines apart into columns of text with one regular expression (Polars' Rust engine: linear
time, no look-around), JSON lines with the `json` module. A format becomes a `LineParser` once it has seen the
first lines of its source: only then is it known how timestamps are written there, and that must not change
from line to line.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

import polars as pl

from enhanced_deeplog.errors import InputError, UsageError

__all__ = [
    "FORMATS",
    "Detection",
    "JsonFields",
    "LineParser",
    "LogFormat",
    "TimestampReader",
    "detect_format",
    "find_format",
    "format_from_string",
    "printable",
]

_NS_PER = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_UTC_NS = pl.Datetime("ns")


def printable(text: str, limit: int = 200) -> str:
    """Show foreign text in a message: control characters escaped, cut to `limit` characters.

    Example:
        >>> printable("red \\x1b[31m text")
        'red \\\\x1b[31m text'
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


# --- Timestamps ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _TimestampStyle:
    """One way of writing a point in time: a part of fixed width, then perhaps a fraction and a zone."""

    strptime: str
    width: int  # characters that `strptime` covers

    def read(self, texts: pl.Series) -> pl.Series:
        """Texts -> Datetime("ns") in UTC; null where written otherwise. A missing zone means UTC."""
        base, rest = texts.str.slice(0, self.width), texts.str.slice(self.width)
        if "%b" not in self.strptime:  # names of days and months have a T of their own
            base = base.str.replace("T", " ", literal=True)
        # Parsed in microseconds first: year 9999 would overflow nanoseconds, and becomes null instead.
        times = base.str.to_datetime(self.strptime, time_unit="us", strict=False).cast(_UTC_NS, strict=False)
        if (rest.str.len_bytes().max() or 0) == 0:
            return times
        return _with_fraction_and_zone(times, rest)


_FRACTION_AND_ZONE = (
    r"^(?P<whole>(?:[.,](?P<fraction>[0-9]{1,9})[0-9]*)?"
    r" ?(?:Z|UTC|GMT|(?P<sign>[+-])(?P<hours>[0-9]{2}):?(?P<minutes>[0-9]{2})?)?)$"
)


def _with_fraction_and_zone(times: pl.Series, rest: pl.Series) -> pl.Series:
    """Add what stands behind the seconds; null where that is neither a fraction nor a zone."""

    def number(part: str) -> pl.Expr:
        return pl.col(part).cast(pl.Int64, strict=False).fill_null(0)

    fraction_ns = pl.col("fraction").str.pad_end(9, "0").cast(pl.Int64, strict=False).fill_null(0)
    offset_ns = (number("hours") * 60 + number("minutes")) * 60 * _NS_PER["s"]
    east = pl.when(pl.col("sign") == "-").then(-offset_ns).otherwise(offset_ns)
    total = pl.lit(times.cast(pl.Int64)) + fraction_ns - east
    parts = _groups(rest, _FRACTION_AND_ZONE)
    return parts.select(pl.when(pl.col("whole").is_not_null()).then(total).cast(_UTC_NS).alias("time"))[
        "time"
    ]


_STYLES = (
    _TimestampStyle("%Y-%m-%d %H:%M:%S", 19),
    _TimestampStyle("%y%m%d %H%M%S", 13),  # HDFS
    _TimestampStyle("%y/%m/%d %H:%M:%S", 17),  # Spark
    _TimestampStyle("%Y/%m/%d %H:%M:%S", 19),
    _TimestampStyle("%y-%m-%d %H:%M:%S", 17),
    _TimestampStyle("%Y-%m-%d-%H.%M.%S", 19),  # Blue Gene/L
    _TimestampStyle("%a %b %d %H:%M:%S %Y", 24),  # Apache error log
    _TimestampStyle("%d/%b/%Y:%H:%M:%S", 20),  # Apache access log
)

# From 1973 on the magnitudes of the units don't overlap. Smaller numbers are no date that a log would have.
_SMALLEST = {"s": 10**8, "ms": 10**11, "us": 10**14, "ns": 10**17}
_NUMBER = r"^(?P<whole>[0-9]{1,19})(?:\.(?P<fraction>[0-9]{1,9})[0-9]*)?$"


def _groups(texts: pl.Series, pattern: str) -> pl.DataFrame:
    """One String column per group of the pattern; null where a text doesn't match."""
    return texts.rename("text").to_frame().select(pl.col("text").str.extract_groups(pattern).struct.unnest())


def _magnitude() -> pl.Expr:
    """The unit that each number of column `whole` would have if it were a time since 1970 near ours."""
    by_size = [
        pl.when(pl.col("whole") >= _SMALLEST[unit]).then(pl.lit(unit)) for unit in ("ns", "us", "ms", "s")
    ]
    return pl.coalesce(by_size)


def _numbers(texts: pl.Series) -> pl.DataFrame:
    """Columns `whole` and `nano` (billionths of the unit), Int64; null where the text is no plain number."""
    return _groups(texts, _NUMBER).select(
        pl.col("whole").cast(pl.Int64, strict=False),
        nano=pl.col("fraction").str.pad_end(9, "0").cast(pl.Int64, strict=False).fill_null(0),
    )


def _epoch_times(texts: pl.Series, stated: pl.Series, decided: str | None) -> pl.Series:
    """Numbers since 1970 -> Datetime("ns"); `stated` is the unit each one carries, null where none does.

    A number without a stated unit is read in the `decided` one, and only if its magnitude agrees: the unit of
    a source is never guessed value by value. Zero means "not known" (OpenTelemetry) and gives null.
    """
    frame = _numbers(texts).with_columns(unit=stated)
    fits = pl.col("unit").is_not_null() | (_magnitude() == pl.lit(decided, pl.String))
    ns_per = pl.col("unit").fill_null(pl.lit(decided, pl.String)).replace_strict(_NS_PER, default=None)
    in_range = (pl.col("whole") > 0) & (pl.col("whole") < (2**63 - 1) // ns_per)
    total = pl.col("whole") * ns_per + pl.col("nano") * ns_per // _NS_PER["s"]
    return frame.select(pl.when(fits & in_range).then(total).cast(_UTC_NS).alias("time"))["time"]


@dataclass(frozen=True)
class TimestampReader:
    """How one source writes its timestamps, decided once from its first lines.

    Attributes:
        style: How texts are written; None if none of the known ways was seen.
        unit: Unit of numbers that don't state one: s, ms, us or ns; None if there were none.
    """

    style: _TimestampStyle | None
    unit: str | None

    @classmethod
    def for_sample(cls, texts: pl.Series, stated: pl.Series, source: str) -> TimestampReader:
        """Decide from a sample: the style that reads the most texts, the unit that all numbers agree on.

        Args:
            texts: Timestamps as written, String (N,), null where a line has none.
            stated: Unit that each one carries, String (N,), null where it carries none.
            source: Name of the source, for the error.

        Raises:
            InputError: If numbers without a unit have magnitudes of more than one unit.
        """
        texts = texts.str.strip_chars()
        n_read = [style.read(texts).is_not_null().sum() for style in _STYLES]
        style = _STYLES[n_read.index(max(n_read))] if max(n_read) else None
        return cls(style, _agreed_unit(texts, stated, source))

    def read(self, texts: pl.Series, stated: pl.Series) -> pl.Series:
        """Timestamps as written -> Datetime("ns") in UTC (N,); null where one can't be read."""
        texts = texts.str.strip_chars()
        if self.style is None and self.unit is None and stated.null_count() == len(stated):
            return pl.Series("timestamp", [None], _UTC_NS).new_from_index(0, len(texts))
        times = texts.clear(len(texts)).cast(_UTC_NS) if self.style is None else self.style.read(texts)
        if self.unit is not None or stated.null_count() < len(stated):
            numbers = _epoch_times(texts, stated, self.unit)
            times = times.to_frame("t").select(pl.coalesce("t", numbers))["t"]
        return times.rename("timestamp")


def _agreed_unit(texts: pl.Series, stated: pl.Series, source: str) -> str | None:
    bare = texts.filter(stated.is_null())
    units = _numbers(bare).with_columns(unit=_magnitude(), text=bare).drop_nulls("unit")
    seen = units.unique("unit", keep="first", maintain_order=True)
    if len(seen) > 1:
        (_, _, unit, text), (_, _, other_unit, other_text) = seen.rows()[:2]
        raise InputError(
            f"{printable(source)}: expected timestamps of one unit; {text} looks like {unit}, {other_text} "
            f"like {other_unit}. State the unit: --field timestamp:{unit}=NAME, or <Timestamp:{unit}> in a "
            f"format string."
        )
    return None if seen.is_empty() else str(seen["unit"][0])


# --- JSON lines ---------------------------------------------------------------------------------------------

_OTEL_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")  # severityNumber 1-4, 5-8, ... 21-24
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_ANY_VALUE = ("stringValue", "intValue", "doubleValue", "boolValue")  # OpenTelemetry's boxed values


@dataclass(frozen=True)
class JsonFields:
    """Where a JSON object keeps what we need: for each of our fields the names to try, in this order.

    A name is a key or a dotted path of keys; keys may contain dots themselves.
    """

    body: tuple[str, ...] = ("body", "Body", "message", "msg", "event", "log")
    timestamp: tuple[str, ...] = (
        "timestamp", "@timestamp", "Timestamp", "time", "ts",
        "timeUnixNano", "TimeUnixNano", "observedTimeUnixNano", "ObservedTimestamp",
    )  # fmt: skip
    severity: tuple[str, ...] = (
        "severity", "level", "severityText", "SeverityText", "log.level", "severityNumber", "SeverityNumber",
    )  # fmt: skip
    component: tuple[str, ...] = (
        "logger", "logger_name", "component", "name", "scope", "scope.name",
        "InstrumentationScope.name", "InstrumentationScope", "log.logger",
    )  # fmt: skip
    host: tuple[str, ...] = ("host", "hostname", "host.name", "resource.host.name", "Resource.host.name")
    process: tuple[str, ...] = ("pid", "process", "thread", "thread_name", "process.pid")
    session_key: tuple[str, ...] = ("trace_id", "traceId", "TraceId", "request_id", "requestId")
    service: tuple[str, ...] = (
        "service", "service.name", "resource.service.name", "resource.attributes.service.name",
        "Resource.service.name",
    )  # fmt: skip
    timestamp_unit: str | None = None  # s, ms, us or ns, if the caller stated it

    @classmethod
    def of(cls, ours_to_theirs: Mapping[str, str]) -> JsonFields:
        """Take names from the caller, `{"body": "msg", "timestamp:ms": "t"}`; the others stay usual.

        Raises:
            UsageError: If a field is not one of ours, or a unit not s, ms, us or ns.
        """
        chosen: dict[str, Any] = {}
        for ours, theirs in ours_to_theirs.items():
            name, colon, unit = ours.partition(":")
            _check_field_name(ours, name, theirs)
            if colon:
                _check_unit(ours, name, unit)
                chosen["timestamp_unit"] = unit
            chosen[name] = (theirs,)
        return cls(**chosen)

    def among(self, keys: Collection[str]) -> JsonFields:
        """Only the paths that an object with these keys can have: the same answers, found sooner."""

        def possible(path: str) -> bool:
            steps = path.split(".")
            return any(".".join(steps[:n]) in keys for n in range(1, len(steps) + 1))

        kept = {name: tuple(filter(possible, getattr(self, name))) for name in _FIELD_NAMES}
        return replace(self, **kept)  # type: ignore[arg-type]  # mypy takes every value for the unit


_FIELD_NAMES = tuple(sorted(f.name for f in fields(JsonFields) if f.name != "timestamp_unit"))


def _check_field_name(ours: str, name: str, theirs: object) -> None:
    if name not in _FIELD_NAMES:
        raise UsageError(
            f"--field {printable(ours)}: expected one of {', '.join(_FIELD_NAMES)}; "
            f"write OURS=THEIRS, for example --field body=msg."
        )
    if not isinstance(theirs, str) or not theirs:
        raise UsageError(f"--field {printable(ours)}: expected the name of a JSON field, got {theirs!r}.")


def _check_unit(written: str, name: str, unit: str) -> None:
    if name != "timestamp" or unit not in _NS_PER:
        raise UsageError(
            f"{printable(written)}: expected a unit only behind the timestamp, one of {', '.join(_NS_PER)}; "
            f"for example timestamp:ms."
        )


def _unit_in_name(name: str) -> str | None:
    """The unit that a field's name carries: timeUnixNano, ts_ms, t_us, t_ns."""
    if name.endswith("UnixNano"):
        return "ns"
    suffix = name.rpartition("_")[2]
    return suffix if "_" in name and suffix in ("ms", "us", "ns") else None


def _json_object(line: str) -> dict[str, Any] | None:
    """The object that a line holds; None if it holds anything else."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):  # not JSON; a number of thousands of digits; nested without end
        return None
    return value if isinstance(value, dict) else None


def _at(value: Any, path: str) -> Any:
    """The value at a dotted path, None if none. OpenTelemetry's lists of {key, value} count as objects."""
    if isinstance(value, list):
        value = {item["key"]: item.get("value") for item in value if isinstance(item, dict) and "key" in item}
    if not isinstance(value, dict):
        return None
    if path in value:
        return value[path]
    for dot in [i for i, character in enumerate(path) if character == "."]:
        if path[:dot] in value:
            found = _at(value[path[:dot]], path[dot + 1 :])
            if found is not None:
                return found
    return None


def _unboxed(value: Any) -> Any:
    if isinstance(value, dict) and len(value) == 1:
        (kind, inner), *_ = value.items()
        return inner if kind in _ANY_VALUE else value
    return value


def _text_at(
    record: dict[str, Any], paths: tuple[str, ...], *, whole: bool = False
) -> tuple[str, str] | None:
    """The first path with something in it: its text, and the path. Objects count only if `whole`."""
    for path in paths:
        value = _unboxed(_at(record, path))
        if value is None or value == "" or (isinstance(value, dict | list) and not whole):
            continue
        return _json_text(value), path
    return None


def _json_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value == value and abs(value) < 1e19:
        return format(Decimal(repr(value)), "f")  # never 1.7e+18: a timestamp must stay readable as one
    return json.dumps(value, ensure_ascii=False)


def _json_timestamp(record: dict[str, Any], names: JsonFields) -> tuple[str | None, str | None]:
    for path in names.timestamp:
        found = _text_at(record, (path,))
        if found is not None and found[0] != "0":  # OpenTelemetry: 0 is "not known"; take the observed time
            return found[0], names.timestamp_unit or _unit_in_name(path)
    return None, None


def _json_severity(record: dict[str, Any], names: JsonFields) -> str | None:
    found = _text_at(record, names.severity)
    if found is None:
        return None
    text, path = found
    if path.endswith("everityNumber") and text.isascii() and text.isdigit() and 1 <= int(text) <= 24:
        return _OTEL_SEVERITIES[(int(text) - 1) // 4]
    return text


def _split_json(lines: pl.Series, all_names: JsonFields) -> pl.DataFrame:
    """JSON lines -> columns of text. In Python: the type of a field may change from line to line."""
    columns: dict[str, list[str | None]] = {name: [] for name in (*_FIELD_NAMES, "unit")}
    fits: list[bool] = []
    shapes: dict[tuple[str, ...], JsonFields] = {}  # the same few sets of keys come again and again
    for line in lines.to_list():
        record = _json_object(line)
        fits.append(record is not None)
        record = record or {}
        keys = tuple(record)
        if keys not in shapes:
            shapes[keys] = all_names.among(keys)
        names = shapes[keys]
        timestamp, unit = _json_timestamp(record, names)
        columns["timestamp"].append(timestamp)
        columns["unit"].append(unit)
        columns["severity"].append(_json_severity(record, names))
        body = _text_at(record, names.body, whole=True)
        columns["body"].append(body[0] if body else None)
        for name in _NAMES:
            found = _text_at(record, getattr(names, name))
            columns[name].append(found[0] if found else None)
    texts = [_string_column(name, values) for name, values in columns.items()]
    return pl.DataFrame([pl.Series("fits", fits, pl.Boolean), *texts])


def _string_column(name: str, values: Sequence[str | None]) -> pl.Series:
    try:
        return pl.Series(name, values, pl.String)
    except UnicodeEncodeError:  # "\\ud800" in JSON is half a character; it can't be stored, so it is replaced
        return pl.Series(name, [None if v is None else _HALF_CHARACTER.sub("\ufffd", v) for v in values])


# --- Formats ------------------------------------------------------------------------------------------------

_NAMES = ("component", "host", "process", "session_key", "service")
_TEXT_COLUMNS = ("timestamp", "unit", "severity", *_NAMES, "body")


@dataclass(frozen=True)
class LogFormat:
    """How the lines of a log are laid out.

    Attributes:
        name: What `--format` calls it; the format string itself for one of those.
        pattern: Rust regex with groups `timestamp` (or `date` and `time`), `severity`, `component`, `host`,
            `process`, `session_key`, `service`, `body`. A second place for the same field is `process_2`.
            Empty for JSON lines.
        example: A line in this format.
        timestamp_unit: Unit of numeric timestamps, where the format states it.
        json_fields: Where JSON lines keep what; None for all other formats.
    """

    name: str
    pattern: str = ""
    example: str = ""
    timestamp_unit: str | None = None
    json_fields: JsonFields | None = None

    def fits(self, lines: pl.Series) -> pl.Series:
        """Which lines are laid out like this, Boolean (N,)."""
        if self.json_fields is not None:
            return pl.Series([_json_object(line) is not None for line in lines.to_list()], dtype=pl.Boolean)
        return lines.str.contains(self.pattern)

    def split(self, lines: pl.Series) -> pl.DataFrame:
        """Take lines apart: String columns of `_TEXT_COLUMNS`, null where absent, and `fits`, Boolean."""
        if self.json_fields is not None:
            return _split_json(lines, self.json_fields)
        return _split_by_pattern(lines, self.pattern, self.timestamp_unit)

    def parser(self, sample: pl.Series, source: str) -> LineParser:
        """Settle what only the lines of a source can tell, from the first of them.

        Args:
            sample: The first lines of the source, String (N,).
            source: Its name, for errors.

        Raises:
            InputError: If numeric timestamps don't agree on a unit, or JSON objects have no known body.
        """
        parts = self.split(sample)
        if self.json_fields is not None:
            _check_has_body(parts, sample, source, self.json_fields.body)
        return LineParser(self, TimestampReader.for_sample(parts["timestamp"], parts["unit"], source))


def _check_has_body(parts: pl.DataFrame, sample: pl.Series, source: str, names: tuple[str, ...]) -> None:
    without = parts["fits"] & parts["body"].is_null()
    if without.sum() * 2 <= parts["fits"].sum():
        return
    record = _json_object(sample.filter(without)[0]) or {}
    keys = ", ".join(printable(key, 40) for key in list(record)[:20]) or "none"
    raise InputError(
        f"{printable(source)}: expected the text of each record in {' or '.join(map(printable, names))}; "
        f"the JSON objects have other fields ({keys}). Say which one it is: --field body=NAME."
    )


def _split_by_pattern(lines: pl.Series, pattern: str, unit: str | None) -> pl.DataFrame:
    groups = _groups(lines, pattern)
    found: dict[str, list[pl.Expr]] = {}
    for group in groups.columns:  # in the order of the pattern
        found.setdefault(re.sub(r"_[0-9]+$", "", group), []).append(pl.col(group))
    values = {name: pl.coalesce(places) for name, places in found.items()}
    date_and_time = [values[name] for name in ("date", "time") if name in values]
    if date_and_time:
        joined = pl.concat_str(date_and_time, separator=" ", ignore_nulls=len(date_and_time) == 1)
        values.setdefault("timestamp", joined)
    if unit is not None:
        values["unit"] = pl.lit(unit)
    absent = pl.lit(None, pl.String)
    return groups.select(
        pl.any_horizontal(pl.all().is_not_null()).alias("fits"),
        *(values.get(name, absent).alias(name) for name in _TEXT_COLUMNS),
    )


@dataclass(frozen=True)
class LineParser:
    """A format bound to one source: each of its lines is read in the same way, whatever block it is in."""

    format: LogFormat
    timestamps: TimestampReader

    def parse(self, lines: pl.Series) -> pl.DataFrame:
        """Lines -> `fits`, `timestamp`, `severity`, `component`, `host`, `process`, `session_key`, `service`,
        `body`.

        A line that doesn't fit, or a JSON object without a body, has its whole text as body; a line that
        doesn't fit has null everywhere else. Empty names become null.
        """
        parts = self.format.split(lines)
        times = self.timestamps.read(parts["timestamp"], parts["unit"])
        body = pl.col("body").fill_null(lines if self.format.json_fields else "")
        return parts.select(
            "fits",
            times.alias("timestamp"),
            _normal_severity(),
            *(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in _NAMES),
            pl.when("fits").then(body).otherwise(lines).alias("body"),
        )


def _normal_severity() -> pl.Expr:
    upper = pl.col("severity").str.strip_chars().str.to_uppercase()
    return upper.replace({"WARNING": "WARN", "CRITICAL": "FATAL", "": None}).alias("severity")


# --- Named formats ------------------------------------------------------------------------------------------

_TIMESTAMP = (
    r"(?P<timestamp>[0-9]{2,4}[-/][0-9]{2}[-/][0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}"
    r"(?:[.,][0-9]{1,9})?(?: ?(?:Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2}))?)"
)
_SEVERITY = r"(?P<severity>(?i:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|SEVERE|CRITICAL|FATAL))"
_BLANKS = r"[ \t]+"

# The most specific first: where two fit a line, the earlier one says more about it.
_NAMED = (
    LogFormat(
        "jsonl",
        json_fields=JsonFields(),
        example='{"time": "2024-03-01T08:00:00Z", "level": "info", "msg": "up"}',
    ),
    LogFormat(
        "sequences",  # one session a line: its key, then the ids of its templates in order
        r"^(?:(?P<session_key>[^,\t]+),[ \t]*)?(?P<body>[A-Za-z]?[0-9]+(?:[ \t]+[A-Za-z]?[0-9]+)*)[ \t]*$",
        "blk_-1608999687919862906,5 5 22 5 11 9",
    ),
    LogFormat(
        "hdfs",
        r"^(?P<timestamp>[0-9]{6} [0-9]{6}) (?P<process>[0-9]+) (?P<severity>[A-Z]+) "
        r"(?P<component>[^ :]+): (?P<body>.*)$",
        "081109 203530 147 INFO dfs.DataNode$DataXceiver: Receiving block blk_1 src: /10.0.0.1:1",
    ),
    LogFormat(
        "nova",  # oslo.log: with or without file, time and process; no colon behind the component
        rf"^[ \t]*(?:(?:[^ ]+\.log[^ ]* )?{_TIMESTAMP} (?P<process>[0-9]+) )?{_SEVERITY} "
        r"(?:(?P<component>[a-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)+) (?P<body>.*)"
        r"|(?P<component_2>[a-z_]+) (?P<body_2>\[.*))$",
        "INFO nova.compute.claims [req-3ea4052c-895d-4b64-9e2d-04d64c4d94ab] Claim successful",
    ),
    LogFormat(
        "pipe",  # also loguru's `| module:function:line - body`
        rf"^[ \t]*{_TIMESTAMP} *\| *{_SEVERITY} *\| *"
        r"(?:(?P<component>[^| ]+) - |(?P<component_2>[^|]*?) *\| *)(?P<body>.*)$",
        "2024-03-01 08:00:00,123 | INFO | orders.api | order 17 accepted",
    ),
    LogFormat(
        "log4j",  # also logback, Spark, Spring Boot, ZooKeeper: thread before or behind the level
        rf"^[ \t]*{_TIMESTAMP}[ ,]+(?:- +)?(?:\[(?P<process>[^\]]*)\] +)?\[?{_SEVERITY}\]? +"
        r"(?:(?P<process_2>[0-9]+) +(?:-{2,3} +)?)?(?:\[(?P<process_3>[^\]]*)\] +)?(?:- +)?"
        r"(?P<component>[^ :\[\]]+)(?: *:| +-)(?: +(?P<body>.*))?$",
        "2015-10-18 18:01:47,978 INFO [main] org.apache.hadoop.mapreduce.v2.app.MRAppMaster: Created",
    ),
    LogFormat(
        "dated",  # a time, perhaps a severity, then free text
        rf"^[ \t]*\[?{_TIMESTAMP}\]?(?:[ \t,|-]+\[?{_SEVERITY}\]?)?[ \t:,|-]+(?P<body>.*)$",
        "2024-03-01T08:00:00Z ERROR could not reach the store",
    ),
)
_PLAIN = LogFormat("plain", r"^(?P<body>.*)$", "anything at all")

FORMATS: Mapping[str, LogFormat] = {named.name: named for named in (*_NAMED, _PLAIN)}


def find_format(name: str | LogFormat, json_fields: Mapping[str, str] | None = None) -> LogFormat:
    """The format that `--format` means: one of `FORMATS`, or a format string: `<Date> <Time> <Content>`.

    Args:
        name: A name, a format string, or a format as it is.
        json_fields: Names of the caller's JSON fields, `{"body": "msg", "timestamp:ms": "t"}`.

    Raises:
        UsageError: If there is no such format, or fields are given for one that has none.
    """
    chosen = name if isinstance(name, LogFormat) else _format_called(name)
    if not json_fields:
        return chosen
    if chosen.json_fields is None:
        raise UsageError(
            f"--field is for JSON lines; the format is {printable(chosen.name)}. "
            f"Leave --field away, or name the fields in a format string: '<Date> <Time> <Level> <Content>'."
        )
    return LogFormat("jsonl", example=chosen.example, json_fields=JsonFields.of(json_fields))


def _format_called(name: str) -> LogFormat:
    if "<" in name or ">" in name:
        return format_from_string(name)
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name.lower(), FORMATS, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(
        f"format '{printable(name)}': expected one of {', '.join(FORMATS)}, or a format string such as "
        f"'<Date> <Time> <Level> <Component>: <Content>'.{hint}"
    )


# --- Format strings -----------------------------------------------------------------------------------------

_STRING_FIELDS = {
    "date": "date", "time": "time", "timestamp": "timestamp", "level": "severity", "severity": "severity",
    "component": "component", "content": "body", "message": "body", "body": "body", "pid": "process",
    "process": "process", "thread": "process", "host": "host", "node": "host", "sessionkey": "session_key",
    "service": "service",
}  # fmt: skip
_FIELD = re.compile(r"<([A-Za-z][A-Za-z0-9_]*)(?::([a-z]+))?>")


def format_from_string(text: str) -> LogFormat:
    """Make a format from LogHub's notation: fields in `<>`, everything else stands for itself.

    Known fields, in any case: Date, Time, Timestamp (with a unit if it is a number: `<Timestamp:ms>`), Level
    or Severity, Component, Content or Message or Body, Pid or Process or Thread, Host or Node, SessionKey,
    Service. Other names are read and forgotten. A run of blanks stands for one or more blanks; the last field
    takes the rest.

    Raises:
        UsageError: If the string is malformed (with the position) or has no field for the content.

    Example:
        >>> log_format = format_from_string("<Date> <Time> <Level> <Component>: <Content>")
        >>> parts = log_format.split(pl.Series(["081109 203530 INFO dfs.DataNode: up"]))
        >>> parts.select("severity", "body").row(0)
        ('INFO', 'up')
    """
    pieces: list[str] = []
    used: set[str] = set()
    unit: str | None = None
    place = 0
    while place < len(text):
        field = _FIELD.match(text, place)
        if field is None:
            end = min(i for i in (text.find("<", place + 1), text.find(">", place), len(text)) if i >= 0)
            _check_literal(text, place, end)
            pieces.append(_literal_pattern(text[place:end]))
            place = end
            continue
        name = _STRING_FIELDS.get(field[1].lower())
        if name in used:
            raise _malformed(text, place, f"expected each field once; <{field[1]}> is a second {name}")
        if field[2] is not None:
            _check_unit(field[0], name or field[1], field[2])
            unit = field[2]
        used.update({name} if name else ())
        pieces.append(_field_pattern(name, text[field.end() :]))
        place = field.end()
    if "body" not in used:
        raise _malformed(text, len(text), "expected a field <Content>; there is none")
    return LogFormat(text, f"^{''.join(pieces)}$", timestamp_unit=unit)


def _malformed(text: str, place: int, what: str) -> UsageError:
    return UsageError(
        f"format string '{printable(text)}', position {place + 1}: {what}. "
        f"Write fields as <Name>, for example '<Date> <Time> <Level> <Component>: <Content>'."
    )


def _check_literal(text: str, start: int, end: int) -> None:
    if text[start] in "<>":
        got = printable(text[start : start + 20])
        raise _malformed(text, start, f"expected a field such as <Level>; got '{got}'")
    if end < len(text) and text[end] == ">":
        raise _malformed(text, end, "expected no '>' outside a field")


def _literal_pattern(literal: str) -> str:
    return _BLANKS.join(_rust_escape(part) for part in re.split(r"[ \t]+", literal))


def _rust_escape(text: str) -> str:
    """Quote literal text for Rust's regex, which refuses a backslash before a letter, digit or blank."""
    return "".join("\\" + c if c in r"\.+*?()|[]{}^$#&-~" else c for c in text)


def _field_pattern(name: str | None, following: str) -> str:
    """A field before a blank holds no blank; before other text it is short; the last takes all."""
    inside = ".*" if not following else r"[^ \t]+" if following[0] in " \t" else ".*?"
    return f"(?P<{name}>{inside})" if name else f"(?:{inside})"


# --- Detection ----------------------------------------------------------------------------------------------

_SURE = 0.9  # share of lines from which the most specific format is taken without looking further
_LEAST = 0.5  # share below which a format is no format of the file: stack traces may be many, not most


@dataclass(frozen=True)
class Detection:
    """The format of some lines, and how sure that is.

    Attributes:
        format: The format chosen.
        fit: Share of the lines that fit it, [0, 1].
        runner_up: The next best format that fits any line; None if there is none.
        runner_up_fit: Share of the lines that fit that one.
    """

    format: LogFormat
    fit: float
    runner_up: LogFormat | None
    runner_up_fit: float


def detect_format(sample_lines: Iterable[str] | pl.Series) -> Detection:
    """Find the format of a log from its first lines.

    The most specific format that fits nine lines in ten is chosen; else the one that fits the most lines, if
    that is half of them (the others are then stack traces and the like); else `plain`, which fits everything.

    Example:
        >>> detect_format(["081109 203530 147 INFO dfs.DataNode: up"]).format.name
        'hdfs'
    """
    lines = pl.Series("line", sample_lines, pl.String)
    lines = lines.filter(lines.str.strip_chars(" \t\r") != "")
    shares = {named.name: int(named.fits(lines).sum()) / max(len(lines), 1) for named in _NAMED}
    # Stable: those of which we are sure keep their order, most specific first; the others go by their share.
    ranked = sorted(shares, key=lambda name: -min(shares[name], _SURE))
    best = ranked[0]
    if shares[best] < _LEAST:
        return Detection(_PLAIN, 1.0, *_runner_up(best, shares))
    return Detection(FORMATS[best], shares[best], *_runner_up(ranked[1], shares))


def _runner_up(name: str, shares: Mapping[str, float]) -> tuple[LogFormat | None, float]:
    return (FORMATS[name], shares[name]) if shares[name] > 0 else (None, 0.0)
