"""Format strings, LogHub's notation for the layout of a line: `<Date> <Time> <Level> <Content>`."""

from __future__ import annotations

import re

from enhanced_deeplog.errors import UsageError
from enhanced_deeplog.logs.foreign_text import printable
from enhanced_deeplog.logs.log_format import LogFormat
from enhanced_deeplog.logs.timestamps import check_timestamp_unit

__all__ = ["format_from_string"]

_BLANKS = r"[ \t]+"
_OURS = {  # what a field may be called, in lower case -> what we call it
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
        >>> import polars as pl
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
        name = _OURS.get(field[1].lower())
        if name in used:
            raise _malformed(text, place, f"expected each field once; <{field[1]}> is a second {name}")
        if field[2] is not None:
            check_timestamp_unit(field[0], name or field[1], field[2])
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
