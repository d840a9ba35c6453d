"""JSON lines and logfmt, and where their objects keep what we need, by OpenTelemetry's names and many others.

Lines are read one by one with the `json` module: the type of a field may change from line to line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

import polars as pl

from enhanced_deeplog.errors import UsageError
from enhanced_deeplog.logs.foreign_text import printable
from enhanced_deeplog.logs.timestamps import check_timestamp_unit

__all__ = [
    "LOGFMT",
    "NAME_COLUMNS",
    "SYSLOG_SEVERITIES",
    "JsonFields",
    "json_object",
    "logfmt_object",
    "split_objects",
]

NAME_COLUMNS = ("component", "host", "process", "session_key", "service")  # what holds a name, in any format

_OTEL_SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")  # severityNumber 1-4, 5-8, ... 21-24
SYSLOG_SEVERITIES = ("FATAL", "FATAL", "FATAL", "ERROR", "WARN", "NOTICE", "INFO", "DEBUG")  # 0 to 7
_NUMBERED = {  # what a number means, by the name of its field
    "PRIORITY": dict(enumerate(SYSLOG_SEVERITIES)),  # journald
    "level": {10: "TRACE", 20: "DEBUG", 30: "INFO", 40: "WARN", 50: "ERROR", 60: "FATAL"},  # Bunyan, pino
    "Level": {1: "FATAL", 2: "ERROR", 3: "WARN", 4: "INFO", 5: "DEBUG"},  # Windows
}
_NUMBERED["winlog.level"] = _NUMBERED["Level"]
_LETTERS = "FEWIDVT"  # MongoDB's `s`, with a number behind D
_PAIR = r'(?:[A-Za-z_][A-Za-z0-9_.@/-]*)=(?:"(?:[^"\\]|\\.)*"|[^ "=]*)'
LOGFMT = rf"^ *{_PAIR}(?: +{_PAIR})+ *$"  # at least two
_PAIRS = re.compile(r'([A-Za-z_][A-Za-z0-9_.@/-]*)=("(?:[^"\\]|\\.)*"|[^ "=]*)')
_IS_LOGFMT = re.compile(LOGFMT)
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_ANY_VALUE = ("stringValue", "intValue", "doubleValue", "boolValue")  # OpenTelemetry's boxed values


@dataclass(frozen=True)
class JsonFields:
    """Where a JSON object keeps what we need: for each of our fields the names to try, in this order.

    A name is a key or a dotted path of keys; keys may contain dots themselves.
    """

    body: tuple[str, ...] = ("body", "Body", "message", "msg", "event", "log", "MESSAGE", "Message", "short_message")
    timestamp: tuple[str, ...] = (
        "timestamp", "@timestamp", "Timestamp", "time", "ts",
        "timeUnixNano", "TimeUnixNano", "observedTimeUnixNano", "ObservedTimestamp",
        "__REALTIME_TIMESTAMP", "t.$date", "TimeCreated", "EventTime", "asctime", "datetime", "date",
    )  # fmt: skip
    severity: tuple[str, ...] = (
        "severity", "level", "severityText", "SeverityText", "log.level", "severityNumber", "SeverityNumber",
        "PRIORITY", "LevelDisplayName", "Level", "winlog.level", "levelname", "lvl", "s",
    )  # fmt: skip
    component: tuple[str, ...] = (
        "logger", "logger_name", "component", "name", "scope", "scope.name",
        "InstrumentationScope.name", "InstrumentationScope", "log.logger",
        "SYSLOG_IDENTIFIER", "ProviderName", "SourceName", "c", "caller", "svc", "module",
    )  # fmt: skip
    host: tuple[str, ...] = (
        "host", "hostname", "host.name", "resource.host.name", "Resource.host.name",
        "_HOSTNAME", "MachineName", "Computer", "Hostname",
    )  # fmt: skip
    process: tuple[str, ...] = (
        "pid", "process", "thread", "thread_name", "process.pid", "_PID", "ProcessId", "ProcessID", "ctx",
    )  # fmt: skip
    session_key: tuple[str, ...] = ("trace_id", "traceId", "TraceId", "request_id", "requestId")
    service: tuple[str, ...] = (
        "service", "service.name", "resource.service.name", "resource.attributes.service.name",
        "Resource.service.name", "_SYSTEMD_UNIT",
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
                check_timestamp_unit(ours, name, unit)
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


def json_object(line: str) -> dict[str, Any] | None:
    """The object that a line holds; None if it holds anything else."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):  # not JSON; a number of thousands of digits; nested without end
        return None
    return value if isinstance(value, dict) else None


def logfmt_object(line: str) -> dict[str, Any] | None:
    """The pairs of a line of logfmt; None if it is anything else.

    Example:
        >>> logfmt_object('level=warn msg="order 17 is late"')
        {'level': 'warn', 'msg': 'order 17 is late'}
    """
    if not _IS_LOGFMT.match(line):
        return None
    return {key: _unquoted(value) for key, value in _PAIRS.findall(line)}


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value, strict=False))
    except ValueError:  # an escape that JSON doesn't know
        return value[1:-1]


def split_objects(
    lines: pl.Series, all_names: JsonFields, object_of: Callable[[str], dict[str, Any] | None]
) -> pl.DataFrame:
    """Lines that hold objects -> String columns of our fields and `unit`, null where absent; and `fits`, Boolean.

    Args:
        lines: Lines, String (N,).
        all_names: Where the objects keep what.
        object_of: The object that a line holds; None if it holds none.
    """
    columns: dict[str, list[str | None]] = {name: [] for name in (*_FIELD_NAMES, "unit")}
    fits: list[bool] = []
    shapes: dict[tuple[str, ...], JsonFields] = {}  # the same few sets of keys come again and again
    for line in lines.to_list():
        record = object_of(line)
        fits.append(record is not None)
        record = record or {}
        keys = tuple(record)
        if keys not in shapes:
            shapes[keys] = all_names.among(keys)
        names = shapes[keys]
        timestamp, unit = _timestamp_in(record, names)
        columns["timestamp"].append(timestamp)
        columns["unit"].append(unit)
        columns["severity"].append(_severity_in(record, names))
        body = _text_at(record, names.body, whole=True)
        columns["body"].append(body[0] if body else None)
        for name in NAME_COLUMNS:
            found = _text_at(record, getattr(names, name))
            columns[name].append(found[0] if found else None)
    texts = [_string_column(name, values) for name, values in columns.items()]
    texts.append(pl.Series("continues", [None], pl.String).new_from_index(0, len(lines)))
    return pl.DataFrame([pl.Series("fits", fits, pl.Boolean), *texts])


def _timestamp_in(record: dict[str, Any], names: JsonFields) -> tuple[str | None, str | None]:
    """The timestamp as written, and the unit that the caller or the name of its field states."""
    for path in names.timestamp:
        found = _text_at(record, (path,))
        if found is not None and found[0] != "0":  # OpenTelemetry: 0 is "not known"; take the observed time
            return found[0], names.timestamp_unit or _unit_in_name(path)
    return None, None


def _unit_in_name(name: str) -> str | None:
    """The unit that a field's name carries: timeUnixNano, ts_ms, t_us, t_ns."""
    if name.endswith("UnixNano"):
        return "ns"
    if name == "__REALTIME_TIMESTAMP":  # journald
        return "us"
    suffix = name.rpartition("_")[2]
    return suffix if "_" in name and suffix in ("ms", "us", "ns") else None


def _severity_in(record: dict[str, Any], names: JsonFields) -> str | None:
    found = _text_at(record, names.severity)
    if found is None:
        return None
    text, path = found
    if path == "level" and "short_message" in record and text in "01234567":  # GELF
        return SYSLOG_SEVERITIES[int(text)]
    if path in _NUMBERED and text.isascii() and text.isdigit() and len(text) < 4:
        return _NUMBERED[path].get(int(text), text)
    if path == "s" and (len(text) > 2 or text[0] not in _LETTERS):
        return None
    if path == "s":
        return text[0]
    if path.endswith("everityNumber") and text.isascii() and text.isdigit() and 1 <= int(text) <= 24:
        return _OTEL_SEVERITIES[(int(text) - 1) // 4]
    return text


def _text_at(record: dict[str, Any], paths: tuple[str, ...], *, whole: bool = False) -> tuple[str, str] | None:
    """The first path with something in it: its text, and the path. Objects count only if `whole`."""
    for path in paths:
        value = _unboxed(_at(record, path))
        if value is None or value == "" or (isinstance(value, dict | list) and not whole):
            continue
        return _as_text(value), path
    return None


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


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value == value and abs(value) < 1e19:
        return format(Decimal(repr(value)), "f")  # never 1.7e+18: a timestamp must stay readable as one
    return json.dumps(value, ensure_ascii=False)


def _string_column(name: str, values: Sequence[str | None]) -> pl.Series:
    try:
        return pl.Series(name, values, pl.String)
    except UnicodeEncodeError:  # "\\ud800" in JSON is half a character; it can't be stored, so it is replaced
        return pl.Series(name, [None if v is None else _HALF_CHARACTER.sub("\ufffd", v) for v in values])
