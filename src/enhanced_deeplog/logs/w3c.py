"""W3C's extended log format (IIS, CloudFront, firewalls): the file itself tells its columns, behind `#Fields:`."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from enhanced_deeplog.logs.log_format import LogFormat

__all__ = ["as_declared"]

_DECLARES = r"^#Fields:[ \t]*(.+)$"
_MOST_COLUMNS = 100
_GROUPS = {
    "date": "date",
    "time": "time",
    "cs-method": "method",
    "cs-uri-stem": "route",
    "sc-status": "status",
    "c-ip": "host",
}
_REQUEST = {"cs-method", "cs-uri-stem", "sc-status"}


def as_declared(log_format: LogFormat, lines: pl.Series) -> LogFormat:
    """A format with the columns that the lines declare; as it is if they declare none, or it is another one.

    Example:
        >>> lines = pl.Series(["#Fields: time cs-method cs-uri-stem sc-status", "08:00:00 GET /orders 200"])
        >>> as_declared(LogFormat("w3c"), lines).split(lines).select("fits", "body").rows()
        [(False, None), (True, 'GET /orders 2xx')]
    """
    if log_format.name != "w3c":
        return log_format
    declared = lines.str.extract(_DECLARES).drop_nulls()
    columns = declared[0].split()[:_MOST_COLUMNS] if len(declared) else []
    return replace(log_format, pattern=_pattern_of(columns)) if columns else log_format


def _pattern_of(columns: list[str]) -> str:
    if not set(columns) >= _REQUEST:  # no log of requests: what it is about is in all the columns behind the time
        columns = columns[: 2 if columns[:2] == ["date", "time"] else 0]
        return "".join(["^", *(rf"(?P<{name}>[0-9:.-]+)[ \t]" for name in columns), "(?P<body>[^#].*)$"])
    groups = dict.fromkeys(columns)  # each once
    values = [rf"(?P<{_GROUPS[name]}>[^ \t]+)" if name in _GROUPS else r'(?:"(?:[^"]|"")*"|[^ \t]+)' for name in groups]
    return "".join(["^", "[ \t]".join(values), "[ \t]*$"])
